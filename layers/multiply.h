// The one place where a layer meets the storage of its weight: dense product or SpMM.
#pragma once

#include "layers/module.h"

namespace lacuna {

/// activation(w * x + bias), on the tape when training.
///   w     [m, k], dense or sparse      x  [k, n]      bias  [m], or undefined      (w and x as context.operand)
///   returns [m, n]
/// Throws ShapeError, DtypeError, DeviceError from the product.
/// Gradients: dw is laid out as w's value ([nnz] when sparse: only stored entries have one), dx [k, n], dbias [m].
Var multiply(const Parameter& w, const Var& x, const Var& bias, Activation activation, const ForwardContext& context);

/// The plan's line of such a product: two operations per multiply-add and column.
LayerPlan plan_multiply(const Parameter& w, const std::string& name, const std::string& kind, const std::string& weight,
                        std::int64_t columns);

/// "prefix.name", or "name" under an empty prefix.
std::string join_path(const std::string& prefix, const std::string& name);

/// Bytes of `numbers` f32 activations, for LayerPlan::activation_bytes.
inline double activation_bytes_of(std::int64_t numbers) { return 4.0 * static_cast<double>(numbers); }

}  // namespace lacuna
