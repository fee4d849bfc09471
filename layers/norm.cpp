#include "layers/norm.h"

#include "core/errors.h"
#include "core/ops/batch_norm.h"
#include "core/ops/batch_norm_relu.h"
#include "core/ops/layer_norm.h"
#include "layers/multiply.h"
#include "layers/shapes.h"

namespace lacuna {

namespace {

using Norm = Var(const Var&, const Var&, const Var&, const Tensor&, const Tensor&, bool, double, double);

// No flops: the plan counts multiply-adds of weights and scores; norms are bound by memory.
LayerPlan plan_norm(const std::string& name, const char* kind, const Shape& shape) {
  LayerPlan line{.name = name, .kind = kind};
  line.activation_bytes = activation_bytes_of(shape.numel());
  return line;
}

}  // namespace

LayerNorm::LayerNorm(std::int64_t features, Init init, double eps)
    : eps_(eps),
      gain_(add_parameter("gain", init.constant({features}, 1.0))),
      bias_(add_parameter("bias", init.zeros({features}))) {
  require_positive("layer_norm", "features", features);
}

Var LayerNorm::forward(const Var& x, ForwardContext& context) {
  return layer_norm(x, context.use(gain_), context.use(bias_), eps_);
}

ResidualNormVars LayerNorm::forward(Residual x, ForwardContext& context) {
  const Pending& added = x.pending;
  return residual_norm(x.stream, added.h, added.bias, context.use(gain_), context.use(bias_), added.p, added.key, eps_);
}

Shape LayerNorm::plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const {
  require_matrix("layer_norm", shape, gain_.shape()[0]);
  lines.push_back(plan_norm(prefix, "layer_norm", shape));
  return shape;
}

BatchNorm::BatchNorm(std::int64_t channels, const BatchNormOptions& options, Init init)
    : options_(options),
      gain_(add_parameter("gain", init.constant({channels}, 1.0))),
      bias_(add_parameter("bias", init.zeros({channels}))),
      running_mean_(add_buffer("running_mean", init.zeros({channels}))),
      running_var_(add_buffer("running_var", init.constant({channels}, 1.0))) {
  require_positive("batch_norm", "channels", channels);
}

Var BatchNorm::forward(const Var& x, ForwardContext& context) {
  if (dissolved_) {
    if (context.training) throw ValueError("batch_norm", "training after folding; must be prepared for inference last");
    return x;
  }
  // The op moves the running statistics of a training pass along; a second run of that pass moves copies.
  const Tensor mean = context.recomputing ? running_mean_.clone() : running_mean_;
  const Tensor var = context.recomputing ? running_var_.clone() : running_var_;
  const auto norm = options_.relu ? static_cast<Norm*>(batch_norm_relu) : static_cast<Norm*>(batch_norm);
  return norm(x, context.use(gain_), context.use(bias_), mean, var, context.training, options_.momentum, options_.eps);
}

ChannelMap BatchNorm::dissolve() {
  if (dissolved_) throw ValueError("batch_norm", "folded before; its statistics are gone");
  ChannelMap map = evaluation_map(gain_.value(), bias_.value(), running_mean_, running_var_, options_.eps);
  if (options_.relu) map.activation = Activation::relu;
  drop_state();
  dissolved_ = true;
  return map;
}

Shape BatchNorm::plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const {
  if (dissolved_) return shape;
  require_matrix("batch_norm", shape, gain_.shape()[0]);
  lines.push_back(plan_norm(prefix, "batch_norm", shape));  // with relu, the relu's output is the one kept
  return shape;
}

}  // namespace lacuna
