#include "train/run_lock.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/file.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>

#include "core/errors.h"

namespace lacuna {

RunLock::RunLock(const std::filesystem::path& directory)
    : file_(::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC)) {
  if (file_ < 0)
    throw Error("run_directory",
                fmt::format("'{}': {}; must be a readable directory", directory.string(), std::strerror(errno)));
  if (::flock(file_, LOCK_EX | LOCK_NB) == 0 || errno != EWOULDBLOCK) return;
  ::close(file_);
  throw Error("run_directory",
              fmt::format("'{}' is in use: another process trains there; wait for it or end it", directory.string()));
}

RunLock::~RunLock() { ::close(file_); }

}  // namespace lacuna
