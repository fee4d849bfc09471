#include "layers/multiply.h"

#include "core/ops/matmul.h"
#include "core/ops/spmm.h"

namespace lacuna {

Var multiply(const Parameter& w, const Var& x, const Var& bias, Activation activation, const ForwardContext& context) {
  const Var operand = context.operand(x);
  if (w.is_sparse()) {
    return spmm(SparseVar{context.operand(w), w.topology()}, operand, bias, activation, w.gradient_pairs);
  }
  return linear(context.operand(w), operand, bias, activation);
}

LayerPlan plan_multiply(const Parameter& w, const std::string& name, const std::string& kind, const std::string& weight,
                        std::int64_t columns) {
  LayerPlan line;
  line.name = name;
  line.kind = kind;
  line.weight = weight;
  line.columns = columns;
  line.dense_flops = 2.0 * static_cast<double>(w.shape().numel()) * static_cast<double>(columns);
  line.flops = 2.0 * static_cast<double>(w.nnz()) * static_cast<double>(columns);
  line.activation_bytes = activation_bytes_of(w.shape()[0] * columns);
  return line;
}

std::string join_path(const std::string& prefix, const std::string& name) {
  return prefix.empty() ? name : prefix + "." + name;
}

}  // namespace lacuna
