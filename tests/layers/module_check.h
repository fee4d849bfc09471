// Checks of whole modules: central differences in f64 for every parameter and the input, dense against sparse storage.
#pragma once

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <set>
#include <string>
#include <vector>

#include "core/ops/pointwise.h"
#include "core/ops/reduce.h"
#include "core/random.h"
#include "layers/module.h"

namespace lacuna {

inline Tensor random_f64(const Shape& shape, std::uint64_t seed) {
  return random_uniform(shape, -1, 1, {seed, 77}, DType::f64, kCpu);
}

/// A weighted sum of the output: a loss whose gradient reaches every element.
inline Var weighted_loss(Module& module, const Var& x, bool training) {
  RandomStream random(5, 3);  // the same dropout masks at every call
  ForwardContext context{.training = training, .random = &random};
  const Var y = module.forward(x, context);
  const Tensor weights = random_uniform(y.shape(), -1, 1, {9, 1}, y.data().dtype(), y.data().device());
  return sum(mul(y, Var(weights)));
}

/// Indices to differentiate at: all of a small array, an even sample of a large one.
inline std::vector<std::int64_t> probe_indices(std::int64_t count, std::int64_t most) {
  std::set<std::int64_t> chosen;
  for (std::int64_t i = 0; i < std::min(count, most); ++i) chosen.insert(count <= most ? i : (i * 7919 + 13) % count);
  return {chosen.begin(), chosen.end()};
}

struct GradientOptions {
  double step = 1e-6;
  double tolerance = 1e-6;
  std::int64_t most = 24;  ///< elements probed per array
  bool input = true;       ///< the input too (it is f64)
};

inline double norm_of(const Tensor& tensor) {
  double sum_of_squares = 0;
  for (const double g : tensor.to_vector<double>()) sum_of_squares += g * g;
  return std::sqrt(sum_of_squares);
}

/// ||analytic - numeric|| <= tolerance * ||numeric|| over the probed elements of `values`, a leaf's f64 storage.
/// `scale` is the largest norm of any gradient: one that is truly 0 (a key's bias, which softmax does not see) leaves
/// only rounding in proportion to it.
inline void expect_gradient(Module& module, const Var& x, const std::string& name, const Tensor& values,
                            const Tensor& gradient, double scale, const GradientOptions& options) {
  ASSERT_TRUE(gradient.defined()) << name << " got no gradient";
  ASSERT_TRUE(gradient.shape() == values.shape()) << name;
  double* data = values.data<double>();
  double difference = 0, norm = 0;
  for (const std::int64_t i : probe_indices(values.numel(), options.most)) {
    const double before = data[i];
    data[i] = before + options.step;
    const double up = weighted_loss(module, x, true).data().item();
    data[i] = before - options.step;
    const double down = weighted_loss(module, x, true).data().item();
    data[i] = before;
    const double numeric = (up - down) / (2 * options.step);
    const double analytic = gradient.data<double>()[i];
    difference += (analytic - numeric) * (analytic - numeric);
    norm += numeric * numeric;
  }
  EXPECT_LE(std::sqrt(difference), options.tolerance * std::sqrt(norm) + 1e-8 * scale)
      << name << ", norm " << std::sqrt(norm);
}

/// Central differences of a training forward against backward(), for each parameter and the input.
inline void check_gradients(Module& module, const Tensor& input, const GradientOptions& options = {}) {
  const std::vector<Parameter*> parameters = module.parameters();
  ASSERT_FALSE(parameters.empty());
  for (Parameter* p : parameters) p->var().clear_grad();
  const Var x(input, options.input);
  backward(weighted_loss(module, x, true));
  double scale = 0;
  for (Parameter* p : parameters) {
    ASSERT_TRUE(p->grad().defined()) << p->name() << " got no gradient";
    scale = std::max(scale, norm_of(p->grad()));
  }
  ASSERT_GT(scale, 0);
  if (options.input) {
    EXPECT_GT(norm_of(x.grad()), 0);
    expect_gradient(module, x, "input", input, x.grad(), scale, options);
  }
  for (Parameter* p : parameters) expect_gradient(module, x, p->name(), p->value(), p->grad(), scale, options);
}

/// Moves biases off 0 and gains off 1, where a wrong gradient can hide (and an empty row sits on the ReLU's kink).
inline void roughen(Module& module) {
  for (Parameter* p : module.parameters()) {
    if (p->shape().rank() == 1) p->value().copy_from(add(p->value(), random_f64(p->shape(), 31)));
  }
}

/// A pattern that keeps about half of a [rows, cols] weight, irregularly; row 1 (if there is one) is empty.
inline TopologyPtr half_pattern(std::int64_t rows, std::int64_t cols, std::uint64_t seed) {
  std::vector<std::uint8_t> keep(static_cast<std::size_t>(rows * cols));
  for (std::size_t i = 0; i < keep.size(); ++i) {
    keep[i] = static_cast<std::int64_t>(i) / cols != 1 && random_word({seed, 4}, i) % 2 == 0;
  }
  return Topology::from_mask(Tensor::from(keep, {rows, cols}));
}

/// Zeroes, in dense storage, what half_pattern drops from every prunable weight.
inline void zero_half(Module& module) {
  for (Parameter* p : module.parameters()) {
    if (!p->prunable) continue;
    const std::int64_t cols = p->shape()[1];
    const TopologyPtr pattern = half_pattern(p->shape()[0], cols, 1);
    const auto offsets = pattern->row_offsets().to_vector<std::int32_t>();
    const auto columns = pattern->col_indices().to_vector<std::int32_t>();
    std::vector<double> masked(static_cast<std::size_t>(p->shape().numel()), 0.0);
    const auto values = p->value().to_vector<double>();
    for (std::int64_t i = 0; i < p->shape()[0]; ++i) {
      for (auto e = offsets[static_cast<std::size_t>(i)]; e < offsets[static_cast<std::size_t>(i) + 1]; ++e) {
        const auto at = static_cast<std::size_t>(i * cols + columns[static_cast<std::size_t>(e)]);
        masked[at] = values[at];
      }
    }
    p->value().copy_from(Tensor::from(masked, p->shape()));
  }
}

/// Stores every prunable weight on its half_pattern; returns how many there were.
inline int make_sparse(Module& module) {
  int count = 0;
  for (Parameter* p : module.parameters()) {
    if (!p->prunable) continue;
    p->retopologize(half_pattern(p->shape()[0], p->shape()[1], 1));
    ++count;
  }
  return count;
}

inline std::vector<double> evaluate(Module& module, const Tensor& x) {
  ForwardContext context;
  const Var y = module.forward(Var(x), context);
  EXPECT_FALSE(y.requires_grad()) << "evaluation must not tape";
  return y.data().to(kCpu).to(DType::f64).to_vector<double>();
}

inline void expect_near(const std::vector<double>& a, const std::vector<double>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  ASSERT_GT(norm, 0);
  EXPECT_LE(std::sqrt(difference / norm), tolerance);
}

/// The sparse module computes what the dense one with zeros in place does, its gradients are right, and the plan knows.
inline void check_dense_sparse(Module& module, const Tensor& input, const GradientOptions& options = {}) {
  check_gradients(module, input, options);
  zero_half(module);
  const std::vector<double> masked = evaluate(module, input);
  ASSERT_GT(make_sparse(module), 0);
  expect_near(evaluate(module, input), masked, 1e-12);
  check_gradients(module, input, options);
  std::vector<LayerPlan> lines;
  module.plan(input.shape(), "", lines);
  double flops = 0, dense = 0;
  for (const LayerPlan& line : lines) {
    flops += line.flops;
    dense += line.dense_flops;
  }
  EXPECT_LT(flops, dense);
}

}  // namespace lacuna
