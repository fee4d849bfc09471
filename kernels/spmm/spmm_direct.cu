// The tilings of the direct kernel that can_run knows.
#include "kernels/common/dependent_launch.cuh"
#include "kernels/spmm/spmm_direct.cuh"
#include "kernels/spmm/spmm_direct.h"

namespace lacuna::kernels {

namespace {

template <class S>
void launch(CudaStream stream, const SpmmPlan& plan, const SpmmOperands& p) {
  const std::int64_t row_blocks = std::int64_t{plan.row_blocks} * plan.warps / S::kWarps;
  const std::int64_t rows = row_blocks * (S::kWarps / plan.split);  // of a round
  const std::int64_t column_tiles = (std::int64_t{p.n} + S::kTile - 1) / S::kTile;
  const DirectLaunch l{.parts = plan.split,
                       .row_blocks = static_cast<int>(row_blocks),
                       .rounds = static_cast<int>((p.m + rows - 1) / rows)};
  const dim3 grid(static_cast<unsigned>(column_tiles * row_blocks), 1, static_cast<unsigned>(p.batch));
  launch_early(static_cast<cudaStream_t>(stream.handle), spmm_direct_kernel<S>, grid, S::kThreads, 0, 1, p, l);
}

}  // namespace

void launch_spmm_direct(CudaStream stream, const SpmmPlan& plan, const SpmmOperands& p, bool vector) {
  if (!vector)
    return launch<DirectShape<1, 32, 2, 16, 8>>(stream, plan, p);  // whatever the plan: 64 columns, eight warps
  if (plan.tile == 32) return launch<DirectShape<4, 8, 1, 8, 8>>(stream, plan, p);
  if (plan.warps == 8) return launch<DirectShape<4, 8, 2, 4, 8>>(stream, plan, p);
  launch<DirectShape<4, 8, 2, 4, 32>>(stream, plan, p);
}

}  // namespace lacuna::kernels
