#include "kernels/sparse_attention/forward_launch.cuh"

namespace lacuna::kernels {

template void sparse_attention_forward<Bf16>(CudaStream, const AttentionProblem&, std::span<const PanelPlan>,
                                             const Bf16*, const Bf16*, const Bf16*, Bf16*, float*);

}  // namespace lacuna::kernels
