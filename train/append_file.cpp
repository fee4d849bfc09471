#include "train/append_file.h"

#include <fcntl.h>
#include <sys/stat.h>
#include <unistd.h>

#include <cerrno>
#include <cstring>
#include <utility>

#include <fmt/format.h>

#include "core/errors.h"

namespace lacuna {

AppendFile::AppendFile(std::filesystem::path path, bool must_be_new) : path_(std::move(path)) {
  file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_APPEND | O_CLOEXEC | (must_be_new ? O_EXCL : 0), 0644);
  if (file_ < 0) throw Error("append", fmt::format("cannot open '{}': {}", path_.string(), std::strerror(errno)));
}

AppendFile::AppendFile(AppendFile&& other) noexcept
    : path_(std::move(other.path_)), file_(std::exchange(other.file_, -1)) {}

AppendFile::~AppendFile() {
  if (file_ >= 0) ::close(file_);
}

void AppendFile::append(std::string_view bytes) {
  ssize_t written = 0;
  do {
    written = ::write(file_, bytes.data(), bytes.size());
  } while (written < 0 && errno == EINTR);
  if (written == static_cast<ssize_t>(bytes.size())) return;
  const std::string why = written < 0 ? std::strerror(errno) : "the disk is full";
  struct stat status {};
  if (written > 0 && ::fstat(file_, &status) == 0 && ::ftruncate(file_, status.st_size - written) != 0) {
    throw Error("append", fmt::format("'{}' ends in half a record: {}", path_.string(), why));
  }
  throw Error("append", fmt::format("cannot write to '{}': {}", path_.string(), why));
}

}  // namespace lacuna
