// From a problem to kernel arguments: what forward and backward share on the host.
#pragma once

#include <algorithm>
#include <cmath>
#include <string>

#include "kernels/runtime/cuda_check.h"
#include "kernels/sparse_attention/pipeline.cuh"

namespace lacuna::kernels::attention {

inline cudaStream_t cuda(CudaStream stream) { return static_cast<cudaStream_t>(stream.handle); }

template <class... T>
bool all_aligned(const T*... pointers) {
  return ((reinterpret_cast<std::uintptr_t>(pointers) % 16 == 0) && ...);
}

/// An operand's layout, contiguous where the problem names none.
inline Place place_of(const AttentionProblem& problem, const AttentionLayout& layout) {
  const std::int64_t matrix = problem.t * problem.d;
  if (layout.row == 0) return {matrix * problem.sequences, matrix, static_cast<int>(problem.d)};
  return {layout.head, layout.sequence, static_cast<int>(layout.row)};
}

/// Whether rows and matrices keep a pointer's alignment to 16 bytes.
template <class T>
bool keeps_aligned(const Place& place) {
  constexpr std::int64_t kElements = 16 / sizeof(T);
  return place.head % kElements == 0 && place.sequence % kElements == 0 && place.row % kElements == 0;
}
template <class T>
bool keeps_aligned(const AttentionProblem& problem) {
  return keeps_aligned<T>(place_of(problem, problem.in)) && keeps_aligned<T>(place_of(problem, problem.out));
}

inline void check(const AttentionProblem& problem, std::size_t plans, std::int64_t window) {
  const std::int64_t windows = (problem.t + window - 1) / window;
  if (!attention_supports(problem.d)) throw runtime::Failure{0, "sparse_attention: d must be 32, 64 or 128"};
  if (problem.sequences < 1 || problem.sequences > kMostAttentionSequences || problem.matrices % problem.sequences != 0)
    throw runtime::Failure{0, "sparse_attention: the matrices are not whole heads, or sequences too many"};
  if (problem.causal) return;
  if (windows > kMaxWindowWords * 32)
    throw runtime::Failure{0, "sparse_attention: more than 16,384 windows of columns"};
  if (static_cast<std::int64_t>(plans) * problem.matrices_per_pattern < problem.matrices)
    throw runtime::Failure{0, "sparse_attention: fewer plans than the matrices need"};
  if (problem.matrices_per_pattern % problem.sequences != 0)
    throw runtime::Failure{0, "sparse_attention: a pattern for a part of a head"};
}

inline Args common_args(const AttentionProblem& problem, int window, int num_panels) {
  Args args{};
  args.t = static_cast<int>(problem.t);
  args.d = static_cast<int>(problem.d);
  args.windows = static_cast<int>((problem.t + window - 1) / window);
  args.panels = static_cast<int>((problem.t + kPanelRows - 1) / kPanelRows);
  args.blocks = static_cast<int>(blocks_of(problem.t, num_panels));
  args.order_at = num_panels == kWidePanels ? 0 : static_cast<int>(blocks_of(problem.t, kWidePanels));
  // A masked score is -inf, so the factor must not be 0.
  args.scale = static_cast<float>(std::max(std::abs(problem.scale) * 1.4426950408889634, 1e-30));
  args.out_scale = static_cast<float>(problem.scale);
  args.negate = problem.scale < 0;
  args.drop_below = dropout_threshold(problem.dropout_p);
  args.keep_scale = static_cast<float>(1 / (1 - problem.dropout_p));
  args.seed = problem.seed;
  args.sequence = problem.sequence;
  return args;
}

/// Describes matrices [t, d] to the copy engine: boxes of one line (128 bytes) of `window` rows.
template <class T>
CUtensorMap tensor_map(const void* data, const Place& place, dim3 grid, std::int64_t t, std::int64_t d, int window) {
  static const auto encode = [] {
    void* function = nullptr;
    cudaDriverEntryPointQueryResult found{};
    LACUNA_CUDA_CHECK(
        cudaGetDriverEntryPointByVersion("cuTensorMapEncodeTiled", &function, 12000, cudaEnableDefault, &found));
    if (found != cudaDriverEntryPointSuccess) throw runtime::Failure{0, "the driver lacks cuTensorMapEncodeTiled"};
    return reinterpret_cast<decltype(&cuTensorMapEncodeTiled)>(function);
  }();
  CUtensorMap map;
  const auto count = [](std::int64_t n) { return static_cast<cuuint64_t>(n); };
  const cuuint64_t extents[4] = {count(d), count(t), grid.z, grid.x};
  const cuuint64_t strides[3] = {count(place.row) * sizeof(T), count(place.sequence) * sizeof(T),
                                 count(place.head) * sizeof(T)};
  const cuuint32_t box[4] = {128 / sizeof(T), static_cast<cuuint32_t>(window), 1, 1}, steps[4] = {1, 1, 1, 1};
  const CUresult status =
      encode(&map, sizeof(T) == 2 ? CU_TENSOR_MAP_DATA_TYPE_BFLOAT16 : CU_TENSOR_MAP_DATA_TYPE_FLOAT32, 4,
             const_cast<void*>(data), extents, strides, box, steps, CU_TENSOR_MAP_INTERLEAVE_NONE,
             CU_TENSOR_MAP_SWIZZLE_128B, CU_TENSOR_MAP_L2_PROMOTION_L2_256B, CU_TENSOR_MAP_FLOAT_OOB_FILL_NONE);
  if (status != CUDA_SUCCESS)
    throw runtime::Failure{static_cast<int>(status), "cuTensorMapEncodeTiled failed: " + std::to_string(status)};
  return map;
}

/// follows: the kernel may start in the shadow of the last one on the stream, for whose end it waits itself; under capture
/// too, where that becomes a programmatic edge of the graph.
template <class Kernel, class A>
void launch_grid(CudaStream stream, Kernel kernel, dim3 grid, int threads, int shared_bytes, const A& args,
                 bool follows) {
  cudaLaunchAttribute attribute{};
  attribute.id = cudaLaunchAttributeProgrammaticStreamSerialization;
  attribute.val.programmaticStreamSerializationAllowed = 1;
  cudaLaunchConfig_t config{};
  config.gridDim = grid;
  config.blockDim = dim3(static_cast<unsigned>(threads));
  config.dynamicSmemBytes = static_cast<std::size_t>(shared_bytes);
  config.stream = cuda(stream);
  config.attrs = &attribute;
  config.numAttrs = follows ? 1 : 0;
  LACUNA_CUDA_CHECK(cudaLaunchKernelEx(&config, kernel, args));
}

/// Heads x blocks of rows x sequences.
inline dim3 grid_of(const AttentionProblem& problem, std::int64_t matrices, std::int64_t blocks) {
  return dim3(static_cast<unsigned>(matrices / problem.sequences), static_cast<unsigned>(blocks),
              static_cast<unsigned>(problem.sequences));
}

/// Launches over all matrices, as many patterns at a time as the arguments hold.
template <class T, class Kernel>
void launch(CudaStream stream, Kernel kernel, int threads, int shared_bytes, const AttentionProblem& problem,
            std::span<const PanelPlan> plans, const Args& args, int window) {
  LACUNA_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, shared_bytes));
  const std::int64_t per_launch =
      problem.causal ? problem.matrices : std::min(problem.matrices, kMaxPlans * problem.matrices_per_pattern);
  const auto offset = [](auto* p, std::int64_t by) { return p ? p + by : p; };
  for (std::int64_t x = 0; x < problem.matrices; x += per_launch) {
    Args part = args;
    const std::int64_t head = x / problem.sequences;
    const dim3 grid = grid_of(problem, std::min(per_launch, problem.matrices - x), args.blocks);
    for (int i = 0; i < 2; ++i) {
      part.a[i] = offset(static_cast<const T*>(args.a[i]), head * args.a_place[i].head);
      part.b[i] = offset(static_cast<const T*>(args.b[i]), head * args.b_place[i].head);
      part.out[i] = offset(static_cast<T*>(args.out[i]), head * args.out_place.head);
    }
    for (int i = 0; i < 2 && part.aligned; ++i)
      part.maps[i] = tensor_map<T>(part.b[i], args.b_place[i], grid, problem.t, problem.d, window);
    part.lse = offset(args.lse, x * problem.t);
    part.stats = offset(args.stats, x * problem.t);
    part.first_matrix = static_cast<int>(x);
    part.matrices_per_pattern = static_cast<int>(problem.matrices_per_pattern);
    const std::size_t first = static_cast<std::size_t>(x / problem.matrices_per_pattern);
    for (std::size_t i = 0; !problem.causal && i < kMaxPlans && first + i < plans.size(); ++i)
      part.plans[i] = plans[first + i];
    launch_grid(stream, kernel, grid, threads, shared_bytes, part, args.adds);
    LACUNA_CUDA_LAUNCHED("sparse_attention");
  }
}

/// Calls f(std::bool_constant<x>).
template <class F>
void with_bool(bool x, F&& f) {
  if (x)
    f(std::true_type{});
  else
    f(std::false_type{});
}

/// Calls f(Tile{}) for the element type, precision and d.
template <class T, class F>
void with_tile(CudaStream stream, std::int64_t d, F&& f) {
  if constexpr (sizeof(T) == 2) {
    if (d == 128)
      f(Tile<Arithmetic::bf16, 256>{});
    else
      f(Tile<Arithmetic::bf16, 128>{});
  } else if (stream.allow_tf32) {
    if (d == 128)
      f(Tile<Arithmetic::tf32, 512>{});
    else
      f(Tile<Arithmetic::tf32, 256>{});
  } else {
    if (d == 128)
      f(Tile<Arithmetic::tf32x3, 512>{});
    else
      f(Tile<Arithmetic::tf32x3, 256>{});
  }
}

}  // namespace lacuna::kernels::attention
