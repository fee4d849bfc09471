// TokenEmbedding: token vectors plus positions, feature-major.
#pragma once

#include <vector>

#include "layers/initialize.h"
#include "layers/module.h"

namespace lacuna {

enum class Positions : std::uint8_t { learned, sinusoidal };

struct EmbeddingOptions {
  std::int64_t vocabulary = 0;
  std::int64_t sequence_length = 0;
  std::int64_t features = 0;
  Positions positions = Positions::learned;
};

/// Token vectors plus position vectors. Tables are not prunable and do not decay.
/// Parameters: tokens [vocabulary, features]; positions [sequence_length, features] when learned.
///   x  i32 [batch * sequence_length], sequences one after another      returns [features, batch * sequence_length]
/// Learned: both tables with deviation 0.02. Sinusoidal (Vaswani et al., Attention Is All You Need, sections 3.4, 3.5):
/// tokens with deviation 1 / sqrt(features), scaled by sqrt(features), so that neither term drowns the other.
/// Throws ShapeError unless x holds whole sequences, DtypeError unless it is i32.
class TokenEmbedding : public Module {
 public:
  TokenEmbedding(const EmbeddingOptions& options, Init init);
  Var forward(const Var& x, ForwardContext& context) override { return forward(x, 0, context); }
  /// With the sum dropped out at rate p while training, as layers/dropout.h does it; learned positions take one pass.
  Var forward(const Var& x, double p, ForwardContext& context);
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override;

  /// The token table, for an output layer tied to it.
  Parameter& tokens() { return *tokens_; }
  const Parameter& tokens() const { return *tokens_; }

 protected:
  void on_move(Device device) override;

 private:
  std::int64_t sequences(const Shape& shape) const;
  Tensor position_ids(std::int64_t batch, Device device);

  EmbeddingOptions options_;
  Parameter* tokens_ = nullptr;
  Parameter* positions_ = nullptr;  // null when sinusoidal
  Tensor sinusoids_;                // [sequence_length, features], undefined when learned
  // Of sinusoids: i32 [batch * sequence_length], the last the longest; a pass reads the start of it. None goes while the module lives:
  // a captured step reads the one it was recorded with, whatever batches evaluation has seen since.
  std::vector<Tensor> position_ids_;
};

/// Row t: sin(t / 10000^(2i / features)) at 2i, the cosine at 2i + 1.   returns [sequence_length, features]
Tensor sinusoidal_positions(std::int64_t sequence_length, std::int64_t features, DType dtype);

}  // namespace lacuna
