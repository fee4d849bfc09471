// How much of a stretch of time the GPU worked: the union of all kernel, copy and fill intervals, from CUPTI's activity records.
#pragma once

#include <cstdint>
#include <string>
#include <vector>

namespace lacuna::runtime {

/// Whether this build can measure it (CUPTI of CUDA 13 or newer was found).
bool gpu_busy_available();

struct KernelTime {
  std::string name;    ///< demangled; copies and fills as "copy" and "fill"
  double seconds = 0;  ///< sum over its launches; overlapping ones count each
  std::int64_t launches = 0;
};

struct GpuActivity {
  double busy_seconds = 0;          ///< length of the union of all intervals
  std::vector<KernelTime> kernels;  ///< the longest first
};

/// Starts recording; throws Failure when CUPTI refuses (another profiler holds it, or no rights to the counters).
void gpu_busy_start();
/// Ends recording; call after the device has been waited for.
GpuActivity gpu_busy_stop();

}  // namespace lacuna::runtime
