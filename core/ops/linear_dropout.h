// A dense product with all that follows it: bias, activation and dropout. On Hopper in bf16 one kernel, which draws
// dropout's numbers while it multiplies (kernels/bf16_product), so that the product is written once.
#pragma once

#include "core/random.h"
#include "core/var.h"

namespace lacuna {

/// dropout(activation(w x + bias[row])):  w [m, k],  x [k, n],  bias [m] (f32 beside bf16) or undefined  ->  [m, n]; the
/// mask is that of dropout(., p, key). By one kernel, summed in f32 and rounded once, where it can be; else linear and
/// activation_dropout. Throws as those do. Gradients as theirs; keeps w, x and, for relu, the output.
Var linear_dropout(const Var& w, const Var& x, const Var& bias, Activation activation, double p, RandomKey key);

/// Whether linear_dropout takes the one kernel: bf16 on CUDA of compute capability 9.0, no gelu, not switched off
/// (KernelSet::bf16_product), columns of x and w in eights, and 64 tiles of 256 x 256 at least, or it would be the slower
/// way.
bool linear_dropout_is_fused(const Tensor& w, const Tensor& x, Activation activation);

}  // namespace lacuna
