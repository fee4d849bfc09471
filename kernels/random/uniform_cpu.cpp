#include <algorithm>

#include "kernels/random/uniform.h"

namespace lacuna::kernels {

template <class T>
void random_uniform(CpuStream, T* y, std::int64_t n, double low, double high, std::uint64_t seed,
                    std::uint64_t sequence) {
  const std::int64_t blocks = (n + 3) / 4;  // one Philox block gives four words
#pragma omp parallel for schedule(static) if (n >= (1 << 14))
  for (std::int64_t block = 0; block < blocks; ++block) {
    const Philox4 words = philox(seed, sequence, static_cast<std::uint64_t>(block));
    const std::int64_t end = std::min<std::int64_t>(4, n - block * 4);
    for (std::int64_t w = 0; w < end; ++w)
      y[block * 4 + w] = static_cast<T>(low + (high - low) * uniform_from_word(words.v[w]));
  }
}

template void random_uniform<float>(CpuStream, float*, std::int64_t, double, double, std::uint64_t, std::uint64_t);
template void random_uniform<double>(CpuStream, double*, std::int64_t, double, double, std::uint64_t, std::uint64_t);

}  // namespace lacuna::kernels
