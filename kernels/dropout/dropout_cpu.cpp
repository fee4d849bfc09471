#include <algorithm>

#include "kernels/dropout/dropout.h"
#include "kernels/random/philox.h"

namespace lacuna::kernels {

template <class T>
void dropout(CpuStream, const T* x, T* y, std::int64_t n, double p, std::uint64_t seed, RandomSequence number) {
  const std::uint64_t sequence = number;
  const auto keep_scale = static_cast<acc_t<T>>(1 / (1 - p));
  const float threshold = static_cast<float>(p);
  const std::int64_t blocks = (n + 3) / 4;  // one Philox block gives four words
#pragma omp parallel for schedule(static) if (n >= (1 << 14))
  for (std::int64_t block = 0; block < blocks; ++block) {
    const Philox4 words = philox(seed, sequence, static_cast<std::uint64_t>(block));
    const std::int64_t end = std::min<std::int64_t>(4, n - block * 4);
    for (std::int64_t w = 0; w < end; ++w) {
      const std::int64_t i = block * 4 + w;
      y[i] = uniform_from_word(words.v[w]) < threshold ? T(0) : static_cast<T>(x[i] * keep_scale);
    }
  }
}

template void dropout<float>(CpuStream, const float*, float*, std::int64_t, double, std::uint64_t, RandomSequence);
template void dropout<double>(CpuStream, const double*, double*, std::int64_t, double, std::uint64_t, RandomSequence);
template void dropout<Bf16>(CpuStream, const Bf16*, Bf16*, std::int64_t, double, std::uint64_t, RandomSequence);

}  // namespace lacuna::kernels
