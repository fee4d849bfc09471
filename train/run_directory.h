// Where a run's files go: runs/<name>/<timestamp>-<id>/, a new directory for each run.
#pragma once

#include <filesystem>
#include <string>

#include <nlohmann/json.hpp>

namespace lacuna {

struct RunDirectory {
  std::filesystem::path root;

  std::filesystem::path checkpoints() const { return root / "checkpoints"; }
  std::filesystem::path events() const { return root / "tensorboard"; }
  std::filesystem::path config() const { return root / "config.resolved.yaml"; }
  std::filesystem::path environment() const { return root / "env.json"; }
  std::filesystem::path log() const { return root / "train.log"; }
  std::filesystem::path metrics() const { return root / "metrics.jsonl"; }
  std::filesystem::path report() const { return root / "report.html"; }

  void write_config(const std::string& yaml) const;
  void write_environment(const nlohmann::ordered_json& environment) const;
};

/// Makes and returns <parent>/<name>/<UTC timestamp>-<id>, which is new. Throws as create_run_directory.
std::filesystem::path create_fresh_directory(const std::filesystem::path& parent, const std::string& name);

/// Makes runs/<name>/<UTC timestamp>-<id>/ and checkpoints/ in it. The directory is new, even when two runs begin in the
/// same second. Throws ValueError when name is not one plain file name, Error when it cannot be made.
RunDirectory create_run_directory(const std::filesystem::path& runs, const std::string& name);

/// An existing one, to resume in. Throws Error when it is none (no checkpoints/ in it).
RunDirectory open_run_directory(const std::filesystem::path& root);

}  // namespace lacuna
