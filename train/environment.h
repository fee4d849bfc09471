// What a run ran on: for env.json, so that its numbers can be compared with another's.
#pragma once

#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/device.h"

namespace lacuna {

/// Keys: date_utc, command_line, lacuna_version, git, build_type, compiler, host, os, cpu, cores_usable, memory_bytes,
/// device, device_name, cuda_runtime, cuda_driver (null without CUDA).
nlohmann::ordered_json describe_environment(Device device, const std::vector<std::string>& command_line);

/// "2025-01-31T12:00:00Z"; with compact "20250131-120000".
std::string utc_now(bool compact = false);

/// CUDA versions as 1000 * major + 10 * minor; 0 where absent.
struct CudaVersions {
  int runtime = 0;
  int driver = 0;
};
CudaVersions cuda_versions();

}  // namespace lacuna
