#include "core/ops/select.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>
#include <numeric>
#include <random>

#include "core/errors.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

template <class T>
std::vector<std::uint8_t> naive(const std::vector<T>& scores, std::int64_t k) {
  std::vector<std::size_t> order(scores.size());
  std::iota(order.begin(), order.end(), 0u);
  std::stable_sort(order.begin(), order.end(), [&](std::size_t a, std::size_t b) {
    if (std::isnan(scores[a]) || std::isnan(scores[b])) return !std::isnan(scores[a]) && std::isnan(scores[b]);
    return scores[a] > scores[b];
  });
  std::vector<std::uint8_t> keep(scores.size(), 0);
  for (std::int64_t i = 0; i < k; ++i) keep[order[static_cast<std::size_t>(i)]] = 1;
  return keep;
}

template <class T>
void compare(const std::vector<T>& scores, std::int64_t k, Device device) {
  const auto n = static_cast<std::int64_t>(scores.size());
  const Tensor mask = top_k_mask(Tensor::from(scores, {n}, device), k);
  EXPECT_EQ(mask.to_vector<std::uint8_t>(), naive(scores, k)) << "n " << n << " k " << k;
}

TEST(TopK, KeepsExactlyTheLargest) {
  std::mt19937 generator(1);
  for (const Device device : devices()) {
    for (const std::int64_t n : {0, 1, 2, 31, 257, 1000, 70001}) {
      std::vector<float> scores(static_cast<std::size_t>(n));
      for (auto& x : scores) x = static_cast<float>(generator()) / 4e9f - 0.3f;
      for (const std::int64_t k : {std::int64_t{0}, n / 10, n / 2, n - 1, n}) {
        if (k >= 0) compare(scores, k, device);
      }
    }
  }
}

TEST(TopK, GivesTiesToTheLowerIndex) {
  std::mt19937 generator(2);
  for (const Device device : devices()) {
    std::vector<float> scores(5000);
    for (auto& x : scores) x = static_cast<float>(static_cast<int>(generator() % 7)) - 3;
    scores[17] = -0.0f;  // ties with 0
    for (const std::int64_t k : {1, 700, 2499, 4999}) compare(scores, k, device);
    compare(std::vector<float>(300, 0.0f), 123, device);
  }
}

TEST(TopK, RanksNanBelowEverythingAndInfinityAbove) {
  const float nan = std::numeric_limits<float>::quiet_NaN(), inf = std::numeric_limits<float>::infinity();
  for (const Device device : devices()) {
    const std::vector<float> scores{nan, -inf, 3, inf, -nan, 1e-42f, 0, -1e-42f, nan};
    for (std::int64_t k = 0; k <= 9; ++k) compare(scores, k, device);
  }
}

TEST(TopK, TakesF64) {
  std::mt19937 generator(3);
  std::vector<double> scores(999);
  for (auto& x : scores) x = 1 + static_cast<double>(generator()) * 1e-16;  // apart in the last bits only
  for (const std::int64_t k : {1, 500, 998}) compare(scores, k, kCpu);
}

TEST(TopK, RefusesWhatItCannotMeet) {
  EXPECT_THROW(top_k_mask(Tensor::zeros({4}, DType::f32), 5), ValueError);
  EXPECT_THROW(top_k_mask(Tensor::zeros({4}, DType::f32), -1), ValueError);
  EXPECT_THROW(top_k_mask(Tensor::zeros({2, 2}, DType::f32), 1), ShapeError);
  EXPECT_THROW(top_k_mask(Tensor::zeros({4}, DType::i32), 1), DtypeError);
}

TEST(Magnitude, DropsTheSign) {
  for (const Device device : devices()) {
    const Tensor x = Tensor::from(std::vector<float>{-1.5f, 0, 2, -0.0f}, {2, 2}, device);
    EXPECT_EQ(magnitude(x).shape(), (Shape{2, 2}));
    EXPECT_EQ(magnitude(x).to_vector<float>(), (std::vector<float>{1.5f, 0, 2, 0}));
    EXPECT_EQ(magnitude(Tensor::zeros({0}, DType::f32, device)).numel(), 0);
  }
}

}  // namespace
}  // namespace lacuna
