#include "layers/residual.h"

#include "core/errors.h"
#include "core/ops/dropout.h"
#include "core/ops/pointwise.h"
#include "layers/dropout.h"

namespace lacuna {

Pending pending_output(Linear& layer, const Var& x, double p, ForwardContext& context) {
  return pending_product(layer, layer.product(x, context), p, context);
}

Pending pending_product(Linear& layer, const Var& product, double p, ForwardContext& context) {
  if (layer.activation() != Activation::none)
    throw ValueError("residual", "a sublayer that ends in an activation; its last layer must be linear");
  Pending pending{.h = product, .bias = layer.bias(context)};
  if (context.training && p > 0) {
    pending.p = p;
    pending.key = next_key("dropout", context);
  }
  return pending;
}

Var settle(const Residual& residual) {
  const Pending& pending = residual.pending;
  if (!pending.h.defined()) return residual.stream;
  const Var biased = pending.bias.defined() ? add_bias(pending.h, pending.bias) : pending.h;
  return add(residual.stream, pending.p > 0 ? dropout(biased, pending.p, pending.key) : biased);
}

}  // namespace lacuna
