#pragma once

#include "kernels/sparse_attention/cells_forward.cuh"
#include "kernels/sparse_attention/cells_launch.cuh"
#include "kernels/sparse_attention/forward.cuh"
#include "kernels/sparse_attention/launch.cuh"

namespace lacuna::kernels {

template <class T>
void sparse_attention_forward(CudaStream stream, const AttentionProblem& problem, std::span<const PanelPlan> plans,
                              const T* q, const T* k, const T* v, T* out, float* lse) {
  using namespace attention;
  check(problem, plans.size(), window_of(row_bytes(problem.d, sizeof(T))));
  if (problem.matrices == 0 || problem.t == 0) return;
  const bool cells = takes_cells<T>(problem, plans), aligned = all_aligned(q, k, v, out) && keeps_aligned<T>(problem);
  const Place in = place_of(problem, problem.in), result = place_of(problem, problem.out);
  if constexpr (sizeof(T) == 2) {
    if (cells) {
      if (!problem.causal && !lse) throw runtime::Failure{0, "sparse_attention: plans with cells need lse"};
      CellArgs args = cell_args(problem, aligned);
      args.scale = static_cast<float>(std::max(std::abs(problem.scale) * kLog2E, 1e-30));  // a masked score is -inf
      args.negate = problem.scale < 0;
      args.resident[0] = q;
      args.staged[0] = k, args.staged[1] = v;
      args.out[0] = out;
      args.resident_place[0] = args.staged_place[0] = args.staged_place[1] = in;
      args.out_place = result;
      args.lse = lse;
      with_bool(problem.causal, [&](auto causal) {
        with_bool(problem.dropout_p > 0, [&](auto drops) {
          constexpr Shape shape = causal ? Shape::lower : Shape::plan;
          launch_cells(stream, cell_forward_kernel<shape, drops>, CellForwardLayout::kBytes, problem, plans, args,
                       false);
        });
      });
      if (problem.causal) return;
    }
  }
  with_tile<T>(stream, problem.d, [&](auto tile) {
    using TileOf = decltype(tile);
    constexpr bool cells_take_causal = sizeof(T) == 2 && TileOf::kRowBytes == 2 * kCell;  // no such kernel is needed
    // 12 warps hide latency best where 160 registers hold the panel's rows and output.
    constexpr bool wide = TileOf::kRowBytes <= 256 && TileOf::arithmetic != Arithmetic::tf32x3;
    constexpr int num_panels = wide ? kWidePanels : kNarrowPanels;
    constexpr int step_tiles = TileOf::arithmetic == Arithmetic::tf32x3 ? 1 : 2;
    Args args = common_args(problem, TileOf::kWindow, num_panels);
    args.a[0] = q;
    args.b[0] = k;
    args.b[1] = v;
    args.out[0] = out;
    args.a_place[0] = args.b_place[0] = args.b_place[1] = in;
    args.out_place = result;
    args.lse = lse;
    args.aligned = aligned;
    args.adds = cells;
    with_bool(problem.causal, [&](auto causal) {
      with_bool(problem.dropout_p > 0, [&](auto drops) {
        constexpr Shape shape = causal && !cells_take_causal ? Shape::lower : Shape::plan;
        launch<T>(stream, forward_kernel<T, TileOf, num_panels, shape, drops, step_tiles>,
                  (num_panels + kProducers) * 32, Layout<TileOf, num_panels, false, 0>::kBytes, problem, plans, args,
                  TileOf::kWindow);
      });
    });
  });
}

}  // namespace lacuna::kernels
