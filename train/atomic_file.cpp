#include "train/atomic_file.h"

#include <fcntl.h>
#include <signal.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <charconv>
#include <cstring>
#include <fstream>
#include <optional>
#include <system_error>
#include <utility>

#include <fmt/format.h>

#include "core/errors.h"

namespace lacuna {
namespace {

constexpr const char* kTemporaryMark = ".tmp-";

[[noreturn]] void fail(const std::string& action, const std::string& path, int error) {
  const std::string why = error == 0 ? "the device took no more bytes" : std::strerror(error);
  throw Error("write_file", fmt::format("cannot {} '{}': {}", action, path, why));
}

/// An open temporary; it is closed and removed unless it was handed over.
class Temporary {
 public:
  explicit Temporary(std::string path) : path_(std::move(path)) {
    ::unlink(path_.c_str());  // left by a dead process that had our id
    file_ = ::open(path_.c_str(), O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC, 0644);
    if (file_ < 0) fail("create", path_, errno);
  }
  Temporary(const Temporary&) = delete;
  Temporary& operator=(const Temporary&) = delete;
  ~Temporary() {
    if (file_ >= 0) ::close(file_);
    if (owned_) ::unlink(path_.c_str());
  }
  int file() const { return file_; }
  const std::string& path() const { return path_; }
  void close() {
    // Not retried on EINTR: Linux has released the descriptor by then.
    const int status = ::close(std::exchange(file_, -1));
    if (status != 0 && errno != EINTR) fail("close", path_, errno);
  }
  void hand_over() { owned_ = false; }

 private:
  std::string path_;
  int file_ = -1;
  bool owned_ = true;
};

void write_all(const FileCalls& calls, const Temporary& temporary, ByteSpan piece) {
  constexpr std::size_t kMostAtOnce = std::size_t{1} << 30;  // Linux moves at most 2^31 - 4096 bytes a call
  const char* p = static_cast<const char*>(piece.bytes);
  for (std::size_t left = piece.size; left > 0;) {
    const std::size_t size = std::min(left, kMostAtOnce);
    const ssize_t written = calls.write ? calls.write(temporary.file(), p, size) : ::write(temporary.file(), p, size);
    if (written < 0 && errno == EINTR) continue;
    if (written <= 0) fail("write", temporary.path(), written < 0 ? errno : 0);
    p += written;
    left -= static_cast<std::size_t>(written);
  }
}

int sync_retrying(const FileCalls& calls, int file) {
  int status = 0;
  do {
    status = calls.sync ? calls.sync(file) : ::fsync(file);
  } while (status != 0 && errno == EINTR);
  return status;
}

void sync_directory(const FileCalls& calls, const std::filesystem::path& directory) {
  const int file = ::open(directory.c_str(), O_RDONLY | O_DIRECTORY | O_CLOEXEC);
  if (file < 0) fail("open", directory.string(), errno);
  const int status = sync_retrying(calls, file);
  const int error = errno;
  ::close(file);
  // Some file systems cannot sync a directory and say EINVAL; there is nothing more to do on them.
  if (status != 0 && error != EINVAL) fail("sync the directory", directory.string(), error);
}

/// The process id in "<anything>.tmp-<pid>".
std::optional<pid_t> owner_of(const std::string& name) {
  const std::size_t mark = name.rfind(kTemporaryMark);
  if (mark == std::string::npos) return std::nullopt;
  const char* begin = name.data() + mark + std::strlen(kTemporaryMark);
  const char* end = name.data() + name.size();
  pid_t pid = 0;
  const auto [stop, error] = std::from_chars(begin, end, pid);
  if (error != std::errc{} || stop != end || pid <= 0) return std::nullopt;
  return pid;
}

}  // namespace

void write_file_atomically(const std::filesystem::path& path, const std::vector<ByteSpan>& pieces,
                           const FileCalls& calls) {
  Temporary temporary(path.string() + kTemporaryMark + std::to_string(::getpid()));
  for (const ByteSpan& piece : pieces) write_all(calls, temporary, piece);
  if (sync_retrying(calls, temporary.file()) != 0) fail("sync", temporary.path(), errno);
  temporary.close();
  const int status = calls.rename ? calls.rename(temporary.path().c_str(), path.c_str())
                                  : ::rename(temporary.path().c_str(), path.c_str());
  if (status != 0) fail("rename to its final name", temporary.path(), errno);
  temporary.hand_over();
  const std::filesystem::path directory = path.parent_path();
  sync_directory(calls, directory.empty() ? std::filesystem::path(".") : directory);
}

void write_file_atomically(const std::filesystem::path& path, const std::string& text) {
  write_file_atomically(path, {{text.data(), text.size()}});
}

std::vector<std::filesystem::path> remove_abandoned_files(const std::filesystem::path& directory) {
  std::vector<std::filesystem::path> removed;
  std::error_code error;
  for (std::filesystem::directory_iterator it(directory, error), end; !error && it != end; it.increment(error)) {
    const std::optional<pid_t> pid = owner_of(it->path().filename().string());
    if (!pid) continue;
    const bool alive = *pid != ::getpid() && (::kill(*pid, 0) == 0 || errno != ESRCH);
    if (alive) continue;
    std::error_code ignored;
    if (std::filesystem::remove(it->path(), ignored)) removed.push_back(it->path());
  }
  return removed;
}

std::string read_text_file(const std::filesystem::path& path) {
  std::ifstream file(path, std::ios::binary);
  if (!file) throw Error("read_file", fmt::format("cannot open '{}': {}", path.string(), std::strerror(errno)));
  std::string text((std::istreambuf_iterator<char>(file)), std::istreambuf_iterator<char>());
  if (file.bad()) throw Error("read_file", fmt::format("cannot read '{}'", path.string()));
  return text;
}

}  // namespace lacuna
