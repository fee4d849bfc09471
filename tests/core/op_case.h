// OpCase: one description of an op drives every check of it.
//
//   check(OpCase{.name = "add", .inputs = {random_input({3, 5}, 1), random_input({3, 5}, 2)},
//                .run = [](const std::vector<Var>& in) { return add(in[0], in[1]); },
//                .reference = [](const std::vector<Tensor>& in) { ...naive f64 loops... }});
//
// For each device and dtype, check() runs the op without a tape, again over freed memory that was filled with NaN
// (so an unwritten output shows, and the bits of the two runs are compared), on misaligned inputs, and with a tape;
// each result is compared with the reference. Gradients: central differences in f64, then f32 and CUDA against f64.
// With bf16_roundings the same in bf16, against the reference and the f64 gradients at inputs rounded to bf16.
#pragma once

#include <cstdint>
#include <functional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "core/var.h"

namespace lacuna {

struct OpCase {
  std::string name;
  /// f64 CPU leaves, converted to each (device, dtype) after rounding to f32 so that every run sees equal numbers.
  /// Tensors of integers are only moved; undefined ones stay undefined (absent optional operands).
  std::vector<Tensor> inputs;
  /// The op on whatever device and dtype the inputs have; it moves its own constants (tokens, topologies) there.
  std::function<Var(const std::vector<Var>&)> run;
  /// Naive f64 loops on the CPU.
  std::function<Tensor(const std::vector<Tensor>&)> reference;
  double f32_tolerance = 1e-5;            ///< relative L2 error ||out - ref|| / ||ref|| of f32 on CPU and CUDA
  double tf32_tolerance = 0;              ///< > 0: also on CUDA with TF32 products
  std::vector<bool> differentiable = {};  ///< per input; default: every floating one
  bool check_gradient = true;
  // Beyond the common case:
  double gradient_tolerance = 0;       ///< f32 gradients against f64; 0: five times f32_tolerance
  double difference_tolerance = 1e-6;  ///< central differences against backward(), both f64
  double difference_step = 1e-5;
  /// > 0: also in bf16, with a tolerance of this many roundings: computed in f32 and rounded to nearest once, each element
  /// is off by at most kBf16Rounding of itself, and so is the L2 norm. An op that rounds in between, or whose backward
  /// runs on an output that was rounded, says so by a larger count.
  double bf16_roundings = 0;
  double bf16_gradient_roundings = 0;  ///< 0: twice bf16_roundings
  std::vector<bool> parameters = {};   ///< per input: stays f32 beside bf16 (a bias, a gain, a table); default: none
  bool allow_zeros = false;            ///< the right result is (nearly) all zeros, so proves little; say so on purpose
};

/// Half of a last place of bf16's eight bits, relative to the number: the most that rounding to nearest moves it.
inline constexpr double kBf16Rounding = 1.0 / 256;

void check(const OpCase& op_case);

/// f64 on the CPU, uniform in [low, high), exactly representable in f32.
Tensor random_input(const Shape& shape, std::uint64_t seed, double low = -1, double high = 1);

/// ||out - ref|| / ||ref|| over elements of any float dtype and device; infinite when exactly one side is not finite,
/// or shapes differ. 0 for empty tensors; ||out|| when ref is all zeros.
double relative_error(const Tensor& out, const Tensor& ref);

/// Fraction of elements that are not 0; 1 for an empty tensor.
double nonzero_fraction(const Tensor& tensor);

/// Equal dtype, shape and bits.
bool equal_bits(const Tensor& a, const Tensor& b);

/// Allocates, fills with NaN and frees blocks of `bytes`, so that the allocator's next such blocks hold NaN.
void poison_free_memory(Device device, const std::vector<std::size_t>& bytes);

/// CUDA devices among devices(); empty without one. Tests over it skip visibly: OpCaseCuda.* in op_case.cpp.
std::vector<Device> cuda_devices_under_test();

}  // namespace lacuna
