// Writing what must not exist yet.
#pragma once

#include <filesystem>
#include <string>

#include "train/atomic_file.h"

namespace lacuna {

/// Throws ConfigError when `out` exists, or its directory does not: before anything is computed.
void require_new(const std::string& command, const std::filesystem::path& out);

/// System calls with which write_file_atomically() and its like fail when the path has come to exist meanwhile.
FileCalls without_overwriting();

/// Moves a finished file or directory to a name that is free. Throws Error when it is not.
void rename_to_new(const std::filesystem::path& from, const std::filesystem::path& to);

}  // namespace lacuna
