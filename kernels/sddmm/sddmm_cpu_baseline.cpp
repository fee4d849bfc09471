#define LACUNA_ISA isa_baseline
#include "kernels/sddmm/sddmm_cpu_inner.h"
