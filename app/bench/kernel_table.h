// What the device's own records say of some passes or steps: a table of kernels.
#pragma once

#include <cstdint>
#include <functional>
#include <optional>
#include <string>

#include "core/device.h"
#include "kernels/runtime/gpu_busy.h"

namespace lacuna::bench {

/// The device's records of work(), which ends with the device waited for; nothing where they cannot be had (said on stderr
/// where the driver refuses them).
std::optional<runtime::GpuActivity> activity_of(Device device, const std::function<void()>& work);

/// The `most` longest kernels, each with its launches and time for each `unit` ("step", "pass") of `count`.
std::string kernel_table(const runtime::GpuActivity& activity, std::int64_t count, std::int64_t most,
                         const std::string& unit);

}  // namespace lacuna::bench
