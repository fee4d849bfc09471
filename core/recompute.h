// Activation checkpointing: a part of the tape that is thrown away after forward and built again in backward.
#pragma once

#include <functional>
#include <vector>

#include "core/record_pair.h"
#include "core/var.h"

namespace lacuna {

/// A function whose activations are computed twice. `again` is false in the forward pass and true in backward, where side
/// effects (running statistics) must not happen a second time; random numbers must be the first pass's.
using RecomputedFunction = std::function<Var(const std::vector<Var>& inputs, bool again)>;

/// fn(inputs), keeping for backward nothing but the inputs and fn: backward runs fn again and differentiates that run
/// (Chen, Xu, Zhang, Guestrin, Training Deep Nets with Sublinear Memory Cost, 2016, section 4). Peak memory is that of the
/// inputs of all such parts and of one part's activations; the price is one more forward pass.
///   inputs  what fn reads from the tape before it; undefined ones are handed on. fn may use leaves (parameters) of its own,
///           also ones that are used elsewhere, but no other Var that is on a tape: backward() then throws ValueError.
/// Gradients: of the inputs and of all leaves, bit for bit those of fn on the tape where each input is read by nothing else.
/// Throws what fn throws; a throw in backward leaves the gradients of leaves as far as they came.
Var recompute(const std::vector<Var>& inputs, RecomputedFunction fn);

/// The same for a function with two results.
using RecomputedPair = std::function<VarPair(const std::vector<Var>& inputs, bool again)>;
VarPair recompute_pair(const std::vector<Var>& inputs, RecomputedPair fn);

}  // namespace lacuna
