#pragma once

#include "kernels/sparse_attention/forward.cuh"
#include "kernels/sparse_attention/launch.cuh"

namespace lacuna::kernels {

template <class T>
void sparse_attention_forward(CudaStream stream, const AttentionProblem& problem, std::span<const PanelPlan> plans,
                              const T* q, const T* k, const T* v, T* out, float* lse) {
  using namespace attention;
  check(problem, plans.size(), window_of(row_bytes(problem.d, sizeof(T))));
  if (problem.matrices == 0 || problem.t == 0) return;
  with_tile<T>(stream, problem.d, [&](auto tile) {
    using TileOf = decltype(tile);
    // 12 warps hide latency best where 160 registers hold the panel's rows and output.
    constexpr bool wide = TileOf::kRowBytes <= 256 && TileOf::arithmetic != Arithmetic::tf32x3;
    constexpr int num_panels = wide ? kWidePanels : kNarrowPanels;
    constexpr int step_tiles = TileOf::arithmetic == Arithmetic::tf32x3 ? 1 : 2;
    Args args = common_args(problem, TileOf::kWindow, num_panels);
    args.a[0] = q;
    args.b[0] = k;
    args.b[1] = v;
    args.out[0] = out;
    args.lse = lse;
    args.aligned = all_aligned(q, k, v, out);
    with_bool(problem.causal, [&](auto causal) {
      with_bool(problem.dropout_p > 0, [&](auto drops) {
        constexpr Shape shape = causal ? Shape::lower : Shape::plan;
        launch<T>(stream, forward_kernel<T, TileOf, num_panels, shape, drops, step_tiles>,
                  (num_panels + kProducers) * 32, Layout<TileOf, num_panels, false, 0>::kBytes, problem, plans, args,
                  TileOf::kWindow);
      });
    });
  });
}

}  // namespace lacuna::kernels
