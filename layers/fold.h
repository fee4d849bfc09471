// Folding: in evaluation a batch norm is one affine map per channel, which the product before it can do itself.
#pragma once

#include "layers/module.h"

namespace lacuna {

/// y = activation(scale[i] * x[i, j] + shift[i]). On the host, in double: folding rounds once.
struct ChannelMap {
  std::vector<double> scale;
  std::vector<double> shift;
  Activation activation = Activation::none;
};

/// The map of a batch norm that is frozen: scale = gain / sqrt(running_var + eps), shift = bias - scale * running_mean.
/// All [channels], f32 or f64, on any device, for which it waits.
ChannelMap evaluation_map(const Tensor& gain, const Tensor& bias, const Tensor& running_mean, const Tensor& running_var,
                          double eps);

/// Multiplies row i of `weight` ([channels, ...], dense or sparse; its slots are dropped) by map.scale[i] and returns the
/// bias [channels] that goes with it: map.scale * bias + map.shift. `bias` may be undefined (0). `activation` is the
/// product's own and becomes the map's. Throws ShapeError, and ValueError when an activation stands between the two.
Tensor absorb_into(Parameter& weight, const Tensor& bias, Activation& activation, const ChannelMap& map);

}  // namespace lacuna
