// From what a user names to a checkpoint and the config it was made with.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "app/run_config.h"

namespace lacuna {

/// The file itself, or the newest checkpoint that verifies in a run directory; newer ones are passed over aloud.
/// `command` begins messages. Throws CheckpointError.
std::filesystem::path find_checkpoint(const std::string& command, const std::string& run_or_checkpoint);

/// The config at `config_path`, or with "" the one inside the checkpoint, which is verified; with overrides. Throws
/// ConfigError, CheckpointError.
RunConfig config_for(const std::string& command, const std::filesystem::path& checkpoint,
                     const std::string& config_path, const std::vector<std::string>& overrides = {});

}  // namespace lacuna
