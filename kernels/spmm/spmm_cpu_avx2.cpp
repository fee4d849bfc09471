#define LACUNA_ISA isa_avx2
#include "kernels/spmm/spmm_cpu_inner.h"
