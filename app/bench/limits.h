// What a device can do at most, so that times can be read as fractions.
#pragma once

#include <cstddef>
#include <string>

#include "app/bench/problem.h"

namespace lacuna::bench {

/// 0 where it is not known (CPUs, and devices that the table in limits_cuda.cpp lacks).
struct DeviceLimits {
  std::string name;
  int compute_capability = 0;  ///< 90 = sm_90
  int multiprocessors = 0;
  double clock_hz = 0;          ///< the highest the device admits to; sustained clocks lie below
  std::size_t cache_bytes = 0;  ///< L2 (CUDA) or L3
  double f32_flops = 0;         ///< multiprocessors * f32 lanes * 2 * clock
  double tf32_flops = 0;        ///< tensor cores, dense
  double bf16_flops = 0;
  double l1_bytes_per_second = 0;    ///< multiprocessors * 128 bytes * clock
  double copy_bytes_per_second = 0;  ///< measured: a large device-to-device copy, bytes read plus bytes written

  double peak(Precision precision) const {
    return precision == Precision::f32 ? f32_flops : precision == Precision::tf32 ? tf32_flops : bf16_flops;
  }
};

/// Everything but the copy.
DeviceLimits device_limits(Device device);
/// The copy measured as well; takes some milliseconds.
DeviceLimits measured_limits(Device device);

#if LACUNA_HAS_CUDA
DeviceLimits device_limits_cuda(int index);
#endif

}  // namespace lacuna::bench
