// Which of the compiled instruction sets this machine runs.
#pragma once

namespace lacuna::kernels {

enum class Isa { baseline, avx2, avx512 };

/// The widest instruction set that the machine has and the build compiled. `limit` holds it back, for tests.
inline Isa best_isa(Isa limit = Isa::avx512) {
#if defined(__x86_64__)
  if (limit >= Isa::avx512 && __builtin_cpu_supports("avx512f") && __builtin_cpu_supports("avx512bw") &&
      __builtin_cpu_supports("avx512dq") && __builtin_cpu_supports("avx512vl")) {
    return Isa::avx512;
  }
  if (limit >= Isa::avx2 && __builtin_cpu_supports("avx2") && __builtin_cpu_supports("fma") &&
      __builtin_cpu_supports("f16c")) {
    return Isa::avx2;
  }
#endif
  (void)limit;
  return Isa::baseline;
}

}  // namespace lacuna::kernels
