// How weights begin: the random stream they are drawn from and the dtype they are drawn in.
#pragma once

#include <cmath>

#include "core/random.h"

namespace lacuna {

/// Handed down through constructors. Parameters are created on the CPU; Module::to moves them. f64 is for tests.
struct Init {
  RandomStream& random;
  DType dtype = DType::f32;

  /// N(0, deviation).
  Tensor normal(const Shape& shape, double deviation) const {
    return random_normal(shape, 0.0, deviation, random.next(), dtype, kCpu);
  }
  Tensor constant(const Shape& shape, double value) const { return Tensor::full(shape, value, dtype, kCpu); }
  Tensor zeros(const Shape& shape) const { return Tensor::zeros(shape, dtype, kCpu); }
};

/// Deviation that keeps the variance of activations (fan = inputs per output) or of gradients (fan = outputs per
/// input) through a ReLU: sqrt(2 / fan) (He et al., Delving Deep into Rectifiers, ICCV 2015).
inline double he_deviation(std::int64_t fan) { return std::sqrt(2.0 / static_cast<double>(fan > 0 ? fan : 1)); }

}  // namespace lacuna
