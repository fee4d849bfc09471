// Selection by radix: the k-th largest key is found digit by digit with histograms, so nothing is sorted or allocated.
#include "kernels/select/select.h"

#include <array>
#include <bit>
#include <cmath>
#include <type_traits>

#include "kernels/simd/panels.h"

namespace lacuna::kernels {

namespace {

constexpr int kDigitBits = 8;
constexpr int kBins = 1 << kDigitBits;

/// An unsigned integer that orders as the scores do: NaN lowest, -0 equal to +0.
template <class T>
auto sortable(T x) {
  using U = std::conditional_t<sizeof(T) == 4, std::uint32_t, std::uint64_t>;
  constexpr U sign = U(1) << (sizeof(U) * 8 - 1);
  if (std::isnan(x)) return U(0);  // below -infinity, whose key is not 0
  if (x == 0) return sign;
  const U bits = std::bit_cast<U>(x);
  return (bits & sign) ? static_cast<U>(~bits) : static_cast<U>(bits | sign);
}

}  // namespace

template <class T>
std::size_t top_k_scratch_bytes(CpuStream, std::int64_t) {
  return 0;
}

template <class T>
void top_k_mask(CpuStream, const T* scores, std::int64_t n, std::int64_t k, std::uint8_t* keep, void*) {
  if (n == 0) return;
  if (k <= 0 || k >= n) {
    for (std::int64_t i = 0; i < n; ++i) keep[i] = k >= n;
    return;
  }
  using U = decltype(sortable(T(0)));
  constexpr int bits = sizeof(U) * 8;
  U prefix = 0;                // the digits of the k-th largest key found so far
  U prefix_mask = 0;           // which bits those are
  std::int64_t remaining = k;  // rank of the key wanted among those that share the prefix
  for (int shift = bits - kDigitBits; shift >= 0; shift -= kDigitBits) {
    std::array<std::int64_t, kBins> histogram{};
    for (std::int64_t i = 0; i < n; ++i) {
      const U key = sortable(scores[i]);
      if ((key & prefix_mask) == prefix) ++histogram[(key >> shift) & (kBins - 1)];
    }
    int digit = kBins - 1;
    while (histogram[static_cast<std::size_t>(digit)] < remaining)
      remaining -= histogram[static_cast<std::size_t>(digit--)];
    prefix |= static_cast<U>(digit) << shift;
    prefix_mask |= static_cast<U>(kBins - 1) << shift;
  }
  // All keys above the threshold, and the first `remaining` that equal it.
  for (std::int64_t i = 0; i < n; ++i) {
    const U key = sortable(scores[i]);
    keep[i] = key > prefix || (key == prefix && remaining-- > 0);
  }
}

template <class T>
void magnitude(CpuStream, const T* x, std::int64_t n, T* out) {
#pragma omp parallel for schedule(static) if (n >= kLeastParallelWork)
  for (std::int64_t i = 0; i < n; ++i) out[i] = std::fabs(x[i]);
}

#define LACUNA_INSTANTIATE(T)                                                                         \
  template std::size_t top_k_scratch_bytes<T>(CpuStream, std::int64_t);                               \
  template void top_k_mask<T>(CpuStream, const T*, std::int64_t, std::int64_t, std::uint8_t*, void*); \
  template void magnitude<T>(CpuStream, const T*, std::int64_t, T*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
