#include "kernels/cast/cast.h"
#include "kernels/common/parallel.h"

namespace lacuna::kernels {

template <class From, class To>
void cast(CpuStream, const From* x, To* y, std::int64_t n) {
#pragma omp parallel for schedule(static) if (worth_threads(n))
  for (std::int64_t i = 0; i < n; ++i) y[i] = static_cast<To>(static_cast<acc_t<From>>(x[i]));
}

#define LACUNA_INSTANTIATE(From)                                                   \
  template void cast<From, float>(CpuStream, const From*, float*, std::int64_t);   \
  template void cast<From, double>(CpuStream, const From*, double*, std::int64_t); \
  template void cast<From, Bf16>(CpuStream, const From*, Bf16*, std::int64_t);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
