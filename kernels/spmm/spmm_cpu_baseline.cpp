#define LACUNA_ISA isa_baseline
#include "kernels/spmm/spmm_cpu_inner.h"
