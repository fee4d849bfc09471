#include "app/interop/torch_layout.h"

#include <fmt/format.h>

#include "core/errors.h"

namespace lacuna {

namespace {

constexpr std::int64_t kKernel = 3, kKernelArea = kKernel * kKernel;  // of MobileNet's convolutions

Shape torch_shape(const interop::State& state, const std::string& name, const Shape& shape) {
  const bool pointwise = name.ends_with(".pointwise.weight");
  const bool depthwise = name.ends_with(".depthwise.weight");
  if (!pointwise && !depthwise && name != "stem.weight") return shape;
  if (shape.rank() != 2 || (!pointwise && shape[1] % kKernelArea != 0) || (depthwise && shape[1] != kKernelArea))
    throw CheckpointError("export", fmt::format("'{}': '{}' has shape {}, which is none of mobilenet_v1's; the config "
                                                "must be that of the checkpoint",
                                                state.source, name, to_string(shape)));
  if (pointwise) return {shape[0], shape[1], 1, 1};
  return {shape[0], shape[1] / kKernelArea, kKernel, kKernel};
}

}  // namespace

void to_torch_layout(interop::State& state, const ModelConfig& model) {
  if (!std::holds_alternative<MobilenetConfig>(model)) return;
  for (auto& [name, tensor] : state.tensors) {
    tensor.shape = torch_shape(state, name, tensor.shape);
    if (!tensor.is_sparse()) tensor.value = tensor.value.reshape(tensor.shape);
  }
}

}  // namespace lacuna
