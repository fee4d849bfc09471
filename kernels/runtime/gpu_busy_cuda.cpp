#include <cuda_runtime.h>

#include "kernels/runtime/gpu_busy.h"
#include "kernels/runtime/runtime.h"
#if LACUNA_HAS_CUPTI
#include <cupti.h>
#include <cxxabi.h>

#include <algorithm>
#include <cstdlib>
#include <map>
#include <mutex>
#include <utility>
#include <vector>
#endif

namespace lacuna::runtime {

#if LACUNA_HAS_CUPTI && CUDART_VERSION >= 13000
namespace {

using Interval = std::pair<std::uint64_t, std::uint64_t>;  // ns

std::mutex mutex;                                                       // CUPTI calls back on a thread of its own
std::vector<Interval> intervals;                                        // since gpu_busy_start()
std::map<std::string, std::pair<std::uint64_t, std::int64_t>> by_name;  // ns and launches, by mangled name

void note(const char* name, std::uint64_t begin, std::uint64_t end) {
  intervals.emplace_back(begin, end);
  auto& [ns, launches] = by_name[name ? name : "?"];
  ns += end - begin;
  ++launches;
}

std::string demangled(const std::string& name) {
  int status = 0;
  char* text = abi::__cxa_demangle(name.c_str(), nullptr, nullptr, &status);
  const std::string result = status == 0 && text ? text : name;
  std::free(text);
  return result;
}

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
      note(kernel->name, kernel->start, kernel->end);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMCPY) {
      const auto* copy = reinterpret_cast<const CUpti_ActivityMemcpy6*>(record);
      note("copy", copy->start, copy->end);
    } else if (record->kind == CUPTI_ACTIVITY_KIND_MEMSET) {
      const auto* fill = reinterpret_cast<const CUpti_ActivityMemset4*>(record);
      note("fill", fill->start, fill->end);
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
  by_name.clear();
}

GpuActivity gpu_busy_stop() {
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
  GpuActivity activity{static_cast<double>(busy) * 1e-9, {}};
  for (const auto& [name, sums] : by_name)
    activity.kernels.push_back({demangled(name), static_cast<double>(sums.first) * 1e-9, sums.second});
  std::stable_sort(activity.kernels.begin(), activity.kernels.end(),
                   [](const KernelTime& a, const KernelTime& b) { return a.seconds > b.seconds; });
  return activity;
}

#else

bool gpu_busy_available() { return false; }
void gpu_busy_start() { throw Failure{-1, "built without CUPTI of CUDA 13 or newer", false}; }
GpuActivity gpu_busy_stop() { return {}; }

#endif

}  // namespace lacuna::runtime
