#include "app/interop/new_file.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <stdio.h>

#include <cerrno>
#include <cstring>

#include "core/errors.h"

namespace lacuna {

namespace fs = std::filesystem;

namespace {

int rename_unless_there(const char* from, const char* to) {
  const int status = ::renameat2(AT_FDCWD, from, AT_FDCWD, to, RENAME_NOREPLACE);
  if (status == 0 || (errno != EINVAL && errno != ENOSYS)) return status;
  // A file system that cannot promise it (NFS): what remains is looking first.
  if (fs::exists(fs::symlink_status(to))) {
    errno = EEXIST;
    return -1;
  }
  return ::rename(from, to);
}

}  // namespace

void require_new(const std::string& command, const fs::path& out) {
  std::error_code error;
  if (out.empty()) throw ConfigError(command, "--out is empty; must be a path");
  if (fs::exists(fs::symlink_status(out, error)))
    throw ConfigError(command,
                      fmt::format("--out '{}' exists; must be a new path: nothing is overwritten", out.string()));
  const fs::path directory = out.has_parent_path() ? out.parent_path() : fs::path(".");
  if (!fs::is_directory(directory, error))
    throw ConfigError(
        command, fmt::format("--out '{}': '{}' is not a directory; it must exist", out.string(), directory.string()));
}

FileCalls without_overwriting() {
  FileCalls calls;
  calls.rename = rename_unless_there;
  return calls;
}

void rename_to_new(const fs::path& from, const fs::path& to) {
  if (rename_unless_there(from.c_str(), to.c_str()) != 0)
    throw Error("rename", fmt::format("cannot name '{}' '{}': {}", from.string(), to.string(), std::strerror(errno)));
}

}  // namespace lacuna
