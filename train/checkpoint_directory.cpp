#include "train/checkpoint_directory.h"

#include <algorithm>
#include <charconv>
#include <exception>
#include <string_view>
#include <system_error>

#include <fmt/format.h>

#include "core/errors.h"
#include "train/atomic_file.h"
#include "train/checkpoint.h"

namespace lacuna {
namespace {

constexpr std::string_view kPrefix = "step-";
constexpr std::string_view kSuffix = ".safetensors";

/// Why the file does not verify; "" when it does.
std::string problem_of(const CheckpointFile& file) {
  try {
    const std::int64_t step = verify_checkpoint(file.path).step;
    if (step == file.step) return "";
    return fmt::format("'{}': it holds step {}, not the {} of its name", file.path.string(), step, file.step);
  } catch (const std::exception& error) {
    return error.what();
  }
}

}  // namespace

std::string checkpoint_name(std::int64_t step) { return fmt::format("{}{:08}{}", kPrefix, step, kSuffix); }

std::optional<std::int64_t> checkpoint_step(const std::string& file_name) {
  std::string_view text = file_name;
  if (!text.starts_with(kPrefix) || !text.ends_with(kSuffix)) return std::nullopt;
  text.remove_prefix(kPrefix.size());
  text.remove_suffix(std::min(kSuffix.size(), text.size()));
  std::int64_t step = 0;
  const auto [stop, error] = std::from_chars(text.data(), text.data() + text.size(), step);
  // The name must be the one this step gets, so that no two files stand for one step.
  if (error != std::errc{} || step < 0 || checkpoint_name(step) != file_name) return std::nullopt;
  return step;
}

std::vector<CheckpointFile> list_checkpoints(const std::filesystem::path& directory) {
  std::vector<CheckpointFile> files;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    if (const auto step = checkpoint_step(it->path().filename().string())) files.push_back({*step, it->path()});
  }
  std::sort(files.begin(), files.end(), [](const auto& a, const auto& b) { return a.step > b.step; });
  return files;
}

LatestCheckpoint find_latest(const std::filesystem::path& directory) {
  remove_abandoned_files(directory);
  LatestCheckpoint latest;
  for (const CheckpointFile& file : list_checkpoints(directory)) {
    std::string problem = problem_of(file);
    if (problem.empty()) {
      latest.file = file;
      break;
    }
    latest.problems.push_back(std::move(problem));
  }
  return latest;
}

std::vector<std::filesystem::path> prune_checkpoints(const std::filesystem::path& directory, int keep_last) {
  if (keep_last < 1)
    throw ValueError("prune_checkpoints", fmt::format("keep_last is {}; it must be at least 1", keep_last));
  const std::vector<CheckpointFile> files = list_checkpoints(directory);
  const auto newest =
      std::find_if(files.begin(), files.end(), [](const auto& file) { return problem_of(file).empty(); });
  std::vector<std::filesystem::path> deleted;
  if (files.end() - newest <= keep_last) return deleted;
  for (auto file = newest + keep_last; file != files.end(); ++file) {
    std::error_code error;
    if (std::filesystem::remove(file->path, error)) deleted.push_back(file->path);
  }
  return deleted;
}

}  // namespace lacuna
