#include "layers/recompute.h"

#include <optional>
#include <utility>

#include "core/recompute.h"

namespace lacuna {
namespace {

/// A pass over a block that can be run again: with the same random numbers, and buffers left alone.
class Replay {
 public:
  explicit Replay(const ForwardContext& context) : context_(context) {
    if (context.random) random_ = *context.random;
  }
  template <class F>
  auto run(F&& f) const {
    std::optional<RandomStream> random = random_;
    ForwardContext second = context_;
    second.random = random ? &*random : nullptr;
    second.recomputing = true;
    return f(second);
  }

 private:
  ForwardContext context_;
  std::optional<RandomStream> random_;  // where the block's draws begin
};

}  // namespace

Var forward_recomputed(Module& block, const Var& x, ForwardContext& context) {
  if (!context.training) return block.forward(x, context);
  return recompute({x}, [&block, first = &context, replay = Replay(context)](const std::vector<Var>& in, bool again) {
    const auto forward = [&](ForwardContext& c) { return block.forward(in[0], c); };
    return again ? replay.run(forward) : forward(*first);
  });
}

Residual forward_recomputed(const ResidualFunction& block, Residual x, ForwardContext& context) {
  if (!context.training) return block(std::move(x), context);
  Pending left;  // by the first run
  Pending entering = x.pending;
  entering.h = Var();  // an input: kept as data, not with its tape
  const VarPair out = recompute_pair({x.stream, x.pending.h},
                                     [block, first = &context, left = &left, entering, replay = Replay(context)](
                                         const std::vector<Var>& in, bool again) -> VarPair {
                                       const auto forward = [&](ForwardContext& c) {
                                         Residual inner{in[0], entering};
                                         inner.pending.h = in[1];
                                         return block(std::move(inner), c);
                                       };
                                       const Residual result = again ? replay.run(forward) : forward(*first);
                                       if (!again) *left = result.pending;
                                       return {result.stream, result.pending.h};
                                     });
  left.h = out.second;
  return {out.first, left};
}

}  // namespace lacuna
