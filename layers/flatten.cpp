#include "layers/flatten.h"

#include "core/ops/heads.h"
#include "layers/shapes.h"

namespace lacuna {

Var reshape(const Var& x, const Shape& shape) {
  const Shape before = x.shape();
  return record("reshape", x.data().reshape(shape), {x},
                [before](const Tensor& dc, Grads& grads) { grads.add(0, [&] { return dc.reshape(before); }); });
}

Var flatten(const Var& x, std::int64_t pixels) {
  if (pixels == 1) return x;
  const std::int64_t channels = x.shape().dim(0);
  const std::int64_t batch = require_batch("flatten", x.shape(), channels, pixels, "images");
  // [channels, batch, pixels] is "heads" that each hold a [tokens, features] matrix to be turned.
  return merge_heads(reshape(x, {channels, batch, pixels}), /*batch=*/1, /*heads=*/channels);
}

}  // namespace lacuna
