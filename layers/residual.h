// The residual stream of a pre-norm model, and a sublayer's output on its way into it. The addition waits for the norm
// that follows, which does both in one op (core/ops/residual_norm.h).
#pragma once

#include "layers/linear.h"

namespace lacuna {

/// dropout(h + bias), not yet computed.
struct Pending {
  Var h;
  Var bias;       ///< undefined: none
  double p = 0;   ///< 0 in evaluation
  RandomKey key;  ///< drawn when the sublayer ran
};

/// stream + dropout(pending).
struct Residual {
  Var stream;
  Pending pending = {};  ///< h undefined: nothing to add
};

/// The output of `layer` on x as something to be added, its bias and dropout left to the addition. The layer must have
/// no activation: throws ValueError. Draws a key when training with p > 0.
Pending pending_output(Linear& layer, const Var& x, double p, ForwardContext& context);

/// The same of `product`, the layer's weight times its input.
Pending pending_product(Linear& layer, const Var& product, double p, ForwardContext& context);

/// The sum itself, by separate ops: where no norm follows.
Var settle(const Residual& residual);

}  // namespace lacuna
