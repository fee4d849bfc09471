// What the three models' graphs share: weights by name, and the layers they have in common.
#pragma once

#include <string>
#include <vector>

#include "app/interop/onnx_graph.h"
#include "kernels/runtime/views.h"
#include "train/interop/state.h"

namespace lacuna {

class OnnxLayers {
 public:
  OnnxLayers(const interop::State& state, OnnxGraph& graph) : state_(state), graph_(graph) {}
  OnnxGraph& graph() { return graph_; }

  bool has(const std::string& name) const { return state_.tensors.count(name) != 0; }
  /// A weight's shape; an extent of -1 in `expected` may be anything. Throws CheckpointError.
  Shape shape(const std::string& name, const std::vector<std::int64_t>& expected) const;
  /// The weight as a dense constant; `shape` regroups its elements.
  std::string weight(const std::string& name, const std::vector<std::int64_t>& expected);
  std::string weight_as(const std::string& name, const Shape& shape);
  /// The transpose of a matrix, [inputs, outputs].
  std::string transposed_weight(const std::string& name, const std::vector<std::int64_t>& expected);

  /// x [..., inputs] times weight^T plus bias. Returns the output; sets `outputs`.
  std::string linear(const std::string& prefix, const std::string& x, std::int64_t inputs,
                     std::int64_t* outputs = nullptr);
  std::string activation(const std::string& name, const std::string& x, Activation activation);

 private:
  const interop::StateTensor& find(const std::string& name) const;

  const interop::State& state_;
  OnnxGraph& graph_;
};

}  // namespace lacuna
