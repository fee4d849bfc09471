// From a problem to the arguments of the kernels over cells.
#pragma once

#include "kernels/sparse_attention/cells.cuh"
#include "kernels/sparse_attention/launch.cuh"

namespace lacuna::kernels::attention {

constexpr double kLog2E = 1.4426950408889634;

/// Whether a part of the problem, or (causal) all of it, goes to the kernels over cells.
template <class T>
bool takes_cells(const AttentionProblem& problem, std::span<const PanelPlan> plans) {
  return sizeof(T) == 2 && problem.d == kCell && (problem.causal || (!plans.empty() && plans.front().cell_offsets));
}

inline CellArgs cell_args(const AttentionProblem& problem, bool aligned) {
  CellArgs args{};
  args.t = static_cast<int>(problem.t);
  args.blocks = static_cast<int>((problem.t + kCell - 1) / kCell);
  args.out_scale = static_cast<float>(problem.scale);
  args.aligned = aligned;
  args.drop_below = dropout_threshold(problem.dropout_p);
  args.keep_scale = static_cast<float>(1 / (1 - problem.dropout_p));
  args.seed = problem.seed;
  args.sequence = problem.sequence;
  return args;
}

/// follows: launch_grid. Launches over all matrices, as many patterns at a time as the arguments hold.
template <class Kernel>
void launch_cells(CudaStream stream, Kernel kernel, int shared_bytes, const AttentionProblem& problem,
                  std::span<const PanelPlan> plans, const CellArgs& args, bool follows) {
  LACUNA_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  const std::int64_t per_launch =
      problem.causal ? problem.matrices : std::min(problem.matrices, kMaxPlans * problem.matrices_per_pattern);
  const auto offset = [](auto* p, std::int64_t by) { return p ? p + by : p; };
  for (std::int64_t x = 0; x < problem.matrices; x += per_launch) {
    CellArgs part = args;
    const std::int64_t head = x / problem.sequences;
    const dim3 grid = grid_of(problem, std::min(per_launch, problem.matrices - x), args.blocks);
    for (int i = 0; i < 2; ++i) {
      part.resident[i] = offset(static_cast<const Bf16*>(args.resident[i]), head * args.resident_place[i].head);
      part.staged[i] = offset(static_cast<const Bf16*>(args.staged[i]), head * args.staged_place[i].head);
      part.out[i] = offset(static_cast<Bf16*>(args.out[i]), head * args.out_place.head);
      const auto map = [&](const void* data, const Place& place) {
        return tensor_map<Bf16>(data, place, grid, problem.t, problem.d, kBoxRows);
      };
      if (!part.aligned) continue;
      if (part.resident[i]) part.resident_maps[i] = map(part.resident[i], args.resident_place[i]);
      part.staged_maps[i] = map(part.staged[i], args.staged_place[i]);
    }
    part.lse = offset(args.lse, x * problem.t);
    part.stats = offset(args.stats, x * problem.t);
    part.first_matrix = static_cast<int>(x);
    part.matrices_per_pattern = static_cast<int>(problem.matrices_per_pattern);
    const std::size_t first = static_cast<std::size_t>(x / problem.matrices_per_pattern);
    std::int64_t cells = 0;
    for (std::size_t i = 0; !problem.causal && i < std::min(plans.size(), first + kMaxPlans); ++i) {
      if (i >= first) part.plans[i - first] = plans[i], part.first_scores[i - first] = cells;
      cells += plans[i].cells * problem.matrices_per_pattern;
    }
    launch_grid(stream, kernel, grid, kCellThreads, shared_bytes, part, follows);
    LACUNA_CUDA_LAUNCHED("sparse_attention cells");
  }
}

}  // namespace lacuna::kernels::attention
