#define LACUNA_ISA isa_avx512
#include "kernels/spmm/spmm_cpu_inner.h"
