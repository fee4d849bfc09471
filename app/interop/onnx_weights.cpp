#include "app/interop/onnx_weights.h"

#include <fmt/format.h>

#include <cmath>

#include "core/errors.h"

namespace lacuna {

const interop::StateTensor& OnnxLayers::find(const std::string& name) const {
  const auto it = state_.tensors.find(name);
  if (it == state_.tensors.end())
    throw CheckpointError(
        "onnx", fmt::format("'{}': '{}' is missing; the config must be that of the checkpoint", state_.source, name));
  return it->second;
}

Shape OnnxLayers::shape(const std::string& name, const std::vector<std::int64_t>& expected) const {
  const Shape& shape = find(name).shape;
  bool fits = shape.rank() == static_cast<int>(expected.size());
  for (int axis = 0; fits && axis < shape.rank(); ++axis) {
    const std::int64_t extent = expected[static_cast<std::size_t>(axis)];
    fits = extent < 0 || extent == shape[axis];
  }
  if (!fits)
    throw CheckpointError("onnx",
                          fmt::format("'{}': '{}' has shape {}, the config's model has [{}] there (-1: any); the "
                                      "config must be that of the checkpoint",
                                      state_.source, name, to_string(shape), fmt::join(expected, ", ")));
  return shape;
}

std::string OnnxLayers::weight(const std::string& name, const std::vector<std::int64_t>& expected) {
  shape(name, expected);
  return graph_.constant(name, interop::dense_value(find(name)));
}

std::string OnnxLayers::weight_as(const std::string& name, const Shape& shape) {
  return graph_.constant(name, interop::dense_value(find(name)).reshape(shape));
}

std::string OnnxLayers::transposed_weight(const std::string& name, const std::vector<std::int64_t>& expected) {
  const Shape matrix = shape(name, expected);
  const interop::StateTensor dense{matrix, interop::dense_value(find(name)), nullptr};
  return graph_.constant(name + "^T", interop::transposed(dense).value);
}

std::string OnnxLayers::linear(const std::string& prefix, const std::string& x, std::int64_t inputs,
                               std::int64_t* outputs) {
  const std::int64_t rows = shape(prefix + ".weight", {-1, inputs})[0];
  if (outputs != nullptr) *outputs = rows;
  const std::string product =
      graph_.node(prefix + ".product", "MatMul", {x, transposed_weight(prefix + ".weight", {-1, inputs})});
  return graph_.node(prefix + ".sum", "Add", {product, weight(prefix + ".bias", {rows})});
}

std::string OnnxLayers::activation(const std::string& name, const std::string& x, Activation activation) {
  if (activation == Activation::none) return x;
  if (activation == Activation::relu) return graph_.node(name, "Relu", {x});
  // gelu(x) = x / 2 * (1 + erf(x / sqrt 2)), the erf form that training uses.
  const std::string root = graph_.scalar(name + ".sqrt_half", std::sqrt(0.5));
  const std::string erf = graph_.node(name + ".erf", "Erf", {graph_.node(name + ".scaled", "Mul", {x, root})});
  const std::string share = graph_.node(name + ".share", "Add", {erf, graph_.scalar(name + ".one", 1.0)});
  const std::string half = graph_.node(name + ".half_x", "Mul", {x, graph_.scalar(name + ".half", 0.5)});
  return graph_.node(name, "Mul", {half, share});
}

}  // namespace lacuna
