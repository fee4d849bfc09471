#include "layers/embedding.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>

#include "core/errors.h"
#include "core/ops/embedding.h"
#include "core/ops/pointwise.h"
#include "layers/dropout.h"
#include "layers/multiply.h"
#include "layers/shapes.h"

namespace lacuna {

namespace {
constexpr double kDeviation = 0.02;  // as in GPT-2
}

TokenEmbedding::TokenEmbedding(const EmbeddingOptions& options, Init init) : options_(options) {
  require_positive("embedding", "vocabulary", options.vocabulary);
  require_positive("embedding", "sequence_length", options.sequence_length);
  require_positive("embedding", "features", options.features);
  const bool learned = options.positions == Positions::learned;
  const double deviation = learned ? kDeviation : 1.0 / std::sqrt(static_cast<double>(options.features));
  tokens_ = &add_parameter("tokens", init.normal({options.vocabulary, options.features}, deviation));
  if (learned) {
    positions_ = &add_parameter("positions", init.normal({options.sequence_length, options.features}, kDeviation));
  } else {
    sinusoids_ = sinusoidal_positions(options.sequence_length, options.features, init.dtype);
  }
}

std::int64_t TokenEmbedding::sequences(const Shape& shape) const {
  const std::int64_t length = options_.sequence_length;
  if (shape.rank() != 1 || shape[0] <= 0 || shape[0] % length != 0) {
    throw ShapeError("embedding",
                     fmt::format("tokens are {}; must be [batch * {}]: whole sequences of the configured length (pad "
                                 "shorter ones, and give their targets a negative class)",
                                 to_string(shape), length));
  }
  return shape[0] / length;
}

Tensor TokenEmbedding::position_ids(std::int64_t batch, Device device) {
  const std::int64_t length = options_.sequence_length;
  const std::int64_t longest = position_ids_.empty() ? 0 : position_ids_.back().numel();
  if (longest < batch * length) {
    // At least twice the last one: all of them together stay below three times the longest batch.
    std::vector<std::int32_t> ids(static_cast<std::size_t>(std::max(batch * length, 2 * longest)));
    for (std::size_t i = 0; i < ids.size(); ++i)
      ids[i] = static_cast<std::int32_t>(static_cast<std::int64_t>(i) % length);
    position_ids_.push_back(Tensor::from(ids, {static_cast<std::int64_t>(ids.size())}, device));
  }
  return position_ids_.back().slice(0, batch * length);
}

Var TokenEmbedding::forward(const Var& x, double p, ForwardContext& context) {
  const std::int64_t batch = sequences(x.shape());
  const DType dtype = context.activations(tokens_->value().dtype());
  if (positions_) {
    const bool drops = context.training && p > 0;
    const RandomKey key = drops ? next_key("embedding", context) : RandomKey{};
    return sequence_embedding(context.use(*tokens_), x.data(), context.use(*positions_), dtype, drops ? p : 0, key);
  }
  const Tensor positions = position_ids(batch, x.data().device());
  const Var tokens =
      scale(embedding(context.use(*tokens_), x.data(), dtype), std::sqrt(static_cast<double>(options_.features)));
  return dropout(add(tokens, embedding(Var(sinusoids_), positions, dtype)), p, context);
}

Shape TokenEmbedding::plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const {
  sequences(shape);
  LayerPlan line{.name = prefix, .kind = "embedding", .weight = join_path(prefix, "tokens"), .columns = shape[0]};
  line.activation_bytes = activation_bytes_of(options_.features * shape[0]);
  lines.push_back(line);
  return {options_.features, shape[0]};
}

void TokenEmbedding::on_move(Device device) {
  if (sinusoids_.defined()) sinusoids_ = sinusoids_.to(device);
  position_ids_.clear();
}

Tensor sinusoidal_positions(std::int64_t sequence_length, std::int64_t features, DType dtype) {
  std::vector<double> table(static_cast<std::size_t>(sequence_length * features));
  for (std::int64_t t = 0; t < sequence_length; ++t) {
    for (std::int64_t f = 0; f < features; ++f) {
      const double exponent = static_cast<double>(f / 2 * 2) / static_cast<double>(features);
      const double angle = static_cast<double>(t) / std::pow(10000.0, exponent);
      table[static_cast<std::size_t>(t * features + f)] = f % 2 == 0 ? std::sin(angle) : std::cos(angle);
    }
  }
  return Tensor::from(table, {sequence_length, features}).to(dtype);
}

}  // namespace lacuna
