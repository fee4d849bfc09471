// Element i of one parameter's update, from memory and back. Device code only.
#pragma once

#include <cstdint>

#include "kernels/optim/rules.h"

namespace lacuna::kernels {

struct SgdElement {
  SgdRule<float> rule;
  float* __restrict__ value;
  const float* __restrict__ grad;
  float* __restrict__ momentum;
  __device__ void operator()(std::int64_t i, float scale) const {
    float x = value[i];
    if (momentum) {
      float buffer = rule.first_step ? 0.0f : momentum[i];
      rule.apply(x, grad[i] * scale, &buffer);
      momentum[i] = buffer;
    } else {
      rule.apply(x, grad[i] * scale, nullptr);
    }
    value[i] = x;
  }
};

struct AdamElement {
  AdamRule<float> rule;
  float* __restrict__ value;
  const float* __restrict__ grad;
  float* __restrict__ m;
  float* __restrict__ v;
  __device__ void operator()(std::int64_t i, float scale) const {
    float x = value[i], first = m[i], second = v[i];
    rule.apply(x, grad[i] * scale, first, second);
    value[i] = x;
    m[i] = first;
    v[i] = second;
  }
};

struct EmaElement {
  EmaRule<float> rule;
  float* __restrict__ ema;
  const float* __restrict__ value;
  __device__ void operator()(std::int64_t i, float) const {
    float x = ema[i];
    rule.apply(x, value[i]);
    ema[i] = x;
  }
};

}  // namespace lacuna::kernels
