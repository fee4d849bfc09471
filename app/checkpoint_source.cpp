#include "app/checkpoint_source.h"

#include <fmt/format.h>

#include <cstdio>

#include "core/errors.h"
#include "train/checkpoint.h"
#include "train/checkpoint_directory.h"

namespace lacuna {

namespace fs = std::filesystem;

fs::path find_checkpoint(const std::string& command, const std::string& text) {
  const fs::path path(text);
  if (!fs::is_directory(path) && (path.extension() == ".yaml" || path.extension() == ".yml"))
    throw CheckpointError(
        command, fmt::format("'{}': is named as a config; must be a .safetensors file or a run directory", text));
  if (fs::exists(fs::symlink_status(path)) && !fs::is_directory(path)) return path;
  const fs::path directory = fs::is_directory(path / "checkpoints") ? path / "checkpoints" : path;
  const LatestCheckpoint latest = find_latest(directory);
  for (const std::string& problem : latest.problems) fmt::print(stderr, "passed over: {}\n", problem);
  if (!latest.file)
    throw CheckpointError(
        command,
        fmt::format("'{}': no checkpoint that verifies; must be a .safetensors file or a run directory", text));
  return latest.file->path;
}

RunConfig config_for(const std::string& command, const fs::path& checkpoint, const std::string& config_path,
                     const std::vector<std::string>& overrides) {
  if (!config_path.empty()) return load_run_config(config_path, overrides);
  const TrainingState state = verify_checkpoint(checkpoint);
  const auto text = state.extra.find("config");
  if (text == state.extra.end() || !text->is_string())
    throw CheckpointError(command, fmt::format("'{}': holds no config; name one with --config", checkpoint.string()));
  return parse_run_config(text->get<std::string>(), checkpoint.string() + " (its config)", overrides);
}

}  // namespace lacuna
