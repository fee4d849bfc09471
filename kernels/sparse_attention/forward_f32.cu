#include "kernels/sparse_attention/forward_launch.cuh"

namespace lacuna::kernels {

template void sparse_attention_forward<float>(CudaStream, const AttentionProblem&, std::span<const PanelPlan>,
                                              const float*, const float*, const float*, float*, float*);

}  // namespace lacuna::kernels
