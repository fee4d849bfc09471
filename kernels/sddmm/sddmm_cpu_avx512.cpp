#define LACUNA_ISA isa_avx512
#include "kernels/sddmm/sddmm_cpu_inner.h"
