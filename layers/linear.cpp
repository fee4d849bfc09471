#include "layers/linear.h"

#include <cmath>

#include "layers/multiply.h"
#include "layers/shapes.h"

namespace lacuna {

Linear::Linear(std::int64_t inputs, std::int64_t outputs, const LinearOptions& options, Init init)
    : activation_(options.activation) {
  require_positive("linear", "inputs", inputs);
  require_positive("linear", "outputs", outputs);
  double deviation = options.deviation;
  if (deviation == 0) {
    deviation =
        options.activation == Activation::relu ? he_deviation(inputs) : 1.0 / std::sqrt(static_cast<double>(inputs));
  }
  weight_ = &add_parameter("weight", init.normal({outputs, inputs}, deviation), options.prunable, /*decay=*/true);
  if (options.bias) bias_ = &add_parameter("bias", init.zeros({outputs}));
}

Var Linear::forward(const Var& x, ForwardContext& context) {
  return multiply(*weight_, x, bias(context), activation_, context);
}

Var Linear::product(const Var& x, ForwardContext& context) {
  return multiply(*weight_, x, Var{}, Activation::none, context);
}

Shape Linear::plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const {
  require_matrix("linear", shape, weight_->shape()[1]);
  lines.push_back(plan_multiply(*weight_, prefix, "linear", join_path(prefix, "weight"), shape[1]));
  // The input of gelu is kept beside its output.
  if (activation_ == Activation::gelu) lines.back().activation_bytes *= 2;
  return {weight_->shape()[0], shape[1]};
}

}  // namespace lacuna
