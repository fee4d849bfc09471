#include "core/random.h"

#include <cmath>
#include <numbers>
#include <numeric>

#include "core/errors.h"
#include "core/visit.h"
#include "kernels/random/philox.h"
#include "kernels/random/uniform.h"

namespace lacuna {
namespace {

// Draws in double and rounds once, so that f32 and f64 start from the same numbers.
template <class F>
Tensor generate(const Shape& shape, DType dtype, Device device, F&& draw) {
  Tensor t = Tensor::empty(shape, dtype, kCpu);
  const std::int64_t n = t.numel();
  if (dtype == DType::f32)
    for (std::int64_t i = 0; i < n; ++i) t.data<float>()[i] = static_cast<float>(draw(i));
  else if (dtype == DType::f64)
    for (std::int64_t i = 0; i < n; ++i) t.data<double>()[i] = draw(i);
  else
    throw DtypeError("random", std::string(to_string(dtype)) + "; must be f32 or f64");
  return t.to(device);
}

}  // namespace

void SequenceNumber::refuse() {
  throw DeviceError("random",
                    "an op that takes its random numbers from the host, in a captured step; it must not be captured");
}

Tensor random_uniform(const Shape& shape, double low, double high, RandomKey key, DType dtype, Device device) {
  const std::uint64_t sequence = key.sequence;
  const Tensor t = Tensor::empty(shape, dtype, device);
  visit_float("random_uniform", t, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::random_uniform<T>(stream, t.data<T>(), t.numel(), low, high, key.seed, sequence);
  });
  return t;
}

Tensor random_normal(const Shape& shape, double mean, double deviation, RandomKey key, DType dtype, Device device) {
  // Box-Muller on the two halves of one block: element i uses block i alone.
  return generate(shape, dtype, device, [&](std::int64_t i) {
    const Philox4 block = philox(key.seed, key.sequence, static_cast<std::uint64_t>(i));
    const double u = (block.v[0] + 1.0) / 4294967296.0;  // (0, 1]: the logarithm stays finite
    const double angle = 2.0 * std::numbers::pi * (block.v[1] / 4294967296.0);
    return mean + deviation * std::sqrt(-2.0 * std::log(u)) * std::cos(angle);
  });
}

std::vector<std::int64_t> random_permutation(std::int64_t n, RandomKey key) {
  std::vector<std::int64_t> order(static_cast<std::size_t>(n));
  std::iota(order.begin(), order.end(), std::int64_t{0});
  for (std::int64_t i = n - 1; i > 0; --i) {
    const Philox4 block = philox(key.seed, key.sequence, static_cast<std::uint64_t>(i));
    const std::uint64_t word = (static_cast<std::uint64_t>(block.v[0]) << 32) | block.v[1];
    // The modulo's bias is below n / 2^64: nothing a shuffle could show.
    std::swap(order[static_cast<std::size_t>(i)], order[word % static_cast<std::uint64_t>(i + 1)]);
  }
  return order;
}

}  // namespace lacuna
