#include "layers/recompute.h"

#include <optional>

#include "core/recompute.h"

namespace lacuna {

Var forward_recomputed(Module& block, const Var& x, ForwardContext& context) {
  if (!context.training) return block.forward(x, context);
  std::optional<RandomStream> random;  // where the block's draws begin
  if (context.random) random = *context.random;
  return recompute({x}, [&block, first = &context, saved = context, random](const std::vector<Var>& in, bool again) {
    if (!again) return block.forward(in[0], *first);
    std::optional<RandomStream> stream = random;
    ForwardContext second = saved;
    second.random = stream ? &*stream : nullptr;
    second.recomputing = true;
    return block.forward(in[0], second);
  });
}

}  // namespace lacuna
