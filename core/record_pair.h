// Ops with two results on the tape.
#pragma once

#include <functional>

#include "core/var.h"

namespace lacuna {

/// Vector-Jacobian product of such an op: given the gradients of both results, adds the inputs'. A result on which the
/// loss does not depend has an undefined gradient; never both.
using PairVjp = std::function<void(const Tensor& dfirst, const Tensor& dsecond, Grads& grads)>;

struct VarPair {
  Var first;
  Var second;
};

/// As record(), for two results: `vjp` runs once, when the gradients of both have arrived. It alone holds them then, so
/// it may overwrite one that is_unique().
VarPair record_pair(const char* op, Tensor first, Tensor second, std::vector<Var> inputs, PairVjp vjp);

}  // namespace lacuna
