#define LACUNA_ISA isa_avx2
#include "kernels/sddmm/sddmm_cpu_inner.h"
