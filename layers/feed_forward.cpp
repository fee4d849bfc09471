#include "layers/feed_forward.h"

#include "core/ops/activation_dropout.h"
#include "layers/dropout.h"
#include "layers/multiply.h"

namespace lacuna {

FeedForward::FeedForward(const FeedForwardOptions& options, Init init)
    : dropout_(options.dropout),
      expand_(add_child<Linear>("expand", options.features, options.filter,
                                LinearOptions{.activation = options.activation}, init)),
      contract_(add_child<Linear>("contract", options.filter, options.features,
                                  LinearOptions{.deviation = options.output_deviation}, init)) {
  require_dropout_rate("feed_forward", dropout_);
}

Var FeedForward::forward(const Var& x, ForwardContext& context) {
  return contract_.forward(expand(x, context), context);
}

Pending FeedForward::pending(const Var& x, double dropout, ForwardContext& context) {
  return pending_output(contract_, expand(x, context), dropout, context);
}

Var FeedForward::expand(const Var& x, ForwardContext& context) {
  if (!context.training || dropout_ == 0) return expand_.forward(x, context);
  Var product = expand_.product(x, context);
  const RandomKey key = next_key("dropout", context);
  return activation_dropout(std::move(product), expand_.bias(context), expand_.activation(), dropout_, key);
}

Shape FeedForward::plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const {
  // Dropout is part of what follows the product: the dropped output is the one kept.
  const Shape inner = expand_.plan(shape, join_path(prefix, "expand"), lines);
  return contract_.plan(inner, join_path(prefix, "contract"), lines);
}

}  // namespace lacuna
