#include "tests/core/op_case.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>

#include "core/random.h"

namespace lacuna {
namespace {

constexpr double kF64Tolerance = 1e-11;
constexpr double kLeastNonzero = 0.02;         // a reference with fewer nonzeros than this proves nothing
constexpr std::int64_t kMaxDifferences = 150;  // central differences taken per input, spread over it

struct Target {
  Device device;
  DType dtype;
  bool tf32 = false;
  double tolerance = 0;
  double gradient_tolerance = 0;
  bool narrow_seed = false;  // d(loss)/d(output) of numbers that bf16 holds
};

std::string to_string(const Target& target) {
  return lacuna::to_string(target.device) + " " + lacuna::to_string(target.dtype) + (target.tf32 ? " tf32" : "");
}

bool is_float(const Tensor& t) { return t.defined() && (t.dtype() == DType::f64 || t.dtype() == DType::f32); }

bool differentiable(const OpCase& c, std::size_t i) {
  return is_float(c.inputs[i]) && (i >= c.differentiable.size() || c.differentiable[i]);
}

Tensor rounded_to(DType dtype, const Tensor& t) { return is_float(t) ? t.to(dtype).to(DType::f64) : t; }

bool stays_f32(const OpCase& c, std::size_t i) { return i < c.parameters.size() && c.parameters[i]; }

Tensor convert(const Tensor& t, DType dtype, Device device) {
  if (!t.defined()) return t;
  return (is_float(t) && t.dtype() != dtype ? t.to(dtype) : t.clone()).to(device);
}

/// Input i as the target wants it.
Tensor convert(const OpCase& c, std::size_t i, const std::vector<Tensor>& inputs, const Target& target) {
  const bool wide = target.dtype == DType::bf16 && stays_f32(c, i);
  return convert(inputs[i], wide ? DType::f32 : target.dtype, target.device);
}

/// The same elements at an address that is not a multiple of more than one element.
Tensor misaligned(const Tensor& t) {
  if (!t.defined() || t.numel() == 0) return t;
  const Tensor view = Tensor::empty({t.numel() + 1}, t.dtype(), t.device()).slice(1, t.numel() + 1).reshape(t.shape());
  view.copy_from(t);
  return view;
}

std::vector<Var> leaves(const OpCase& c, const std::vector<Tensor>& tensors, bool requires_grad) {
  std::vector<Var> vars;
  for (std::size_t i = 0; i < tensors.size(); ++i) {
    vars.push_back(tensors[i].defined() ? Var(tensors[i], requires_grad && differentiable(c, i)) : Var());
  }
  return vars;
}

void expect_close(const OpCase& c, const std::string& what, const Tensor& out, const Tensor& ref, double tolerance) {
  EXPECT_EQ(to_string(out.shape()), to_string(ref.shape())) << c.name << ": " << what << ": shape";
  if (!(out.shape() == ref.shape())) return;
  if (!c.allow_zeros) {
    EXPECT_GE(nonzero_fraction(ref), kLeastNonzero)
        << c.name << ": " << what << ": nearly all values are zero, so this comparison proves nothing";
  }
  EXPECT_LE(relative_error(out, ref), tolerance) << c.name << ": " << what;
}

/// d(loss)/d(output): random, fixed by the shape, away from zero.
Tensor gradient_seed(const Shape& shape) { return random_input(shape, 977, 0.5, 1.5); }

struct Gradients {
  Tensor output;
  std::vector<Tensor> of_input;  // undefined where not differentiable
};

Gradients run_with_tape(const OpCase& c, const std::vector<Tensor>& tensors, const Target& target) {
  const std::vector<Var> in = leaves(c, tensors, true);
  const Var out = c.run(in);
  Gradients result{out.data(), std::vector<Tensor>(in.size())};
  if (!out.requires_grad()) {
    ADD_FAILURE() << c.name << ": " << to_string(target) << ": the output does not require a gradient";
    return result;
  }
  const Tensor seed = gradient_seed(out.shape());
  backward(out, convert(target.narrow_seed ? rounded_to(DType::bf16, seed) : seed, out.data().dtype(), target.device));
  for (std::size_t i = 0; i < in.size(); ++i) {
    if (!differentiable(c, i)) continue;
    result.of_input[i] = in[i].grad();
    EXPECT_TRUE(in[i].grad().defined()) << c.name << ": " << to_string(target) << ": input " << i << " got no gradient";
  }
  return result;
}

/// loss(to) - loss(from), summed over the outputs' differences: what did not move cancels exactly, not after rounding.
double loss_difference(const OpCase& c, const std::vector<Tensor>& from, const std::vector<Tensor>& to,
                       const std::vector<double>& seed) {
  const std::vector<double> before = c.run(leaves(c, from, false)).data().to_vector<double>();
  const std::vector<double> after = c.run(leaves(c, to, false)).data().to_vector<double>();
  double difference = 0;
  for (std::size_t i = 0; i < before.size(); ++i) difference += (after[i] - before[i]) * seed[i];
  return difference;
}

void check_differences(const OpCase& c, const std::vector<Tensor>& inputs, const Gradients& analytic) {
  const std::vector<double> seed = gradient_seed(analytic.output.shape()).to_vector<double>();
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (!analytic.of_input[i].defined()) continue;
    const std::int64_t n = inputs[i].numel();
    const std::int64_t step = std::max<std::int64_t>(1, n / kMaxDifferences);
    const std::vector<double> gradient = analytic.of_input[i].to_vector<double>();
    ASSERT_EQ(gradient.size(), static_cast<std::size_t>(n)) << c.name << ": gradient of input " << i << ": size";
    std::vector<Tensor> below = inputs, above = inputs;
    std::vector<double> differences, expected;
    for (std::int64_t e = 0; e < n; e += step) {
      below[i] = inputs[i].clone();
      above[i] = inputs[i].clone();
      below[i].data<double>()[e] -= c.difference_step;
      above[i].data<double>()[e] += c.difference_step;
      differences.push_back(loss_difference(c, below, above, seed) / (2 * c.difference_step));
      expected.push_back(gradient[static_cast<std::size_t>(e)]);
    }
    const Shape shape{static_cast<std::int64_t>(expected.size())};
    expect_close(c, "gradient of input " + std::to_string(i) + " against central differences",
                 Tensor::from(expected, shape), Tensor::from(differences, shape), c.difference_tolerance);
  }
}

void check_target(const OpCase& c, const std::vector<Tensor>& inputs, const Tensor& ref, const Target& target,
                  Gradients* f64_gradients) {
  const std::string where = to_string(target);
  std::vector<Tensor> converted, shifted;
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    converted.push_back(convert(c, i, inputs, target));
    shifted.push_back(misaligned(converted.back()));
  }
  std::vector<std::size_t> sizes;
  for (const Tensor& t : converted) sizes.push_back(t.defined() ? t.nbytes() : 0);

  const Tensor first = c.run(leaves(c, converted, false)).data().to(kCpu).clone();
  sizes.push_back(first.nbytes());
  expect_close(c, where, first, ref, target.tolerance);
  poison_free_memory(target.device, sizes);
  const Tensor second = c.run(leaves(c, converted, false)).data().to(kCpu).clone();
  expect_close(c, where + ", over poisoned memory", second, ref, target.tolerance);
  EXPECT_TRUE(equal_bits(first, second)) << c.name << ": " << where << ": a second run gave other bits";
  expect_close(c, where + ", misaligned inputs", c.run(leaves(c, shifted, false)).data(), ref, target.tolerance);
  for (std::size_t i = 0; i < inputs.size(); ++i) {
    if (inputs[i].defined()) {
      EXPECT_TRUE(equal_bits(converted[i], convert(c, i, inputs, target)))
          << c.name << ": " << where << ": input " << i << " was overwritten";
    }
  }
  if (!c.check_gradient) return;

  const Gradients once = run_with_tape(c, converted, target);
  expect_close(c, where + ", recording", once.output, ref, target.tolerance);
  poison_free_memory(target.device, sizes);
  const Gradients again = run_with_tape(c, converted, target);
  for (std::size_t i = 0; i < once.of_input.size(); ++i) {
    if (!once.of_input[i].defined() || !again.of_input[i].defined()) continue;
    EXPECT_TRUE(equal_bits(once.of_input[i], again.of_input[i]))
        << c.name << ": " << where << ": gradient of input " << i << ": a second run gave other bits";
    if (f64_gradients->of_input.size() > i && f64_gradients->of_input[i].defined()) {
      expect_close(c, where + ": gradient of input " + std::to_string(i) + " against f64", once.of_input[i],
                   f64_gradients->of_input[i], target.gradient_tolerance);
    }
  }
  if (f64_gradients->of_input.empty()) *f64_gradients = once;
}

/// In bf16 on every device: from inputs that bf16 holds, so that what is measured is the op's rounding and not theirs.
void check_bf16(const OpCase& c) {
  std::vector<Tensor> inputs;
  for (std::size_t i = 0; i < c.inputs.size(); ++i)
    inputs.push_back(rounded_to(stays_f32(c, i) ? DType::f32 : DType::bf16, c.inputs[i]));
  const Tensor ref = c.reference(inputs);
  Gradients f64_gradients;
  if (c.check_gradient) f64_gradients = run_with_tape(c, inputs, {kCpu, DType::f64, false, 0, 0, true});
  const double gradient_roundings = c.bf16_gradient_roundings > 0 ? c.bf16_gradient_roundings : 2 * c.bf16_roundings;
  const double tolerance = c.bf16_roundings * kBf16Rounding + c.f32_tolerance;
  const double gradient_tolerance = gradient_roundings * kBf16Rounding + 5 * c.f32_tolerance;
  std::vector<Device> on = cuda_devices_under_test();
  on.push_back(kCpu);
  for (const Device device : on)
    check_target(c, inputs, ref, {device, DType::bf16, false, tolerance, gradient_tolerance, true}, &f64_gradients);
}

}  // namespace

void check(const OpCase& c) {
  SCOPED_TRACE("OpCase " + c.name);
  std::vector<Tensor> inputs;
  for (const Tensor& t : c.inputs) inputs.push_back(rounded_to(DType::f32, t));
  const Tensor ref = c.reference(inputs);
  const double gradient_tolerance = c.gradient_tolerance > 0 ? c.gradient_tolerance : 5 * c.f32_tolerance;

  Gradients f64_gradients;
  check_target(c, inputs, ref, {kCpu, DType::f64, false, kF64Tolerance, kF64Tolerance}, &f64_gradients);
  if (c.check_gradient && !f64_gradients.of_input.empty()) check_differences(c, inputs, f64_gradients);
  check_target(c, inputs, ref, {kCpu, DType::f32, false, c.f32_tolerance, gradient_tolerance}, &f64_gradients);
  for (const Device device : cuda_devices_under_test()) {
    check_target(c, inputs, ref, {device, DType::f32, false, c.f32_tolerance, gradient_tolerance}, &f64_gradients);
    if (c.tf32_tolerance <= 0) continue;
    const MatmulPrecision before = matmul_precision(device);
    set_matmul_precision(device, MatmulPrecision::tf32);
    check_target(c, inputs, ref, {device, DType::f32, true, c.tf32_tolerance, 5 * c.tf32_tolerance}, &f64_gradients);
    set_matmul_precision(device, before);
  }
  if (c.bf16_roundings > 0) check_bf16(c);
}

Tensor random_input(const Shape& shape, std::uint64_t seed, double low, double high) {
  return random_uniform(shape, low, high, RandomKey{seed, 0x0C}, DType::f64, kCpu).to(DType::f32).to(DType::f64);
}

double relative_error(const Tensor& out, const Tensor& ref) {
  if (!(out.shape() == ref.shape())) return std::numeric_limits<double>::infinity();
  const std::vector<double> a = out.to(kCpu).to(DType::f64).to_vector<double>();
  const std::vector<double> b = ref.to(kCpu).to(DType::f64).to_vector<double>();
  double difference = 0, norm = 0;
  for (std::size_t i = 0; i < a.size(); ++i) {
    if (!std::isfinite(a[i]) || !std::isfinite(b[i])) {
      if (a[i] == b[i] || (std::isnan(a[i]) && std::isnan(b[i]))) continue;
      return std::numeric_limits<double>::infinity();
    }
    difference += (a[i] - b[i]) * (a[i] - b[i]);
    norm += b[i] * b[i];
  }
  return norm > 0 ? std::sqrt(difference / norm) : std::sqrt(difference);
}

double nonzero_fraction(const Tensor& tensor) {
  if (tensor.numel() == 0) return 1;
  const std::vector<double> values = tensor.to(kCpu).to(DType::f64).to_vector<double>();
  const auto zeros = std::count(values.begin(), values.end(), 0.0);
  return 1 - static_cast<double>(zeros) / static_cast<double>(values.size());
}

bool equal_bits(const Tensor& a, const Tensor& b) {
  if (a.dtype() != b.dtype() || !(a.shape() == b.shape())) return false;
  const Tensor x = a.to(kCpu), y = b.to(kCpu);
  if (a.device().is_cuda()) synchronize(a.device());
  if (b.device().is_cuda()) synchronize(b.device());
  return a.numel() == 0 || std::memcmp(x.raw(), y.raw(), x.nbytes()) == 0;
}

void poison_free_memory(Device device, const std::vector<std::size_t>& bytes) {
  std::vector<Tensor> held;
  for (const std::size_t size : bytes) {
    const auto elements = static_cast<std::int64_t>((size + 3) / 4);
    for (int copy = 0; copy < 3; ++copy) {  // 0x7fffffff: a NaN in f32, in f64, and in both halves as bf16
      held.push_back(Tensor::full({elements}, 0x7fffffff, DType::i32, device));
    }
  }
}

std::vector<Device> cuda_devices_under_test() {
  for (const Device device : devices()) {
    if (device.is_cuda()) return {device};  // one is enough: kernels do not depend on the index
  }
  return {};
}

// check() covers CUDA wherever there is a device; where there is none this test is reported as skipped, so that a run
// without a GPU never reads as if CUDA had been tested.
TEST(OpCaseCuda, EveryOpCaseAlsoRanOnCuda) {
  if (cuda_devices_under_test().empty()) {
    GTEST_SKIP() << "no op case ran on CUDA: " << cuda_unavailable_reason();
  }
}

TEST(OpCase, RelativeErrorSeesNanShapesAndDifferences) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  const Tensor ref = Tensor::from(std::vector<double>{1, 2, 2}, {3});
  EXPECT_EQ(relative_error(ref, ref), 0);
  EXPECT_NEAR(relative_error(Tensor::from(std::vector<double>{1, 2, 5}, {3}), ref), 1, 1e-12);
  EXPECT_TRUE(std::isinf(relative_error(Tensor::from(std::vector<double>{1, nan, 2}, {3}), ref)));
  EXPECT_TRUE(std::isinf(relative_error(ref, ref.reshape({1, 3}))));
  EXPECT_NEAR(nonzero_fraction(Tensor::from(std::vector<double>{0, 0, 0, 1}, {4})), 0.25, 1e-12);
}

}  // namespace lacuna
