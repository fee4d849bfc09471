#include "layers/conv.h"

#include <fmt/format.h>

#include "core/errors.h"
#include "layers/multiply.h"
#include "layers/shapes.h"

namespace lacuna {

namespace {

std::int64_t images_in(const char* where, const Shape& shape, std::int64_t channels, MapSize size) {
  return require_batch(where, shape, channels, size.pixels(), fmt::format("{} x {} maps", size.height, size.width));
}

std::int64_t window(const ConvSpec& spec) { return std::int64_t{spec.kernel} * spec.kernel; }

}  // namespace

MapSize conv_output(MapSize input, const ConvSpec& spec) {
  if (spec.kernel <= 0 || spec.stride <= 0 || spec.padding < 0) {
    throw ValueError("conv",
                     fmt::format("kernel {}, stride {}, padding {}; kernel and stride must be positive, padding "
                                 "not negative",
                                 spec.kernel, spec.stride, spec.padding));
  }
  const std::int64_t tall = input.height + 2 * spec.padding - spec.kernel;
  const std::int64_t wide = input.width + 2 * spec.padding - spec.kernel;
  if (tall < 0 || wide < 0) {
    throw ShapeError("conv", fmt::format("maps of {} x {} with padding {} under a kernel of {}; the kernel must fit",
                                         input.height, input.width, spec.padding, spec.kernel));
  }
  return {tall / spec.stride + 1, wide / spec.stride + 1};
}

Conv2d::Conv2d(std::int64_t in_channels, std::int64_t out_channels, MapSize input, const ConvOptions& options,
               Init init)
    : input_(input), spec_(options.spec), in_channels_(in_channels) {
  require_positive("conv2d", "in_channels", in_channels);
  require_positive("conv2d", "out_channels", out_channels);
  conv_output(input, spec_);  // throws when the kernel does not fit
  const double deviation = he_deviation(out_channels * window(spec_));
  weight_ = &add_parameter("weight", init.normal({out_channels, in_channels * window(spec_)}, deviation),
                           options.prunable, /*decay=*/true);
  weight_->window = spec_.kernel;
  if (options.bias) bias_ = &add_parameter("bias", init.zeros({out_channels}));
}

std::int64_t Conv2d::batch(const Shape& shape) const { return images_in("conv2d", shape, in_channels_, input_); }

Var Conv2d::forward(const Var& x, ForwardContext& context) {
  const ImageShape image{batch(x.shape()), input_.height, input_.width};
  const Var bias = bias_ ? context.use(*bias_) : Var{};
  // A pruned ordinary convolution multiplies the unfolded image; the dense one may chunk it.
  const Var operand = context.operand(x);
  if (weight_->is_sparse()) return multiply(*weight_, unfold(operand, image, spec_), bias, activation_, context);
  if (activation_ != Activation::none)  // folded: nothing to record
    return Var(conv2d(context.operand(*weight_).data(), operand.data(), bias.data(), image, spec_, kUnfoldedBytes,
                      activation_));
  return conv2d(context.operand(*weight_), operand, bias, image, spec_);
}

void Conv2d::absorb(const ChannelMap& map) {
  Tensor bias = absorb_into(*weight_, bias_ ? bias_->value() : Tensor(), activation_, map);
  set_parameter(bias_, "bias", std::move(bias));
}

Shape Conv2d::plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const {
  const std::int64_t columns = batch(shape) * output().pixels();
  lines.push_back(plan_multiply(*weight_, prefix, "conv2d", join_path(prefix, "weight"), columns));
  return {weight_->shape()[0], columns};
}

PointwiseConv::PointwiseConv(std::int64_t in_channels, std::int64_t out_channels, const PointwiseOptions& options,
                             Init init)
    : activation_(options.activation) {
  require_positive("pointwise_conv", "in_channels", in_channels);
  require_positive("pointwise_conv", "out_channels", out_channels);
  weight_ = &add_parameter("weight", init.normal({out_channels, in_channels}, he_deviation(out_channels)),
                           options.prunable, /*decay=*/true);
  if (options.bias) bias_ = &add_parameter("bias", init.zeros({out_channels}));
}

Var PointwiseConv::forward(const Var& x, ForwardContext& context) {
  return multiply(*weight_, x, bias_ ? context.use(*bias_) : Var{}, activation_, context);
}

void PointwiseConv::absorb(const ChannelMap& map) {
  Tensor bias = absorb_into(*weight_, bias_ ? bias_->value() : Tensor(), activation_, map);
  set_parameter(bias_, "bias", std::move(bias));
}

Shape PointwiseConv::plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const {
  require_matrix("pointwise_conv", shape, weight_->shape()[1]);
  lines.push_back(plan_multiply(*weight_, prefix, "pointwise_conv", join_path(prefix, "weight"), shape[1]));
  if (activation_ == Activation::gelu) lines.back().activation_bytes *= 2;
  return {weight_->shape()[0], shape[1]};
}

DepthwiseConv::DepthwiseConv(std::int64_t channels, MapSize input, const ConvSpec& spec, Init init)
    : input_(input), spec_(spec) {
  require_positive("depthwise_conv", "channels", channels);
  conv_output(input, spec);
  weight_ = &add_parameter("weight", init.normal({channels, window(spec)}, he_deviation(window(spec))));
}

std::int64_t DepthwiseConv::batch(const Shape& shape) const {
  return images_in("depthwise_conv", shape, weight_->shape()[0], input_);
}

Var DepthwiseConv::forward(const Var& x, ForwardContext& context) {
  const ImageShape image{batch(x.shape()), input_.height, input_.width};
  const Var operand = context.operand(x);
  if (!bias_) return depthwise_conv2d(context.use(*weight_), operand, image, spec_);
  return Var(depthwise_conv2d(weight_->value(), operand.data(), image, spec_, bias_->value(), activation_));
}

void DepthwiseConv::absorb(const ChannelMap& map) {
  Tensor bias = absorb_into(*weight_, bias_ ? bias_->value() : Tensor(), activation_, map);
  set_parameter(bias_, "bias", std::move(bias));
}

Shape DepthwiseConv::plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const {
  const std::int64_t columns = batch(shape) * output().pixels();
  lines.push_back(plan_multiply(*weight_, prefix, "depthwise_conv", join_path(prefix, "weight"), columns));
  return {weight_->shape()[0], columns};
}

}  // namespace lacuna
