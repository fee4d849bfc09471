#include "kernels/sparse_attention/backward_launch.cuh"

namespace lacuna::kernels {

template void sparse_attention_backward<Bf16>(CudaStream, const AttentionProblem&, std::span<const PanelPlan>,
                                              std::span<const PanelPlan>, const Bf16*, const Bf16*, const Bf16*,
                                              const Bf16*, const float*, const Bf16*, Bf16*, Bf16*, Bf16*, void*);

}  // namespace lacuna::kernels
