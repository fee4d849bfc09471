// A directory of checkpoints of one run: their names, which one to resume from, which ones to delete.
#pragma once

#include <cstdint>
#include <filesystem>
#include <optional>
#include <string>
#include <vector>

namespace lacuna {

/// "step-00001000.safetensors".
std::string checkpoint_name(std::int64_t step);
/// The step of such a name; nothing for other names (temporaries, "best.safetensors").
std::optional<std::int64_t> checkpoint_step(const std::string& file_name);

struct CheckpointFile {
  std::int64_t step = 0;
  std::filesystem::path path;
};

/// By step, newest first. A directory that is missing holds none.
std::vector<CheckpointFile> list_checkpoints(const std::filesystem::path& directory);

struct LatestCheckpoint {
  std::optional<CheckpointFile> file;  ///< the newest that verifies
  std::vector<std::string> problems;   ///< why newer ones were passed over; to be shown to the user
};

/// Reads and verifies from the newest on. Removes temporaries that dead runs left. Throws nothing of its own.
LatestCheckpoint find_latest(const std::filesystem::path& directory);

/// Keeps the newest checkpoint that verifies and the keep_last - 1 before it, deletes older ones, returns what it
/// deleted. Broken newer ones stay, for whoever wants to know why. Without any that verifies nothing is deleted.
/// Throws ValueError when keep_last < 1.
std::vector<std::filesystem::path> prune_checkpoints(const std::filesystem::path& directory, int keep_last);

}  // namespace lacuna
