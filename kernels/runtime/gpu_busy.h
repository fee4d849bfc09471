// How much of a stretch of time the GPU worked: the union of all kernel, copy and fill intervals, from CUPTI's activity records.
#pragma once

namespace lacuna::runtime {

/// Whether this build can measure it (CUPTI of CUDA 13 or newer was found).
bool gpu_busy_available();

/// Starts recording; throws Failure when CUPTI refuses (another profiler holds it, or no rights to the counters).
void gpu_busy_start();
/// Ends recording. Seconds of the union of the intervals; call after the device has been waited for.
double gpu_busy_stop();

}  // namespace lacuna::runtime
