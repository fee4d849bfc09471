// One block per chunk of kChunk elements of some parameter; each finds its parameter in the table that came as argument.
#include <cuda_runtime.h>

#include <cstdint>

#include "kernels/optim/elements.cuh"
#include "kernels/optim/update_all.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kThreads = 256;
constexpr std::int64_t kChunk = 4096;  // 16 elements a thread
constexpr int kSpansPerLaunch = 88;    // so that the arguments stay below the 4 KiB a launch may carry
constexpr std::uint8_t kDecays = 1, kFresh = 2;

/// Parameters of one launch; parameter s owns the blocks from first_block[s] to the next one's.
struct UpdateTable {
  float* value[kSpansPerLaunch];
  const float* grad[kSpansPerLaunch];
  float* first[kSpansPerLaunch];
  float* second[kSpansPerLaunch];
  std::int64_t size[kSpansPerLaunch];
  std::int32_t first_block[kSpansPerLaunch];
  std::int32_t count;
  std::uint8_t flags[kSpansPerLaunch];
};
static_assert(sizeof(UpdateTable) + 64 <= 4096);

/// Index and elements [begin, end) of the parameter that a block works on.
struct Part {
  int span;
  std::int64_t begin, end;
};

__device__ __forceinline__ Part part_of(const UpdateTable& table, std::int32_t block) {
  int low = 0, high = table.count - 1;  // the last parameter whose first block is not past this one
  while (low < high) {
    const int middle = (low + high + 1) / 2;
    if (table.first_block[middle] <= block)
      low = middle;
    else
      high = middle - 1;
  }
  const std::int64_t begin = std::int64_t{block - table.first_block[low]} * kChunk;
  const std::int64_t size = table.size[low];
  return {low, begin, begin + kChunk < size ? begin + kChunk : size};
}

/// update(table, index of the parameter) makes what updates one element (kernels/optim/elements.cuh).
template <class F>
__global__ void __launch_bounds__(kThreads)
    update_all_kernel(const __grid_constant__ UpdateTable table, UpdateGuard<float> guard, F update) {
  if (guard.skip && *guard.skip != 0) return;
  const float scale = guard.scale ? *guard.scale : 1.0f;
  const Part part = part_of(table, static_cast<std::int32_t>(blockIdx.x));
  const auto element = update(table, part.span);
#pragma unroll 4
  for (std::int64_t i = part.begin + threadIdx.x; i < part.end; i += kThreads) element(i, scale);
}

struct SgdUpdate {
  const SgdRule<float>* rules;
  __device__ SgdElement operator()(const UpdateTable& table, int span) const {
    const std::uint8_t flags = table.flags[span];
    SgdRule<float> rule = rules[flags & kDecays];
    rule.first_step = (flags & kFresh) != 0;
    return {rule, table.value[span], table.grad[span], table.first[span]};
  }
};

struct AdamUpdate {
  const AdamRule<float>* rules;
  __device__ AdamElement operator()(const UpdateTable& table, int span) const {
    return {rules[table.flags[span] & kDecays], table.value[span], table.grad[span], table.first[span],
            table.second[span]};
  }
};

struct EmaUpdate {
  EmaRule<float> rule;
  __device__ EmaElement operator()(const UpdateTable& table, int span) const {
    return {rule, table.value[span], table.grad[span]};
  }
};

/// As many launches as the table needs: one up to kSpansPerLaunch parameters.
template <class F>
void launch(CudaStream stream, const UpdateSpan<float>* spans, std::int64_t count, const UpdateGuard<float>& guard,
            const F& update) {
  for (std::int64_t s = 0; s < count;) {
    UpdateTable table{};
    std::int64_t blocks = 0;
    for (; s < count && table.count < kSpansPerLaunch; ++s) {
      const UpdateSpan<float>& span = spans[s];
      if (span.size <= 0) continue;
      const std::int64_t own = (span.size + kChunk - 1) / kChunk;
      if (table.count > 0 && blocks + own > INT32_MAX) break;
      const int at = table.count++;
      table.value[at] = span.value;
      table.grad[at] = span.grad;
      table.first[at] = span.first;
      table.second[at] = span.second;
      table.size[at] = span.size;
      table.flags[at] = static_cast<std::uint8_t>((span.decays ? kDecays : 0) | (span.fresh ? kFresh : 0));
      table.first_block[at] = static_cast<std::int32_t>(blocks);
      blocks += own;
    }
    if (blocks == 0) continue;
    update_all_kernel<<<static_cast<unsigned>(blocks), kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(
        table, guard, update);
    LACUNA_CUDA_LAUNCHED("update_all");
  }
}

}  // namespace

template <>
void sgd_update_all<float>(CudaStream stream, const UpdateSpan<float>* spans, std::int64_t count,
                           const SgdRule<float>* rules, const UpdateGuard<float>& guard) {
  launch(stream, spans, count, guard, SgdUpdate{rules});
}

template <>
void adam_update_all<float>(CudaStream stream, const UpdateSpan<float>* spans, std::int64_t count,
                            const AdamRule<float>* rules, const UpdateGuard<float>& guard) {
  launch(stream, spans, count, guard, AdamUpdate{rules});
}

template <>
void ema_update_all<float>(CudaStream stream, const UpdateSpan<float>* spans, std::int64_t count, double decay,
                           const UpdateGuard<float>& guard) {
  launch(stream, spans, count, guard, EmaUpdate{EmaRule<float>(decay)});
}

}  // namespace lacuna::kernels
