// Blocks whose activations are computed again in backward instead of being kept.
#pragma once

#include <functional>

#include "layers/module_list.h"
#include "layers/residual.h"

namespace lacuna {

/// block.forward(x, context); when training, only x is kept, and backward runs the block again with the same random numbers
/// (core/recompute.h). Buffers change in the first run alone. The block must outlive the tape.
Var forward_recomputed(Module& block, const Var& x, ForwardContext& context);

/// The same for a block on a residual stream, which must leave something pending: the stream and what is pending are kept.
using ResidualFunction = std::function<Residual(Residual x, ForwardContext& context)>;
Residual forward_recomputed(const ResidualFunction& block, Residual x, ForwardContext& context);

/// Blocks one after another, recomputed or not.
template <class M>
Var forward_blocks(const ModuleList<M>& blocks, bool recompute, const Var& x, ForwardContext& context) {
  Var y = x;
  for (std::size_t i = 0; i < blocks.size(); ++i)
    y = recompute ? forward_recomputed(blocks[i], y, context) : blocks[i].forward(y, context);
  return y;
}

/// Their plan; recomputed ones keep their input and nothing else.
template <class M>
Shape plan_blocks(const ModuleList<M>& blocks, bool recompute, const Shape& shape, const std::string& prefix,
                  std::vector<LayerPlan>& lines) {
  Shape y = shape;
  for (std::size_t i = 0; i < blocks.size(); ++i) {
    const std::size_t first = lines.size();
    const double input = activation_bytes_of(y.numel());
    y = blocks[i].plan(y, join_path(prefix, std::to_string(i)), lines);
    if (!recompute) continue;
    for (std::size_t line = first; line < lines.size(); ++line) lines[line].activation_bytes = line == first ? input : 0;
  }
  return y;
}

}  // namespace lacuna
