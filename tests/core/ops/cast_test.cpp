// bf16: what conversion does to every number, and what the tape does with gradients of two dtypes.
#include "core/ops/cast.h"

#include <gtest/gtest.h>

#include <bit>
#include <cmath>
#include <cstdint>
#include <limits>
#include <vector>

#include "core/errors.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise.h"
#include "core/ops/reduce.h"
#include "core/ops/sddmm.h"
#include "core/ops/sparse_softmax.h"
#include "core/ops/spmm.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

float float_of(std::uint32_t word) { return std::bit_cast<float>(word); }

/// Nearest multiple of the spacing of bf16 at x, ties to even, by f64 arithmetic: eight significant bits, exponents from
/// -126, the last place of denormals 2^-133; from 2^128 on, infinity.
double nearest_bf16(double x) {
  if (!std::isfinite(x) || x == 0) return x;
  const double spacing = std::ldexp(1.0, std::max(std::ilogb(x), -126) - 7);
  const double rounded = std::nearbyint(x / spacing) * spacing;
  return std::abs(rounded) < std::ldexp(1.0, 128) ? rounded : std::copysign(INFINITY, x);
}

/// Each pair of neighbouring bf16 numbers with what lies between: just above, halfway, just below; of both signs.
std::vector<float> hard_numbers() {
  std::vector<float> numbers;
  const std::vector<std::uint32_t> uppers = {0x0000, 0x0001, 0x0002, 0x007e, 0x007f, 0x0080, 0x0081, 0x3f7f, 0x3f80,
                                             0x3f81, 0x3f82, 0x4248, 0x4249, 0x7eff, 0x7f00, 0x7f7e, 0x7f7f, 0x7f80};
  for (const std::uint32_t upper : uppers)
    for (const std::uint32_t lower : {0x0000u, 0x0001u, 0x7fffu, 0x8000u, 0x8001u, 0xffffu})
      for (const std::uint32_t sign : {0u, 0x80000000u}) {
        const float x = float_of(sign | upper << 16 | lower);
        if (!std::isnan(x)) numbers.push_back(x);
      }
  for (std::uint32_t i = 0; i < 3000; ++i) {
    const float x = float_of(i * 2654435761u);
    if (!std::isnan(x)) numbers.push_back(x);
  }
  return numbers;
}

TEST(Cast, RoundsToNearestEven) {
  const std::vector<float> numbers = hard_numbers();
  const auto n = static_cast<std::int64_t>(numbers.size());
  ASSERT_GT(n, 3000);
  for (const Device device : devices()) {
    for (const std::int64_t begin : {0, 1}) {  // on a vector's boundary and off it
      const Tensor x = Tensor::from(numbers, {n}, device).slice(begin, n);
      const std::vector<float> out = cast(cast(x, DType::bf16), DType::f32).to_vector<float>();
      for (std::size_t i = 0; i < out.size(); ++i) {
        const float in = numbers[i + static_cast<std::size_t>(begin)];
        EXPECT_EQ(std::bit_cast<std::uint32_t>(out[i]),
                  std::bit_cast<std::uint32_t>(static_cast<float>(nearest_bf16(in))))
            << in << " on " << to_string(device);
      }
    }
  }
}

TEST(Cast, EveryBf16ComesBackAndNanStaysNan) {
  std::vector<Bf16> all(1 << 16);
  for (std::uint32_t i = 0; i < all.size(); ++i) all[i].bits = static_cast<std::uint16_t>(i);
  for (const Device device : devices()) {
    const Tensor wide = cast(Tensor::from(all, {1 << 16}, device), DType::f32);
    const std::vector<float> floats = wide.to_vector<float>();
    const std::vector<Bf16> back = cast(wide, DType::bf16).to_vector<Bf16>();
    int nans = 0;
    for (std::uint32_t i = 0; i < all.size(); ++i) {
      EXPECT_EQ(std::bit_cast<std::uint32_t>(floats[i]), i << 16);
      if (std::isnan(floats[i])) {
        ++nans;
        EXPECT_TRUE(std::isnan(static_cast<float>(back[i]))) << i;
        EXPECT_EQ(back[i].bits & 0x8000, i & 0x8000) << "the sign of a NaN";
      } else {
        EXPECT_EQ(back[i].bits, i);
      }
    }
    EXPECT_EQ(nans, 2 * 127);
  }
  // NaNs whose payload is in the half that is cut off must not become infinity.
  for (const std::uint32_t word : {0x7f800001u, 0xff80ffffu, 0x7f808000u, 0x7fffffffu})
    EXPECT_TRUE(std::isnan(static_cast<float>(Bf16(float_of(word))))) << word;
}

TEST(Cast, HostAndDeviceConversionsAgree) {
  const std::vector<float> numbers = hard_numbers();
  const Tensor x = Tensor::from(numbers, {static_cast<std::int64_t>(numbers.size())});
  EXPECT_TRUE(equal_bits(x.to(DType::bf16), cast(x, DType::bf16)));
  EXPECT_TRUE(equal_bits(x.to(DType::bf16).to(DType::f32), cast(cast(x, DType::bf16), DType::f32)));
  EXPECT_TRUE(equal_bits(x.to(DType::f64).to(DType::bf16), cast(cast(x, DType::f64), DType::bf16)));
  EXPECT_EQ(Tensor::full({}, 1.01, DType::bf16).item(), 1.0078125);  // 129 / 128
  EXPECT_EQ(Tensor::full({3}, -2.5, DType::bf16).nbytes(), 6u);
}

TEST(Cast, TakesNothingAndItself) {
  for (const Device device : devices()) {
    EXPECT_EQ(cast(Tensor::empty({0, 3}, DType::f32, device), DType::bf16).shape(), (Shape{0, 3}));
    const Tensor x = Tensor::full({2}, 1, DType::bf16, device);
    EXPECT_EQ(cast(x, DType::bf16).raw(), x.raw());
    EXPECT_THROW(cast(Tensor::zeros({2}, DType::i32, device), DType::bf16), DtypeError);
    EXPECT_THROW(cast(x, DType::i32), DtypeError);
    EXPECT_THROW(cast_into(Tensor::empty({3}, DType::f32, device), x), ShapeError);
    EXPECT_THROW(cast(Tensor{}, DType::bf16), ValueError);
  }
}

TEST(Cast, TheGradientHasTheInputsDtype) {
  for (const Device device : devices()) {
    const Var x(random_input({3, 5}, 1).to(DType::f32).to(device), true);
    const Var y = scale(cast(x, DType::bf16), 0.1);
    EXPECT_EQ(y.data().dtype(), DType::bf16);
    const Tensor seed = random_input({3, 5}, 2).to(DType::bf16).to(device);
    backward(y, seed);
    EXPECT_EQ(x.grad().dtype(), DType::f32);
    EXPECT_TRUE(equal_bits(x.grad(), cast(scale(seed, 0.1), DType::f32)));
  }
}

/// Whether some element of f32 x is no bf16 number: it was never rounded.
bool is_wide(const Tensor& x) {
  return x.dtype() == DType::f32 && !equal_bits(x, cast(cast(x, DType::bf16), DType::f32));
}

TEST(Cast, AMasterTakesItsGradientUnrounded) {
  for (const Device device : devices()) {
    const Tensor x = random_input({6, 40}, 2).to(DType::bf16).to(device);
    const Tensor seed = random_input({4, 40}, 3).to(DType::bf16).to(device);
    const Var dense(random_input({4, 6}, 1).to(DType::f32).to(device), true);
    backward(linear(cast(dense, DType::bf16), Var(x)), seed);
    EXPECT_TRUE(is_wide(dense.grad()));
    EXPECT_TRUE(equal_bits(dense.grad(), matmul_wide(seed, x, false, true)));

    const TopologyPtr topology = random_topology(4, 6, 0.4, 1)->to(device);
    const Var values(random_input({topology->nnz()}, 4).to(DType::f32).to(device), true);
    backward(spmm(SparseVar{cast(values, DType::bf16), topology}, Var(x)), seed);
    EXPECT_TRUE(is_wide(values.grad()));
    EXPECT_TRUE(equal_bits(values.grad(), sddmm_wide(seed, x, topology).values));
  }
}

TEST(Cast, TwoUsesOfOneCopyAddUpInF32) {
  for (const Device device : devices()) {
    const Tensor x = random_input({6, 6}, 2).to(DType::bf16).to(device);
    const Tensor seed = random_input({6, 6}, 3).to(DType::bf16).to(device);
    for (const bool wide_first : {false, true}) {
      const Var master(random_input({6, 6}, 1).to(DType::f32).to(device), true);
      const Var copy = cast(master, DType::bf16);
      const Var product = linear(copy, Var(x)), scaled = scale(copy, 1);  // an f32 gradient, a bf16 one
      backward(wide_first ? add(product, scaled) : add(scaled, product), seed);
      const Tensor expected = add(matmul_wide(seed, x, false, true), cast(seed, DType::f32));
      EXPECT_LT(relative_error(master.grad(), expected), 1e-6);
    }
  }
}

// Sparse attention put together by hand: the softmax's vjp must be given the rounded form of a gradient that is wide.
TEST(Cast, WideGradientsAreRoundedBeforeABf16Op) {
  for (const Device device : devices()) {
    const TopologyPtr pattern = awkward_topology(9, 9, 3)->to(device);
    const auto gradient = [&](DType dtype, Device on) {
      const TopologyPtr there = pattern->to(on);
      const auto leaf = [&](std::uint64_t seed) {
        return Var(random_input({9, 8}, seed).to(DType::bf16).to(dtype).to(on), true);
      };
      const Var q = leaf(1), k = leaf(2), v = leaf(3);
      const SparseVar p = sparse_softmax(sddmm(q, k, there, 0.35), 1);
      backward(spmm(p, v), random_input({9, 8}, 4).to(DType::bf16).to(dtype).to(on));
      return q.grad();
    };
    // Scores, probabilities, their two gradients and the result are each rounded, and the softmax's terms cancel.
    EXPECT_LT(relative_error(gradient(DType::bf16, device), gradient(DType::f64, kCpu)), 8 * kBf16Rounding);
  }
}

}  // namespace
}  // namespace lacuna
