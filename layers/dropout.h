// Dropout: zeroes elements while training, scales the rest; nothing in evaluation.
#pragma once

#include "layers/module.h"

namespace lacuna {

/// dropout with the context's next key, or x itself when not training or p is 0.
/// Throws ValueError when training with p > 0 and the context has no random stream.
Var dropout(const Var& x, double p, ForwardContext& context);

/// The context's next key. Throws ValueError when it has no random stream.
RandomKey next_key(const char* where, ForwardContext& context);

/// p must be in [0, 1). Throws ValueError.
void require_dropout_rate(const char* where, double p);

/// Any shape in, the same shape out.
class Dropout : public Module {
 public:
  explicit Dropout(double p);
  Var forward(const Var& x, ForwardContext& context) override { return dropout(x, p_, context); }
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override;

 private:
  double p_;
};

}  // namespace lacuna
