#include "app/bench/limits.h"

#include "app/bench/timer.h"

namespace lacuna::bench {

DeviceLimits device_limits(Device device) {
#if LACUNA_HAS_CUDA
  if (device.is_cuda()) return device_limits_cuda(device.index);
#endif
  DeviceLimits limits;
  limits.name = device_name(device);
  limits.cache_bytes = cache_bytes(device);
  return limits;
}

DeviceLimits measured_limits(Device device) {
  DeviceLimits limits = device_limits(device);
  // Four times the cache, and no less than 64 MB, so that what is read is not what was just written.
  const auto elements =
      static_cast<std::int64_t>(std::max(limits.cache_bytes * 4, std::size_t{64} << 20) / sizeof(float));
  const Tensor from = Tensor::zeros({elements}, DType::f32, device), to = Tensor::zeros({elements}, DType::f32, device);
  const Timing timing = time_calls(device, [&](int) { to.copy_from(from); }, 1, {.seconds = 0.02});
  limits.copy_bytes_per_second = 2.0 * static_cast<double>(from.nbytes()) / timing.seconds.median;
  return limits;
}

}  // namespace lacuna::bench
