#include "layers/fold.h"

#include <fmt/format.h>

#include <cmath>

#include "core/errors.h"

namespace lacuna {

namespace {

std::vector<double> on_host(const Tensor& t) { return t.to(kCpu).to(DType::f64).to_vector<double>(); }

Tensor back(const std::vector<double>& values, const Tensor& like) {
  return Tensor::from(values, like.shape()).to(like.dtype()).to(like.device());
}

}  // namespace

ChannelMap evaluation_map(const Tensor& gain, const Tensor& bias, const Tensor& running_mean, const Tensor& running_var,
                          double eps) {
  const std::vector<double> mean = on_host(running_mean), variance = on_host(running_var);
  ChannelMap map{on_host(gain), on_host(bias), Activation::none};
  for (std::size_t i = 0; i < map.scale.size(); ++i) {
    map.scale[i] /= std::sqrt(variance[i] + eps);
    map.shift[i] -= map.scale[i] * mean[i];
  }
  return map;
}

Tensor absorb_into(Parameter& weight, const Tensor& bias, Activation& activation, const ChannelMap& map) {
  const auto channels = static_cast<std::int64_t>(map.scale.size());
  if (weight.shape()[0] != channels || map.shift.size() != map.scale.size()) {
    throw ShapeError("fold", fmt::format("{} channels into '{}' {}; its rows must be the channels", channels,
                                         weight.name(), to_string(weight.shape())));
  }
  if (activation != Activation::none) {
    throw ValueError("fold", fmt::format("'{}' has an activation before the norm; must have none", weight.name()));
  }
  const TopologyPtr topology = weight.topology();
  std::vector<double> values = on_host(weight.value());
  const std::int64_t row_size = channels == 0 ? 0 : weight.shape().numel() / channels;
  std::vector<std::int32_t> offsets;
  if (topology) offsets = topology->row_offsets().to_vector<std::int32_t>();
  for (std::int64_t row = 0; row < channels; ++row) {
    const auto r = static_cast<std::size_t>(row);
    const std::int64_t begin = topology ? offsets[r] : row * row_size;
    const std::int64_t end = topology ? offsets[r + 1] : (row + 1) * row_size;
    for (std::int64_t i = begin; i < end; ++i) values[static_cast<std::size_t>(i)] *= map.scale[r];
  }
  std::vector<double> shifted = bias.defined() ? on_host(bias) : std::vector<double>(map.scale.size(), 0.0);
  for (std::size_t i = 0; i < shifted.size(); ++i) shifted[i] = map.scale[i] * shifted[i] + map.shift[i];
  const Tensor like = Tensor::empty({channels}, weight.value().dtype(), weight.value().device());
  weight.assign(back(values, weight.value()), topology);
  activation = map.activation;
  return back(shifted, like);
}

}  // namespace lacuna
