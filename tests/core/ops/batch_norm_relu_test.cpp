#include "core/ops/batch_norm_relu.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/errors.h"
#include "core/ops/batch_norm.h"
#include "core/ops/pointwise.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Vars = std::vector<Var>;
using Tensors = std::vector<Tensor>;

/// relu(gain * (x - mean) / sqrt(var + eps) + bias), the moments the batch's where none are given.
Tensor reference(const Tensors& in, const std::vector<double>& means, const std::vector<double>& vars) {
  const std::int64_t c = in[0].dim(0), n = in[0].dim(1);
  const Tensor y = Tensor::empty({c, n}, DType::f64);
  for (std::int64_t i = 0; i < c; ++i) {
    const double* x = in[0].data<double>() + i * n;
    double mean = 0, var = 0;
    for (std::int64_t j = 0; j < n; ++j) mean += x[j] / static_cast<double>(n);
    for (std::int64_t j = 0; j < n; ++j) var += (x[j] - mean) * (x[j] - mean) / static_cast<double>(n);
    if (!means.empty()) mean = means[static_cast<std::size_t>(i)], var = vars[static_cast<std::size_t>(i)];
    for (std::int64_t j = 0; j < n; ++j) {
      const double z = (x[j] - mean) / std::sqrt(var + 1e-5) * in[1].data<double>()[i] + in[2].data<double>()[i];
      y.data<double>()[i * n + j] = std::max(z, 0.0);
    }
  }
  return y;
}

Tensors inputs(std::int64_t c, std::int64_t n) {
  return {random_input({c, n}, 1, -1, 2), random_input({c}, 2, 0.5, 1.5), random_input({c}, 3, -0.5, 0.5)};
}

TEST(BatchNormRelu, Training) {
  // Columns: odd (no packs), multiples of 4, one chunk and several per channel on CUDA.
  for (const auto& [c, n] : std::vector<std::pair<std::int64_t, std::int64_t>>{
           {1, 5}, {3, 50}, {7, 64}, {40, 103}, {2, 4200}, {2, 4101}, {200, 8}, {1, 8216}}) {
    OpCase op_case{.name = "batch_norm_relu, training " + to_string(Shape{c, n}),
                   .inputs = inputs(c, n),
                   .run =
                       [](const Vars& v) {
                         const Tensor zeros = Tensor::zeros_like(v[1].data());
                         return batch_norm_relu(v[0], v[1], v[2], zeros, zeros.clone(), true);
                       },
                   .reference = [](const Tensors& in) { return reference(in, {}, {}); }};
    op_case.difference_tolerance = 1e-5;  // differences of a sum over c * n lose digits
    op_case.difference_step = 1e-6;       // an element nearer than this to the kink would show
    op_case.bf16_roundings = 1;
    op_case.parameters = {false, true, true};
    check(op_case);
  }
}

TEST(BatchNormRelu, Evaluation) {
  for (const auto& [c, n] : std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 7}, {5, 33}, {3, 2100}, {4, 0}}) {
    const Tensor mean = random_input({c}, 4), var = random_input({c}, 5, 0.5, 2);
    check({.name = "batch_norm_relu, evaluation " + to_string(Shape{c, n}),
           .inputs = inputs(c, n),
           .run =
               [=](const Vars& v) {
                 const Tensor& gain = v[1].data();
                 return batch_norm_relu(v[0], v[1], v[2], mean.to(gain.dtype()).to(gain.device()),
                                        var.to(gain.dtype()).to(gain.device()), false);
               },
           .reference =
               [=](const Tensors& in) { return reference(in, mean.to_vector<double>(), var.to_vector<double>()); },
           .bf16_roundings = 1,
           .parameters = {false, true, true},
           .allow_zeros = n == 0});
  }
}

// On the CPU the op is the two, bit for bit: a model that switches keeps its trajectory and its running statistics.
TEST(BatchNormRelu, SameBitsAsTheSeparateOps) {
  for (const DType dtype : {DType::f32, DType::f64}) {
    for (const bool training : {true, false}) {
      const Shape shape{24, 301};
      Vars fused, separate;
      for (const Tensor& t : inputs(shape[0], shape[1])) {
        fused.emplace_back(t.to(dtype), true);
        separate.emplace_back(t.to(dtype), true);
      }
      Tensors running[2];
      for (Tensors& r : running) r = {random_input({24}, 6).to(dtype), random_input({24}, 7, 0.5, 1).to(dtype)};
      const Var a = batch_norm_relu(fused[0], fused[1], fused[2], running[0][0], running[0][1], training);
      const Var b = relu(batch_norm(separate[0], separate[1], separate[2], running[1][0], running[1][1], training));
      EXPECT_TRUE(equal_bits(a.data(), b.data()));
      backward(a, random_input(shape, 8).to(dtype));
      backward(b, random_input(shape, 8).to(dtype));
      for (std::size_t i = 0; i < 3; ++i) EXPECT_TRUE(equal_bits(fused[i].grad(), separate[i].grad())) << i;
      for (std::size_t i = 0; i < 2; ++i) EXPECT_TRUE(equal_bits(running[0][i], running[1][i])) << i;
    }
  }
}

// The sign is computed twice, in forward and in backward: where the output is 0, so must the gradient be, on each
// backend.
TEST(BatchNormRelu, TheGradientFollowsTheOutputsSign) {
  for (const Device device : devices()) {
    const auto on_device = [&](const Tensor& t) { return Var(t.to(DType::f32).to(device), true); };
    const Tensors in = inputs(16, 2048);
    const Var x = on_device(in[0]), gain = on_device(in[1]), bias = on_device(in[2]);
    const Tensor mean = Tensor::zeros({16}, DType::f32, device), var = Tensor::full({16}, 1, DType::f32, device);
    const Var y = batch_norm_relu(x, gain, bias, mean, var, false);  // frozen: dx is a positive factor of the masked dy
    backward(y, Tensor::full({16, 2048}, 1, DType::f32, device));
    const auto out = y.data().to_vector<float>(), dx = x.grad().to_vector<float>();
    for (std::size_t i = 0; i < out.size(); ++i) EXPECT_EQ(out[i] > 0, dx[i] > 0) << i;
  }
}

TEST(BatchNormRelu, NanStaysInItsChannel) {
  for (const Device device : devices()) {
    Tensor x = random_input({3, 12}, 1).to(DType::f32);
    x.data<float>()[2 * 12 + 5] = std::numeric_limits<float>::quiet_NaN();
    const Tensor gain = Tensor::full({3}, 1, DType::f32, device), bias = Tensor::full({3}, 2, DType::f32, device);
    const Tensor mean = Tensor::zeros({3}, DType::f32, device), var = Tensor::zeros({3}, DType::f32, device);
    const std::vector<float> y = batch_norm_relu(x.to(device), gain, bias, mean, var, true).to_vector<float>();
    for (std::size_t j = 0; j < y.size(); ++j) EXPECT_EQ(std::isnan(y[j]), j >= 24) << j;
  }
}

TEST(BatchNormRelu, KeepsNothingBetweenTheTwo) {
  const Tensor like = Tensor::zeros({8}, DType::f64);
  const Var x(random_input({8, 4096}, 1), true), gain(Tensor::full({8}, 1, DType::f64)), bias(like);
  const std::size_t before = memory_stats(kCpu).live_bytes;
  reset_peak_memory(kCpu);
  const Var y = batch_norm_relu(x, gain, bias, like.clone(), Tensor::full({8}, 1, DType::f64), true);
  EXPECT_LE(memory_stats(kCpu).peak_bytes - before, x.data().nbytes() + 4096);
}

TEST(BatchNormRelu, Errors) {
  const Tensor x = Tensor::zeros({4, 3}, DType::f32), v = Tensor::zeros({4}, DType::f32);
  const Tensor bad = Tensor::zeros({3}, DType::f32);
  EXPECT_THROW(batch_norm_relu(x, bad, v, v, v, true), ShapeError);
  EXPECT_THROW(batch_norm_relu(x, v, v, bad, v, false), ShapeError);
  EXPECT_THROW(batch_norm_relu(x, v, v, v, Tensor(), false), ValueError);
  EXPECT_THROW(batch_norm_relu(x, v, Tensor::zeros({4}, DType::f64), v, v, true), DtypeError);
  EXPECT_THROW(batch_norm_relu(Tensor::zeros({4, 1}, DType::f32), v, v, v, v, true), ShapeError);
}

}  // namespace
}  // namespace lacuna
