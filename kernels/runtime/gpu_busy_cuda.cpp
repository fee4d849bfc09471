#include <cuda_runtime.h>

#include "kernels/runtime/gpu_busy.h"
#include "kernels/runtime/runtime.h"
#if LACUNA_HAS_CUPTI
#include <cupti.h>

#include <algorithm>
#include <cstdlib>
#include <mutex>
#include <utility>
#include <vector>
#endif

namespace lacuna::runtime {

#if LACUNA_HAS_CUPTI && CUDART_VERSION >= 13000
namespace {

using Interval = std::pair<std::uint64_t, std::uint64_t>;  // ns

std::mutex mutex;                 // CUPTI calls back on a thread of its own
std::vector<Interval> intervals;  // since gpu_busy_start()

void check(CUptiResult result, const char* call) {
  if (result == CUPTI_SUCCESS) return;
  const char* text = "?";
  cuptiGetResultString(result, &text);
  throw Failure{static_cast<int>(result), std::string(call) + ": " + text, false};
}

constexpr std::size_t kBufferBytes = std::size_t{4} << 20;

void CUPTIAPI give_buffer(std::uint8_t** buffer, std::size_t* size, std::size_t* max_records) {
  *buffer = static_cast<std::uint8_t*>(std::aligned_alloc(8, kBufferBytes));
  *size = *buffer ? kBufferBytes : 0;
  *max_records = 0;
}

void CUPTIAPI take_buffer(CUcontext, std::uint32_t, std::uint8_t* buffer, std::size_t, std::size_t valid) {
  const std::lock_guard lock(mutex);
  CUpti_Activity* record = nullptr;
  while (cuptiActivityGetNextRecord(buffer, valid, &record) == CUPTI_SUCCESS) {
    if (record->kind == CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL) {
      const auto* kernel = reinterpret_cast<const CUpti_ActivityKernel10*>(record);
      intervals.emplace_back(kernel->start, kernel->end);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
      const auto* copy = reinterpret_cast<const CUpti_ActivityMemcpy6*>(record);
      intervals.emplace_back(copy->start, copy->end);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
      const auto* fill = reinterpret_cast<const CUpti_ActivityMemset4*>(record);
      intervals.emplace_back(fill->start, fill->end);
    }
  }
  std::free(buffer);
}

constexpr CUpti_ActivityKind kKinds[] = {CUPTI_ACTIVITY_KIND_CONCURRENT_KERNEL, CUPTI_ACTIVITY_KIND_MEMCPY,
                                         CUPTI_ACTIVITY_KIND_MEMSET};

}  // namespace

bool gpu_busy_available() { return true; }

void gpu_busy_start() {
  check(cuptiActivityRegisterCallbacks(give_buffer, take_buffer), "cuptiActivityRegisterCallbacks");
  for (CUpti_ActivityKind kind : kKinds) check(cuptiActivityEnable(kind), "cuptiActivityEnable");
  const std::lock_guard lock(mutex);
  intervals.clear();
}

double gpu_busy_stop() {
  check(cuptiActivityFlushAll(CUPTI_ACTIVITY_FLAG_FLUSH_FORCED), "cuptiActivityFlushAll");
  for (CUpti_ActivityKind kind : kKinds) check(cuptiActivityDisable(kind), "cuptiActivityDisable");
  const std::lock_guard lock(mutex);
  std::sort(intervals.begin(), intervals.end());
  std::uint64_t busy = 0, reached = 0;
  for (const auto& [begin, end] : intervals) {
    if (end <= reached) continue;
    busy += end - std::max(begin, reached);
    reached = end;
  }
  return static_cast<double>(busy) * 1e-9;
}

#else

bool gpu_busy_available() { return false; }
void gpu_busy_start() { throw Failure{-1, "built without CUPTI of CUDA 13 or newer", false}; }
double gpu_busy_stop() { return 0; }

#endif

}  // namespace lacuna::runtime
