// Ops with several results on the tape.
#pragma once

#include <functional>
#include <vector>

#include "core/var.h"

namespace lacuna {

/// Vector-Jacobian product of an op with two results: given the gradients of both, adds the inputs'. A result on which
/// the loss does not depend has an undefined gradient; never both.
using PairVjp = std::function<void(const Tensor& dfirst, const Tensor& dsecond, Grads& grads)>;
/// Of an op with any number of results; never are all gradients undefined. They may be taken out one by one.
using ManyVjp = std::function<void(std::vector<Tensor>& gradients, Grads& grads)>;

struct VarPair {
  Var first;
  Var second;
};

/// As record(), for two results: `vjp` runs once, when the gradients of both have arrived. It alone holds them then, so
/// it may overwrite one that is_unique().
VarPair record_pair(const char* op, Tensor first, Tensor second, std::vector<Var> inputs, PairVjp vjp);

/// The same for any number of results, at least one.
std::vector<Var> record_many(const char* op, std::vector<Tensor> results, std::vector<Var> inputs, ManyVjp vjp);

}  // namespace lacuna
