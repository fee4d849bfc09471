#pragma once

#include <vector>

#include "kernels/sparse_attention/backward.cuh"
#include "kernels/sparse_attention/cells_backward.cuh"
#include "kernels/sparse_attention/cells_launch.cuh"
#include "kernels/sparse_attention/cells_plan.h"
#include "kernels/sparse_attention/cells_query.cuh"
#include "kernels/sparse_attention/launch.cuh"

namespace lacuna::kernels {

template <class T>
void sparse_attention_backward(CudaStream stream, const AttentionProblem& problem, std::span<const PanelPlan> plans,
                               std::span<const PanelPlan> transposed, const T* q, const T* k, const T* v, const T* out,
                               const float* lse, const T* dout, T* dq, T* dk, T* dv, void* scratch) {
  using namespace attention;
  const int window = window_of(row_bytes(problem.d, sizeof(T)));
  if (dq) check(problem, plans.size(), window);
  if (dk || dv) check(problem, transposed.size(), window);
  if (problem.matrices == 0 || problem.t == 0) return;
  const bool aligned = all_aligned(q, k, v, out, dout, dq, dk, dv) && keeps_aligned<T>(problem);
  const Place in = place_of(problem, problem.in), result = place_of(problem, problem.out);
  auto* stats = static_cast<float4*>(scratch);
  const dim3 statistics_grid = grid_of(problem, problem.matrices, (problem.t + 31) / 32);
  with_bool(problem.dropout_p > 0, [&](auto drops) {
    statistics_kernel<T, drops><<<statistics_grid, 256, 0, cuda(stream)>>>(
        out, dout, lse, result, static_cast<int>(problem.t), static_cast<int>(problem.d), aligned, problem.seed,
        problem.sequence, stats);
    LACUNA_CUDA_LAUNCHED("attention statistics");
    const bool row_cells = dq && takes_cells<T>(problem, plans);
    const bool column_cells = (dk || dv) && takes_cells<T>(problem, transposed);
    if constexpr (sizeof(T) == 2) {
      CellArgs args = cell_args(problem, aligned);
      args.scale = static_cast<float>(problem.scale * kLog2E);
      args.stats = stats;
      args.out_place = in;
      const std::size_t kept = row_cells && dk && dv ? kept_scores_bytes(problem, transposed) : 0;
      if (kept > 0)
        args.scores = static_cast<char*>(scratch) +
                      (static_cast<std::size_t>(problem.matrices * problem.t) * sizeof(float4) + 255) / 256 * 256;
      with_bool(problem.causal, [&](auto causal) {
        if (kept > 0) {
          CellArgs of = args;
          of.resident[0] = k, of.resident[1] = v, of.staged[0] = q, of.staged[1] = dout, of.out[0] = dk, of.out[1] = dv;
          of.resident_place[0] = of.resident_place[1] = of.staged_place[0] = in, of.staged_place[1] = result;
          constexpr Shape by_column = causal ? Shape::upper : Shape::plan, by_row = causal ? Shape::lower : Shape::plan;
          launch_cells(stream, cell_gradient_kernel<by_column, drops, true, true>, CellGradientLayout::kBytes, problem,
                       transposed, of, false);
          of = args;
          of.staged[0] = of.staged[1] = k, of.out[0] = dq;
          of.staged_place[0] = of.staged_place[1] = in;
          std::vector<PanelPlan> placed(plans.begin(), plans.end());
          for (std::size_t i = 0; i < placed.size() && !problem.causal; ++i)
            placed[i].cell_places = transposed[i].cell_places;
          launch_cells(stream, cell_query_kernel<by_row>, CellQueryLayout::kBytes, problem, placed, of, true);
          return;
        }
        if (row_cells) {
          CellArgs of = args;
          of.resident[0] = q, of.resident[1] = dout, of.staged[0] = k, of.staged[1] = v, of.out[0] = dq;
          of.resident_place[0] = of.staged_place[0] = of.staged_place[1] = in, of.resident_place[1] = result;
          constexpr Shape shape = causal ? Shape::lower : Shape::plan;
          launch_cells(stream, cell_gradient_kernel<shape, drops, false>, CellGradientLayout::kBytes, problem, plans,
                       of, false);
        }
        if (column_cells) {
          CellArgs of = args;
          of.resident[0] = k, of.resident[1] = v, of.staged[0] = q, of.staged[1] = dout, of.out[0] = dk, of.out[1] = dv;
          of.resident_place[0] = of.resident_place[1] = of.staged_place[0] = in, of.staged_place[1] = result;
          constexpr Shape shape = causal ? Shape::upper : Shape::plan;
          launch_cells(stream, cell_gradient_kernel<shape, drops, true>, CellGradientLayout::kBytes, problem,
                       transposed, of, row_cells);
        }
      });
      if (problem.causal && problem.d == kCell) return;
    }
    with_tile<T>(stream, problem.d, [&](auto tile) {
      using TileOf = decltype(tile);
      constexpr bool cells_take_causal =
          sizeof(T) == 2 && TileOf::kRowBytes == 2 * kCell;  // no such kernels are needed
      constexpr int steps = kGradientSteps<TileOf>;
      constexpr int threads = (kNarrowPanels + kProducers) * 32;
      Args args = common_args(problem, TileOf::kWindow, kNarrowPanels);
      args.stats = stats;
      args.aligned = aligned;
      args.out_place = in;
      with_bool(problem.causal, [&](auto causal) {
        if (dq) {
          Args of = args;
          of.adds = row_cells;
          of.a[0] = q, of.a[1] = dout, of.b[0] = k, of.b[1] = v, of.out[0] = dq;
          of.a_place[0] = of.b_place[0] = of.b_place[1] = in, of.a_place[1] = result;
          constexpr Shape row_shape = causal && !cells_take_causal ? Shape::lower : Shape::plan;
          launch<T>(stream, gradient_kernel<T, TileOf, row_shape, drops, false, true, false, steps>, threads,
                    kGradientBytes<TileOf, false, true, false>, problem, plans, of, TileOf::kWindow);
        }
        if (!dk && !dv) return;
        constexpr Shape shape = causal && !cells_take_causal ? Shape::upper : Shape::plan;
        Args of = args;
        of.adds = column_cells;
        of.a[0] = k, of.a[1] = v, of.b[0] = q, of.b[1] = dout, of.out[0] = dk, of.out[1] = dv;
        of.a_place[0] = of.a_place[1] = of.b_place[0] = in, of.b_place[1] = result;
        // Two f32 outputs of d = 128 do not fit a warp's registers beside the panel's rows.
        if constexpr (TileOf::kRowBytes <= 256) {
          if (dk && dv) {
            launch<T>(stream, gradient_kernel<T, TileOf, shape, drops, true, true, true, steps>, threads,
                      kGradientBytes<TileOf, true, true, true>, problem, transposed, of, TileOf::kWindow);
            return;
          }
        }
        if (dk)
          launch<T>(stream, gradient_kernel<T, TileOf, shape, drops, true, true, false, steps>, threads,
                    kGradientBytes<TileOf, true, true, false>, problem, transposed, of, TileOf::kWindow);
        if (dv)
          launch<T>(stream, gradient_kernel<T, TileOf, shape, drops, true, false, true, steps>, threads,
                    kGradientBytes<TileOf, true, false, true>, problem, transposed, of, TileOf::kWindow);
      });
    });
  });
}

}  // namespace lacuna::kernels
