#include "layers/dropout.h"

#include <fmt/format.h>

#include "core/errors.h"
#include "core/ops/dropout.h"
#include "layers/multiply.h"

namespace lacuna {

RandomKey next_key(const char* where, ForwardContext& context) {
  if (!context.random) {
    throw ValueError(where, "training with dropout and no random stream; ForwardContext::random must be set");
  }
  return context.random->next();
}

Var dropout(const Var& x, double p, ForwardContext& context) {
  if (!context.training || p == 0) return x;
  return dropout(x, p, next_key("dropout", context));
}

void require_dropout_rate(const char* where, double p) {
  if (!(p >= 0 && p < 1)) throw ValueError(where, fmt::format("dropout is {}; must be in [0, 1)", p));
}

Dropout::Dropout(double p) : p_(p) { require_dropout_rate("dropout", p); }

Shape Dropout::plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const {
  if (p_ > 0) {
    // The mask is drawn again in the backward pass, so only the output is kept.
    LayerPlan line{.name = prefix, .kind = "dropout"};
    line.activation_bytes = activation_bytes_of(shape.numel());
    lines.push_back(line);
  }
  return shape;
}

}  // namespace lacuna
