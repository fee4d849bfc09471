#include "kernels/sparse_attention/backward_launch.cuh"

namespace lacuna::kernels {

template void sparse_attention_backward<float>(CudaStream, const AttentionProblem&, std::span<const PanelPlan>,
                                               std::span<const PanelPlan>, const float*, const float*, const float*,
                                               const float*, const float*, const float*, float*, float*, float*, void*);

}  // namespace lacuna::kernels
