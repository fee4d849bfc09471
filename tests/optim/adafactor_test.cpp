// Adafactor: what its state is, what patterns that change do to it, and how good the estimate on a pattern is. The numbers
// themselves are compared with an independent implementation in tests/train/torch_trajectory.py.
#include "optim/adafactor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <numeric>

#include "core/errors.h"
#include "core/ops/adafactor.h"
#include "core/random.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

constexpr std::int64_t kRows = 24, kCols = 40;

Tensor normal(const Shape& shape, std::uint64_t sequence, Device device) {
  return random_normal(shape, 0, 0.1, {11, sequence}, DType::f32, device);
}

TopologyPtr pattern(Device device, double sparsity = 0.8, std::uint64_t seed = 3) {
  return random_topology(kRows, kCols, sparsity, seed)->to(device);
}

Parameter weight(Device device, const TopologyPtr& topology = nullptr) {
  Parameter p("weight", normal({kRows, kCols}, 1, device));
  if (topology) p.retopologize(topology);
  p.decay = true;
  return p;
}

void update(Parameter& p, const AdafactorConfig& config, std::int64_t step, const UpdateGuard& guard = {}) {
  p.var().set_grad(normal(p.value().shape(), 100 + static_cast<std::uint64_t>(step), p.value().device()));
  Adafactor(config).update(p, {config.lr, step, guard});
}

std::vector<float> values(const Tensor& t) { return t.to_vector<float>(); }

class AdafactorOn : public ::testing::TestWithParam<Device> {};
INSTANTIATE_TEST_SUITE_P(Devices, AdafactorOn, ::testing::ValuesIn(devices()), [](const auto& param) {
  return std::string(param.param.is_cpu() ? "cpu" : "cuda");
});

TEST_P(AdafactorOn, StateIsRowsAndColumns) {
  for (const bool sparse : {false, true}) {
    Parameter p = weight(GetParam(), sparse ? pattern(GetParam()) : nullptr);
    const AdafactorConfig config{.beta1 = 0.0};
    update(p, config, 0);
    ASSERT_EQ(p.slots().size(), 2u);
    EXPECT_EQ(p.slots().at("adafactor_rows").shape(), Shape{kRows});
    EXPECT_EQ(p.slots().at("adafactor_cols").shape(), Shape{kCols});
    EXPECT_EQ(Adafactor(config).state_numel(p), kRows + kCols);
    EXPECT_EQ(p.state_bytes(), (2 * static_cast<std::size_t>(p.nnz()) + kRows + kCols) * 4) << "value, gradient, state";
  }
  Parameter bias("bias", normal({7}, 1, GetParam()));
  update(bias, {}, 0);
  EXPECT_EQ(bias.slots().at("adafactor_v").shape(), Shape{7});
  EXPECT_EQ(Adafactor(AdafactorConfig{.beta1 = 0.9}).state_numel(bias), 14);
}

TEST_P(AdafactorOn, FullPatternEqualsDense) {
  Parameter dense = weight(GetParam()), full = weight(GetParam(), Topology::full(kRows, kCols, GetParam()));
  for (std::int64_t step = 0; step < 5; ++step) {
    const Tensor gradient = normal({kRows, kCols}, 50 + static_cast<std::uint64_t>(step), GetParam());
    dense.var().set_grad(gradient);
    full.var().set_grad(gradient.reshape({kRows * kCols}));
    for (Parameter* p : {&dense, &full}) Adafactor({.lr = 0.1}).update(*p, {0.1, step, {}});
  }
  const std::vector<float> a = values(dense.value()), b = values(full.value());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-6) << i;
}

TEST_P(AdafactorOn, FirstStepWithoutFactorsIsTheSignTimesTheStep) {
  Parameter p = weight(GetParam(), pattern(GetParam()));
  const std::vector<float> before = values(p.value());
  const AdafactorConfig config{.lr = 0.25, .scale_by_value = false, .factored = Factored::none};
  update(p, config, 0);
  const std::vector<float> after = values(p.value()), g = values(p.grad());
  for (std::size_t i = 0; i < after.size(); ++i) EXPECT_NEAR(after[i], before[i] - std::copysign(0.25f, g[i]), 1e-6);
}

TEST_P(AdafactorOn, TheStepIsClippedRelativeAndScaled) {
  // From a state of tiny squares, U is huge: clipping leaves it RMS 1, so the step's RMS is rho_t times the value's RMS.
  Parameter p = weight(GetParam(), pattern(GetParam()));
  const auto rms = [](const std::vector<float>& x) {
    return std::sqrt(std::inner_product(x.begin(), x.end(), x.begin(), 0.0) / static_cast<double>(x.size()));
  };
  p.slots()["adafactor_rows"] = Tensor::full({kRows}, 1e-12, DType::f32, GetParam());
  p.slots()["adafactor_cols"] = Tensor::full({kCols}, 1e-12, DType::f32, GetParam());
  const std::vector<float> before = values(p.value());
  update(p, {.lr = 0.5}, 99);  // t = 100: 1 / sqrt(t) = 0.1
  std::vector<float> change = values(p.value());
  for (std::size_t i = 0; i < change.size(); ++i) change[i] -= before[i];
  EXPECT_NEAR(rms(change), 0.1 * rms(before), 1e-5 * rms(before));
}

TEST_P(AdafactorOn, TheGuardScalesAndSkips) {
  const Device device = GetParam();
  const UpdateGuard skip{Tensor::full({}, 1, DType::f32, device), Tensor::full({}, 1, DType::i32, device)};
  const UpdateGuard half{Tensor::full({}, 0.5, DType::f32, device), Tensor::zeros({}, DType::i32, device)};
  for (const Factored factored : {Factored::all, Factored::none}) {
    const AdafactorConfig config{.lr = 0.1, .beta1 = 0.9, .factored = factored, .weight_decay = 0.1};
    Parameter p = weight(device, pattern(device)), scaled = weight(device, pattern(device));
    update(p, config, 0);
    update(scaled, config, 0);
    std::map<std::string, std::vector<float>> state;
    for (const auto& [name, slot] : p.slots()) state[name] = values(slot);
    const std::vector<float> value = values(p.value());
    update(p, config, 1, skip);
    EXPECT_EQ(values(p.value()), value);
    for (const auto& [name, slot] : p.slots()) EXPECT_EQ(values(slot), state[name]) << name;

    const Tensor gradient = normal(p.value().shape(), 7, device);
    std::vector<float> halved = values(gradient);
    for (float& g : halved) g *= 0.5f;
    p.var().set_grad(Tensor::from(halved, gradient.shape(), device));
    scaled.var().set_grad(gradient);
    Adafactor(config).update(p, {0.1, 1, {}});
    Adafactor(config).update(scaled, {0.1, 1, half});
    EXPECT_EQ(values(p.value()), values(scaled.value()));
  }
}

TEST_P(AdafactorOn, PruningKeepsTheMeansAndGrowthBeginsAnew) {
  const Device device = GetParam();
  const AdafactorConfig config{.lr = 0.1, .beta1 = 0.9};
  Parameter p = weight(device);
  for (std::int64_t step = 0; step < 3; ++step) update(p, config, step);
  const std::vector<float> rows = values(p.slots().at("adafactor_rows"));
  p.retopologize(pattern(device));
  EXPECT_EQ(values(p.slots().at("adafactor_rows")), rows);
  EXPECT_EQ(p.slots().at("adafactor_m").shape(), Shape{p.nnz()});
  update(p, config, 3);
  p.retopologize(pattern(device, 0.7, 99));  // grown and dropped at once
  update(p, config, 4);
  p.retopologize(nullptr);
  EXPECT_EQ(p.slots().at("adafactor_m").shape(), p.shape());
  update(p, config, 5);
  for (const float x : values(p.value())) EXPECT_TRUE(std::isfinite(x));
  EXPECT_EQ(p.slots().at("adafactor_cols").shape(), Shape{kCols});
}

TEST_P(AdafactorOn, ARowThatWasEmptyTakesItsFirstSquaresWhole) {
  const Device device = GetParam();
  const auto two_by_two = [&](std::vector<std::int32_t> offsets, std::vector<std::int32_t> columns) {
    const auto nnz = static_cast<std::int64_t>(columns.size());
    return Topology::from_csr(2, 2, Tensor::from(offsets, {3}), Tensor::from(columns, {nnz}))->to(device);
  };
  Parameter p("weight", Tensor::full({2, 2}, 1, DType::f32, device));
  p.retopologize(two_by_two({0, 1, 1}, {0}));  // row 1 and column 1 are empty
  const AdafactorConfig config{.lr = 0.1};
  const auto step = [&](std::int64_t t, float g) {
    p.var().set_grad(Tensor::full(p.value().shape(), g, DType::f32, device));
    Adafactor(config).update(p, {0.1, t, {}});
  };
  step(0, 2);
  step(1, 2);
  EXPECT_EQ(values(p.slots().at("adafactor_rows")), (std::vector<float>{4, 0}));
  EXPECT_EQ(values(p.slots().at("adafactor_cols")), (std::vector<float>{4, 0}));
  p.retopologize(two_by_two({0, 1, 2}, {0, 1}));
  step(1000, 3);
  const std::vector<float> rows = values(p.slots().at("adafactor_rows"));
  EXPECT_EQ(rows[1], 9) << "not 9 * t^-0.8, which would make its update a hundred times too large";
  EXPECT_NEAR(rows[0], 4 + 5 * std::pow(1001.0, -0.8), 1e-5);
}

TEST_P(AdafactorOn, ASecondRunGivesTheSameBits) {
  const auto run = [&](const TopologyPtr& topology) {
    Parameter p = weight(GetParam(), topology);
    for (std::int64_t step = 0; step < 4; ++step) update(p, {.lr = 0.1, .beta1 = 0.5}, step);
    return values(p.value());
  };
  EXPECT_EQ(run(nullptr), run(nullptr));
  const TopologyPtr topology = pattern(GetParam());
  EXPECT_EQ(run(topology), run(topology));
}

TEST_P(AdafactorOn, HardShapes) {
  const Device device = GetParam();
  for (const Shape& shape : {Shape{0, 5}, Shape{5, 0}, Shape{1, 1}, Shape{1, 3000}, Shape{3000, 1}, Shape{257, 33}}) {
    Parameter p("p", normal(shape, 1, device));
    update(p, {.lr = 0.1, .beta1 = 0.9}, 0);
    update(p, {.lr = 0.1, .beta1 = 0.9}, 1);
    for (const float x : values(p.value())) ASSERT_TRUE(std::isfinite(x)) << to_string(shape);
  }
  for (const std::int64_t n : {0, 1, 4097, 20000}) {
    Parameter p("p", normal({n}, 1, device));
    update(p, {.lr = 0.1}, 0);
    for (const float x : values(p.value())) ASSERT_TRUE(std::isfinite(x)) << n;
  }
  Parameter empty = weight(device, pattern(device, 1.0));
  ASSERT_EQ(empty.nnz(), 0);
  EXPECT_NO_THROW(update(empty, {}, 0));
  Parameter zero = weight(device, pattern(device));
  zero.var().set_grad(Tensor::zeros_like(zero.value()));
  const std::vector<float> before = values(zero.value());
  Adafactor({.lr = 0.1}).update(zero, {0.1, 0, {}});
  EXPECT_EQ(values(zero.value()), before) << "no gradient, no step, and no 0 / 0";
}

TEST_P(AdafactorOn, ASilentRowMeetsASilentColumn) {
  // Their means are eps1 each: in f32 the product is 0, and 0 / 0 would reach every weight through RMS(U).
  for (const bool sparse : {false, true}) {
    Parameter p = weight(GetParam(), sparse ? Topology::full(kRows, kCols, GetParam()) : nullptr);
    std::vector<float> gradient = values(normal({kRows, kCols}, 4, GetParam()));
    for (std::size_t i = 0; i < gradient.size(); ++i)
      if (i / kCols == 3 || i % kCols == 5) gradient[i] = 0;
    p.var().set_grad(Tensor::from(gradient, p.value().shape(), GetParam()));
    const std::vector<float> before = values(p.value());
    Adafactor({.lr = 0.1}).update(p, {0.1, 0, {}});
    const std::vector<float> after = values(p.value());
    for (std::size_t i = 0; i < after.size(); ++i) {
      if (gradient[i] == 0)
        ASSERT_EQ(after[i], before[i]) << i;
      else
        ASSERT_NE(after[i], before[i]) << i;
    }
  }
}

TEST(AdafactorOnCuda, IsAmongTheDevicesAbove) {
  if (devices().size() < 2) GTEST_SKIP() << cuda_unavailable_reason();
}

// Squares of rank one on a random pattern: the fit must be far closer than the product of the stored means, and its columns
// must meet the observed means.
TEST(Adafactor, TheEstimateOnAPatternIsTheFirstSweepOfProportionalFitting) {
  const TopologyPtr topology = random_topology(64, 96, 0.7, 5);
  const std::vector<std::int32_t> offsets = topology->row_offsets().to_vector<std::int32_t>(),
                                  columns = topology->col_indices().to_vector<std::int32_t>();
  std::vector<double> a, b, squares;
  for (int i = 0; i < 64; ++i) a.push_back(std::exp(2.0 * std::sin(i)));
  for (int j = 0; j < 96; ++j) b.push_back(1 + 0.1 * std::cos(3.0 * j));
  std::vector<double> gradient;
  for (std::size_t i = 0; i < 64; ++i)
    for (auto k = offsets[i]; k < offsets[i + 1]; ++k) gradient.push_back(std::sqrt(a[i] * b[static_cast<std::size_t>(columns[static_cast<std::size_t>(k)])]));
  // With a unit step and neither clipping nor scaling the change is g / sqrt(v): 1 wherever the estimate is exact.
  const Tensor value = Tensor::zeros({topology->nnz()}, DType::f64), grad = Tensor::from(gradient, {topology->nnz()});
  AdafactorState state;
  state.row_means = Tensor::zeros({64}, DType::f64);
  state.col_means = Tensor::zeros({96}, DType::f64);
  adafactor_update(value, grad, topology, state, {.step_size = 1, .clip_threshold = 0, .scale_by_value = false}, {});
  const std::vector<double> change = value.to_vector<double>(), rows = state.row_means.to_vector<double>(), cols = state.col_means.to_vector<double>();
  const double mean = std::inner_product(gradient.begin(), gradient.end(), gradient.begin(), 0.0) / static_cast<double>(gradient.size());
  double fit_error = 0, product_error = 0;
  std::vector<double> sums(96), counts(96);
  for (std::size_t i = 0; i < 64; ++i)
    for (auto k = offsets[i]; k < offsets[i + 1]; ++k) {
      const auto at = static_cast<std::size_t>(k), j = static_cast<std::size_t>(columns[at]);
      const double square = gradient[at] * gradient[at], fit = square / (change[at] * change[at]);
      fit_error += std::pow(std::log(fit / square), 2);
      product_error += std::pow(std::log(rows[i] * cols[j] / mean / square), 2);
      sums[j] += fit;
      counts[j] += 1;
    }
  for (std::size_t j = 0; j < 96; ++j) EXPECT_NEAR(sums[j] / counts[j], cols[j], 1e-12 * cols[j]) << "column " << j;
  EXPECT_LT(std::sqrt(fit_error / static_cast<double>(gradient.size())), 0.03);
  EXPECT_GT(product_error, 100 * fit_error);
}

TEST(Adafactor, WhatDoesNotFitIsRefused) {
  const Tensor matrix = Tensor::zeros({4, 5}, DType::f32), vector = Tensor::zeros({20}, DType::f32);
  AdafactorState state;
  state.row_means = Tensor::zeros({4}, DType::f32);
  state.col_means = Tensor::zeros({4}, DType::f32);
  EXPECT_THROW(adafactor_update(matrix, matrix, nullptr, state, {}, {}), ShapeError) << "5 columns";
  state.col_means = Tensor::zeros({5}, DType::f64);
  EXPECT_THROW(adafactor_update(matrix, matrix, nullptr, state, {}, {}), ShapeError) << "dtype";
  state.col_means = Tensor::zeros({5}, DType::f32);
  EXPECT_NO_THROW(adafactor_update(matrix, matrix, nullptr, state, {}, {}));
  EXPECT_THROW(adafactor_update(vector, vector, nullptr, state, {}, {}), ShapeError) << "a vector has no rows";
  EXPECT_THROW(adafactor_update(vector, vector, pattern(kCpu), state, {}, {}), ShapeError) << "another pattern's values";
  EXPECT_THROW(adafactor_update(matrix, vector.slice(0, 3), nullptr, state, {}, {}), ShapeError);
}

}  // namespace
}  // namespace lacuna
