#include "app/bench/kernel_table.h"

#include <fmt/format.h>

#include <cstdio>

#include "kernels/runtime/runtime.h"
#include "train/table.h"

namespace lacuna::bench {

namespace {

// A kernel's name without the namespaces every one of ours has, cut to a line's length.
std::string short_name(std::string name) {
  for (const std::string noise : {"void ", "lacuna::kernels::", "(anonymous namespace)::", "lacuna::"})
    for (std::size_t at; (at = name.find(noise)) != std::string::npos;) name.erase(at, noise.size());
  constexpr std::size_t kWidth = 96;
  return name.size() <= kWidth ? name : name.substr(0, kWidth - 3) + "...";
}

}  // namespace

std::optional<runtime::GpuActivity> activity_of([[maybe_unused]] Device device,
                                                [[maybe_unused]] const std::function<void()>& work) {
#if LACUNA_HAS_CUDA
  if (device.is_cuda() && runtime::gpu_busy_available()) {
    try {
      runtime::gpu_busy_start();
      work();
      return runtime::gpu_busy_stop();
    } catch (const runtime::Failure& failure) {
      fmt::print(stderr, "device activity could not be recorded: {}\n", failure.what);
    }
  }
#endif
  return {};
}

std::string kernel_table(const runtime::GpuActivity& activity, std::int64_t count, std::int64_t most,
                         const std::string& unit) {
  Table table({{"kernel", Align::left},
               {fmt::format("launches per {}", unit), Align::right},
               {fmt::format("ms per {}", unit), Align::right}});
  for (std::size_t i = 0; i < activity.kernels.size() && i < static_cast<std::size_t>(most); ++i) {
    const runtime::KernelTime& kernel = activity.kernels[i];
    const auto per_unit = static_cast<double>(count);
    table.add_row({short_name(kernel.name), fmt::format("{:.4g}", static_cast<double>(kernel.launches) / per_unit),
                   fmt::format("{:.4f}", kernel.seconds * 1e3 / per_unit)});
  }
  return table.text();
}

}  // namespace lacuna::bench
