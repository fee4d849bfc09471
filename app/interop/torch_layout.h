// Shapes that PyTorch gives the weights of Lacuna's models.
#pragma once

#include "models/factory.h"
#include "train/interop/state.h"

namespace lacuna {

/// Gives weights PyTorch's shapes; their elements stay where they are. Of MobileNet: pointwise [out, in] to
/// [out, in, 1, 1], depthwise [c, 9] to [c, 1, 3, 3], the stem [out, in * 9] to [out, in, 3, 3]. The other models'
/// shapes are PyTorch's already. Throws CheckpointError for weights that are not those of the config's model.
void to_torch_layout(interop::State& state, const ModelConfig& model);

}  // namespace lacuna
