#include "core/ops/dropout.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/errors.h"
#include "kernels/random/philox.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

constexpr RandomKey kKey{1234567890123ull, 77};

TEST(Dropout, DropsWhatTheKeySays) {
  for (const Shape& shape : std::vector<Shape>{{0}, {1}, {3}, {5, 7}, {4, 128}, {1023}, {3, 2049}}) {
    for (const double p : {0.0, 0.1, 0.5}) {
      check({.name = "dropout " + to_string(shape) + " p " + std::to_string(p),
             .inputs = {random_input(shape, 1)},
             .run = [p](const std::vector<Var>& v) { return dropout(v[0], p, kKey); },
             .reference = [p](const std::vector<Tensor>& t) {
               Tensor out = t[0].clone();
               for (std::int64_t i = 0; i < out.numel(); ++i) {
                 const float u = uniform_from_word(philox_word(kKey.seed, kKey.sequence, static_cast<std::uint64_t>(i)));
                 out.data<double>()[i] = u < static_cast<float>(p) ? 0 : out.data<double>()[i] / (1 - p);
               }
               return out;
             },
             .bf16_roundings = 1,
             .allow_zeros = shape.numel() <= 3});
    }
  }
}

TEST(Dropout, TheFractionIsRight) {
  for (const Device device : devices()) {
    const Tensor out = dropout(Tensor::full({100000}, 1, DType::f32, device), 0.3, kKey);
    EXPECT_NEAR(nonzero_fraction(out), 0.7, 0.006) << to_string(device);
  }
}

TEST(Dropout, DroppedNanIsDroppedAndKeptNanIsKept) {
  for (const Device device : devices()) {
    const Tensor nan = Tensor::full({1000}, std::numeric_limits<double>::quiet_NaN(), DType::f32, device);
    int zeros = 0, nans = 0;
    for (const float v : dropout(nan, 0.5, kKey).to_vector<float>()) (v == 0 ? zeros : nans) += 1;
    EXPECT_GT(zeros, 400);
    EXPECT_GT(nans, 400);
  }
}

TEST(Dropout, Refuses) {
  const Tensor x = Tensor::zeros({3}, DType::f32);
  EXPECT_THROW(dropout(x, -0.1, kKey), ValueError);
  EXPECT_THROW(dropout(x, 1, kKey), ValueError);
  EXPECT_THROW(dropout(x, std::numeric_limits<double>::quiet_NaN(), kKey), ValueError);
  EXPECT_THROW(dropout(Tensor::zeros({3}, DType::i32), 0.5, kKey), DtypeError);
  EXPECT_TRUE(dropout(x, 0, kKey).shares_storage_with(x));
}

}  // namespace
}  // namespace lacuna
