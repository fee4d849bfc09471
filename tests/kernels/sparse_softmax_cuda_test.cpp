// Sparse softmax on CUDA: rows from 0 to 100,001 entries, every team, any place in memory, against f64.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <functional>
#include <limits>
#include <random>
#include <vector>

#include "core/device.h"
#include "core/tensor.h"
#include "kernels/sparse_softmax/sparse_softmax.h"

namespace lacuna::kernels {
namespace {

#if LACUNA_HAS_CUDA

Device cuda_device() {
  for (const Device device : devices()) {
    if (device.is_cuda()) return device;
  }
  return kCpu;
}

class SparseSoftmaxCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (cuda_device().is_cpu()) GTEST_SKIP() << cuda_unavailable_reason();
  }
};

struct Case {
  std::int64_t rows;
  std::function<std::int64_t(std::int64_t)> length;
  std::int64_t batch = 1;
  float scale = 1;
  std::int64_t in_offset = 0, out_offset = 0;  // of the arrays from a 16-byte boundary, elements
};

/// Runs forward and backward twice; checks each value, equal bits, and that nothing beside the values is written.
void check(const Case& c) {
  std::vector<std::int32_t> offsets{0};
  for (std::int64_t r = 0; r < c.rows; ++r) offsets.push_back(offsets.back() + static_cast<std::int32_t>(c.length(r)));
  const std::int64_t nnz = offsets.back(), count = nnz * c.batch + 8;
  SCOPED_TRACE("rows " + std::to_string(c.rows) + ", nnz " + std::to_string(nnz) + ", batch " +
               std::to_string(c.batch));
  std::mt19937 generator(7);
  std::uniform_real_distribution<float> draw(-4.0f, 4.0f);
  std::vector<float> s(static_cast<std::size_t>(count)), dp(s.size());
  for (float& x : s) x = draw(generator);
  for (float& x : dp) x = draw(generator);

  const Device device = cuda_device();
  const CudaStream stream = cuda_stream(device);
  const Tensor row_offsets = Tensor::from(offsets, {c.rows + 1}).to(device);
  const Tensor s_there = Tensor::from(s, {count}).to(device), dp_there = Tensor::from(dp, {count}).to(device);
  constexpr float kPoison = 12345.0f;
  std::vector<float> p, ds;
  for (int run = 0; run < 2; ++run) {
    const Tensor p_there = Tensor::full({count}, kPoison, DType::f32).to(device);
    const Tensor ds_there = Tensor::full({count}, kPoison, DType::f32).to(device);
    Csr<const float> pattern{.rows = c.rows,
                             .cols = 1 << 20,
                             .nnz = nnz,
                             .row_offsets = row_offsets.data<std::int32_t>(),
                             .values = s_there.data<float>() + c.in_offset,
                             .batch = c.batch,
                             .values_stride = nnz};
    sparse_softmax<float>(stream, pattern, c.scale, p_there.data<float>() + c.out_offset);
    pattern.values = p_there.data<float>() + c.out_offset;
    sparse_softmax_backward<float>(stream, pattern, dp_there.data<float>() + c.in_offset, c.scale,
                                   ds_there.data<float>() + c.out_offset);
    const std::vector<float> p_now = p_there.to_vector<float>(), ds_now = ds_there.to_vector<float>();
    if (run == 1) {
      EXPECT_EQ(std::memcmp(p.data(), p_now.data(), p.size() * sizeof(float)), 0);
      EXPECT_EQ(std::memcmp(ds.data(), ds_now.data(), ds.size() * sizeof(float)), 0);
    }
    p = p_now;
    ds = ds_now;
  }
  if (c.in_offset == c.out_offset) {  // in place: the scores' array becomes the shares, dp's the gradient
    const Tensor values = Tensor::from(s, {count}).to(device), gradients = Tensor::from(dp, {count}).to(device);
    const Csr<const float> pattern{.rows = c.rows,
                                   .cols = 1 << 20,
                                   .nnz = nnz,
                                   .row_offsets = row_offsets.data<std::int32_t>(),
                                   .values = values.data<float>() + c.in_offset,
                                   .batch = c.batch,
                                   .values_stride = nnz};
    sparse_softmax<float>(stream, pattern, c.scale, values.data<float>() + c.in_offset);
    sparse_softmax_backward<float>(stream, pattern, gradients.data<float>() + c.in_offset, c.scale,
                                   gradients.data<float>() + c.in_offset);
    const std::vector<float> p_now = values.to_vector<float>(), ds_now = gradients.to_vector<float>();
    const auto at = static_cast<std::size_t>(c.in_offset),
               bytes = static_cast<std::size_t>(nnz * c.batch) * sizeof(float);
    EXPECT_EQ(std::memcmp(p.data() + at, p_now.data() + at, bytes), 0);
    EXPECT_EQ(std::memcmp(ds.data() + at, ds_now.data() + at, bytes), 0);
  }
  for (std::int64_t i = 0; i < count; ++i) {
    if (i >= c.out_offset && i < c.out_offset + nnz * c.batch) continue;
    EXPECT_EQ(p[static_cast<std::size_t>(i)], kPoison);
    EXPECT_EQ(ds[static_cast<std::size_t>(i)], kPoison);
  }

  const double scale = static_cast<double>(c.scale);
  double worst = 0, worst_gradient = 0;
  for (std::int64_t z = 0; z < c.batch; ++z) {
    for (std::int64_t r = 0; r < c.rows; ++r) {
      const std::int64_t begin = z * nnz + offsets[static_cast<std::size_t>(r)];
      const std::int64_t end = z * nnz + offsets[static_cast<std::size_t>(r) + 1];
      const auto score = [&](std::int64_t i) {
        return scale * static_cast<double>(s[static_cast<std::size_t>(c.in_offset + i)]);
      };
      const auto gradient = [&](std::int64_t i) {
        return static_cast<double>(dp[static_cast<std::size_t>(c.in_offset + i)]);
      };
      double largest = -std::numeric_limits<double>::infinity(), sum = 0, dot = 0, size = 0;
      for (std::int64_t i = begin; i < end; ++i) largest = std::max(largest, score(i));
      for (std::int64_t i = begin; i < end; ++i) sum += std::exp(score(i) - largest);
      for (std::int64_t i = begin; i < end; ++i) {
        const double share = std::exp(score(i) - largest) / sum;
        dot += share * gradient(i);
        size += share * std::abs(gradient(i));
      }
      for (std::int64_t i = begin; i < end; ++i) {
        const double share = std::exp(score(i) - largest) / sum, expected = scale * share * (gradient(i) - dot);
        const auto at = static_cast<std::size_t>(c.out_offset + i);
        const double error = std::abs(static_cast<double>(p[at]) - share) / share;
        const double room = std::abs(scale) * share * (std::abs(gradient(i)) + size) + 1e-30;
        const double gradient_error = std::abs(static_cast<double>(ds[at]) - expected) / room;
        worst = std::isnan(worst) || error <= worst ? worst : error;  // a NaN stays
        worst_gradient =
            std::isnan(worst_gradient) || gradient_error <= worst_gradient ? worst_gradient : gradient_error;
      }
    }
  }
  EXPECT_LT(worst, 3e-6);
  EXPECT_LT(worst_gradient, 1e-5);
}

TEST_F(SparseSoftmaxCuda, EveryTeamAgrees) {
  // Averages that pick each team in turn; within each, rows that fit, that do not, and empty ones.
  for (const std::int64_t average : {3, 60, 200, 500, 2000, 5000, 20000}) {
    const auto length = [=](std::int64_t r) { return r % 7 == 3 ? 0 : average * (r % 5 + 1) / 3 + r % 4; };
    check({.rows = average > 1000 ? 12 : 70, .length = length});
    check({.rows = 9, .length = length, .batch = 3, .scale = -0.5f, .in_offset = 1, .out_offset = 1});
    check({.rows = 9, .length = length, .scale = 0.25f, .in_offset = 3, .out_offset = 2});
  }
}

TEST_F(SparseSoftmaxCuda, TakesRowsFarFromTheAverage) {
  check({.rows = 1, .length = [](std::int64_t) { return 1; }});
  check({.rows = 300,
         .length = [](std::int64_t r) { return r == 250 ? 40000 : r % 3; },
         .in_offset = 2,
         .out_offset = 2});
  check({.rows = 4,
         .length = [](std::int64_t r) { return r == 1   ? 100001
                                               : r == 2 ? 0
                                                        : 60000; },
         .in_offset = 3,
         .out_offset = 3});
}

TEST_F(SparseSoftmaxCuda, ScaleZeroIsUniform) {
  check({.rows = 20, .length = [](std::int64_t r) { return r; }, .scale = 0.0f});
}

#else

TEST(SparseSoftmaxCuda, NeedsCuda) { GTEST_SKIP() << cuda_unavailable_reason(); }

#endif

}  // namespace
}  // namespace lacuna::kernels
