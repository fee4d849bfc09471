#include "train/run_directory.h"

#include <fmt/format.h>

#include <random>
#include <system_error>

#include "core/errors.h"
#include "train/atomic_file.h"
#include "train/environment.h"

namespace lacuna {
namespace {

void check_name(const std::string& name) {
  bool plain = !name.empty() && name.front() != '.' && name.size() <= 200;
  for (char c : name) plain = plain && c != '/' && static_cast<unsigned char>(c) >= 0x20 && c != 0x7F;
  if (!plain) {
    throw ValueError(
        "run_directory",
        fmt::format("'{}' cannot name a run; it must be a plain file name that does not begin with '.'", name));
  }
}

}  // namespace

void RunDirectory::write_config(const std::string& yaml) const { write_file_atomically(config(), yaml); }

void RunDirectory::write_environment(const nlohmann::ordered_json& json) const {
  write_file_atomically(environment(), json.dump(2, ' ', false, nlohmann::json::error_handler_t::replace) + "\n");
}

std::filesystem::path create_fresh_directory(const std::filesystem::path& parent, const std::string& name) {
  check_name(name);
  std::error_code error;
  std::filesystem::create_directories(parent / name, error);
  std::random_device entropy;  // only names the directory; nothing that is trained depends on it
  while (!error) {
    const auto root = parent / name / fmt::format("{}-{:06x}", utc_now(true), entropy() & 0xFFFFFF);
    if (std::filesystem::create_directory(root, error)) return root;  // else it existed: take another id
  }
  throw Error("run_directory",
              fmt::format("cannot create a run in '{}': {}; output_dir must be a directory that can be "
                          "written",
                          (parent / name).string(), error.message()));
}

RunDirectory create_run_directory(const std::filesystem::path& runs, const std::string& name) {
  const RunDirectory run{create_fresh_directory(runs, name)};
  std::error_code error;
  std::filesystem::create_directory(run.checkpoints(), error);
  if (error)
    throw Error("run_directory", fmt::format("cannot create '{}': {}", run.checkpoints().string(), error.message()));
  return run;
}

RunDirectory open_run_directory(const std::filesystem::path& root) {
  RunDirectory run{root};
  std::error_code error;
  if (!std::filesystem::is_directory(run.checkpoints(), error)) {
    throw CheckpointError("run_directory",
                          fmt::format("'{}' is no run: it holds no checkpoints directory", root.string()));
  }
  return run;
}

}  // namespace lacuna
