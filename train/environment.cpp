#include "train/environment.h"

#include <sched.h>
#include <sys/utsname.h>
#include <unistd.h>

#include <ctime>
#include <fstream>

#include <fmt/format.h>

#include "core/kernel_set.h"

#ifndef LACUNA_GIT_DESCRIBE
#define LACUNA_GIT_DESCRIBE "unknown"
#endif
#ifndef LACUNA_VERSION
#define LACUNA_VERSION "0.1.0"
#endif
#ifndef LACUNA_BUILD_TYPE
#ifdef NDEBUG
#define LACUNA_BUILD_TYPE "optimized"
#else
#define LACUNA_BUILD_TYPE "with assertions"
#endif
#endif

namespace lacuna {
namespace {

std::string cpu_model() {
  std::ifstream file("/proc/cpuinfo");
  for (std::string line; std::getline(file, line);) {
    if (line.rfind("model name", 0) != 0) continue;
    const std::size_t colon = line.find(": ");
    if (colon != std::string::npos) return line.substr(colon + 2);
  }
  return "unknown";
}

int usable_cores() {
  cpu_set_t set;
  return ::sched_getaffinity(0, sizeof set, &set) == 0 ? CPU_COUNT(&set)
                                                       : static_cast<int>(::sysconf(_SC_NPROCESSORS_ONLN));
}

nlohmann::ordered_json version_text(int version) {
  if (version == 0) return nullptr;
  return fmt::format("{}.{}", version / 1000, version % 1000 / 10);
}

}  // namespace

#if !LACUNA_HAS_CUDA
CudaVersions cuda_versions() { return {}; }
#endif

std::string utc_now(bool compact) {
  const std::time_t now = std::time(nullptr);
  std::tm parts{};
  ::gmtime_r(&now, &parts);
  char text[32];
  std::strftime(text, sizeof text, compact ? "%Y%m%d-%H%M%S" : "%Y-%m-%dT%H:%M:%SZ", &parts);
  return text;
}

nlohmann::ordered_json describe_environment(Device device, const std::vector<std::string>& command_line) {
  utsname system{};
  ::uname(&system);
  const CudaVersions cuda = cuda_versions();
  const double memory = static_cast<double>(::sysconf(_SC_PHYS_PAGES)) * static_cast<double>(::sysconf(_SC_PAGESIZE));
  return {
      {"date_utc", utc_now()},
      {"command_line", command_line},
      {"lacuna_version", LACUNA_VERSION},
      {"git", LACUNA_GIT_DESCRIBE},
      {"build_type", LACUNA_BUILD_TYPE},
#ifdef __clang__
      {"compiler", "clang " __VERSION__},
#else
      {"compiler", "gcc " __VERSION__},
#endif
      {"host", system.nodename},
      {"os", fmt::format("{} {} {}", system.sysname, system.release, system.machine)},
      {"cpu", cpu_model()},
      {"cores_usable", usable_cores()},
      {"memory_bytes", static_cast<std::int64_t>(memory)},
      {"device", to_string(device)},
      {"device_name", device_name(device)},
      {"kernels_off", names_off(allowed_kernels(device))},
      {"cuda_runtime", version_text(cuda.runtime)},
      {"cuda_driver", version_text(cuda.driver)},
  };
}

}  // namespace lacuna
