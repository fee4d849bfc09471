#include "data/files.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <fnmatch.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>
#include <zlib.h>

#include <algorithm>
#include <cerrno>
#include <cstring>

#include "core/errors.h"
#include "core/random.h"
#include "data/random_draws.h"

namespace lacuna {
namespace fs = std::filesystem;
namespace {

constexpr std::size_t kMaxUnzipped = std::size_t{1} << 32;

class OpenFile {
 public:
  // Non-blocking, so that a pipe is refused below instead of waited for.
  explicit OpenFile(const fs::path& path) : descriptor_(::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK)) {
    if (descriptor_ < 0) {
      throw DataError("data", fmt::format("{}: {}; it must be a readable file", path.string(), std::strerror(errno)));
    }
    struct stat status {};
    if (::fstat(descriptor_, &status) != 0 || !S_ISREG(status.st_mode)) {
      ::close(descriptor_);
      throw DataError("data", fmt::format("{}: not a regular file; a file is needed here", path.string()));
    }
    size_ = static_cast<std::size_t>(status.st_size);
  }
  ~OpenFile() { ::close(descriptor_); }
  OpenFile(const OpenFile&) = delete;
  OpenFile& operator=(const OpenFile&) = delete;

  int descriptor() const { return descriptor_; }
  std::size_t size() const { return size_; }

 private:
  int descriptor_;
  std::size_t size_ = 0;
};

/// Appends at most `limit` bytes of the file to `out`.
void append_file(const fs::path& path, std::size_t limit, std::vector<std::uint8_t>& out) {
  const OpenFile file(path);
  const std::size_t wanted = std::min(file.size(), limit);
  const std::size_t begin = out.size();
  out.resize(begin + wanted);
  std::size_t done = 0;
  while (done < wanted) {
    const ssize_t got = ::read(file.descriptor(), out.data() + begin + done, wanted - done);
    if (got < 0 && errno == EINTR) continue;
    if (got <= 0) {
      throw DataError("data", fmt::format("{}: {} after {} of {} bytes", path.string(),
                                          got < 0 ? std::strerror(errno) : "the file ended", done, wanted));
    }
    done += static_cast<std::size_t>(got);
  }
}

struct Inflater {
  z_stream stream{};
  bool ok = false;
  Inflater() { ok = inflateInit2(&stream, 16 + MAX_WBITS) == Z_OK; }
  ~Inflater() {
    if (ok) inflateEnd(&stream);
  }
};

/// Unzips every gzip member of `in`, as gunzip does; checks their CRCs.
std::vector<std::uint8_t> gunzip(const std::vector<std::uint8_t>& in, const std::string& name) {
  Inflater inflater;
  if (!inflater.ok) throw DataError("gzip", name + ": zlib could not start");
  z_stream& stream = inflater.stream;
  std::vector<std::uint8_t> out(std::max<std::size_t>(in.size() * 4, 1 << 16));
  std::size_t consumed = 0;
  std::size_t produced = 0;
  for (;;) {
    if (produced == out.size()) out.resize(out.size() * 2);
    // zlib counts in 32 bits, so both sides advance in pieces.
    const std::size_t in_piece = std::min<std::size_t>(in.size() - consumed, 1 << 30);
    const std::size_t out_piece = std::min<std::size_t>(out.size() - produced, 1 << 30);
    stream.next_in = const_cast<Bytef*>(in.data() + consumed);
    stream.avail_in = static_cast<uInt>(in_piece);
    stream.next_out = out.data() + produced;
    stream.avail_out = static_cast<uInt>(out_piece);
    const int status = inflate(&stream, Z_NO_FLUSH);
    consumed += in_piece - stream.avail_in;
    produced += out_piece - stream.avail_out;
    if (produced > kMaxUnzipped) {
      throw DataError("gzip", fmt::format("{}: more than {} bytes when unzipped; too large", name, kMaxUnzipped));
    }
    if (status == Z_STREAM_END) {
      if (consumed == in.size()) break;
      inflateReset(&stream);  // another member follows
    } else if (status == Z_BUF_ERROR && consumed == in.size()) {
      throw DataError("gzip", fmt::format("{}: truncated: the compressed data end after {} bytes, before the end mark",
                                          name, in.size()));
    } else if (status != Z_OK && status != Z_BUF_ERROR) {
      throw DataError("gzip", fmt::format("{}: corrupt near byte {}: {}; the file must be intact gzip", name, consumed,
                                          stream.msg ? stream.msg : "bad stream"));
    }
  }
  out.resize(produced);
  return out;
}

bool keeps(const std::vector<std::string>& patterns, const std::string& relative) {
  return patterns.empty() || std::any_of(patterns.begin(), patterns.end(), [&](const std::string& pattern) {
           if (pattern.find_first_of("*?") != std::string::npos) {
             return ::fnmatch(pattern.c_str(), relative.c_str(), 0) == 0;
           }
           return relative.ends_with(pattern);
         });
}

std::vector<std::string> list_files(const fs::path& root, const std::vector<std::string>& patterns) {
  std::vector<std::string> files;
  try {
    for (const fs::directory_entry& entry : fs::recursive_directory_iterator(root)) {
      if (entry.is_symlink() || !entry.is_regular_file()) continue;
      std::string relative = entry.path().lexically_relative(root).string();
      if (keeps(patterns, relative)) files.push_back(std::move(relative));
    }
  } catch (const fs::filesystem_error& error) {
    throw DataError("data", fmt::format("{}: {}; the whole tree must be readable", root.string(), error.what()));
  }
  std::sort(files.begin(), files.end());
  return files;
}

}  // namespace

Bytes Bytes::from(std::vector<std::uint8_t> values) {
  auto owner = std::make_shared<const std::vector<std::uint8_t>>(std::move(values));
  const std::span<const std::uint8_t> view(*owner);
  return {std::move(owner), view};
}

Bytes map_file(const fs::path& path) {
  const OpenFile file(path);
  if (file.size() == 0) return {};  // mmap refuses empty files
  const std::size_t size = file.size();
  void* address = ::mmap(nullptr, size, PROT_READ, MAP_PRIVATE, file.descriptor(), 0);
  if (address == MAP_FAILED) {
    throw DataError("data", fmt::format("{}: could not map {} bytes: {}", path.string(), size, std::strerror(errno)));
  }
  std::shared_ptr<const void> owner(address, [size](const void* p) { ::munmap(const_cast<void*>(p), size); });
  return {std::move(owner), {static_cast<const std::uint8_t*>(address), size}};
}

std::vector<std::uint8_t> read_maybe_gzip(const fs::path& path) {
  std::vector<std::uint8_t> bytes;
  append_file(path, SIZE_MAX, bytes);
  if (bytes.size() >= 2 && bytes[0] == 0x1F && bytes[1] == 0x8B) return gunzip(bytes, path.string());
  if (path.extension() == ".gz") {
    throw DataError("gzip", fmt::format("{}: {} bytes without gzip's magic number 1f 8b; the file must be gzip",
                                        path.string(), bytes.size()));
  }
  return bytes;
}

Bytes read_tree(const fs::path& root, const TreeOptions& options) {
  std::error_code error;
  if (!fs::exists(root, error)) {
    throw DataError("data", fmt::format("{}: no such file or directory", root.string()));
  }
  const std::size_t limit = options.max_bytes > 0 ? static_cast<std::size_t>(options.max_bytes) : SIZE_MAX;
  if (!fs::is_directory(root, error)) {
    const Bytes all = map_file(root);
    return all.slice(0, static_cast<std::int64_t>(std::min(all.view.size(), limit)));
  }
  std::vector<std::string> files = list_files(root, options.extensions);
  if (files.empty()) {
    throw DataError("data", fmt::format("{}: no files below this directory{}; at least one is needed", root.string(),
                                        options.extensions.empty() ? "" : " pass the 'extensions' filter"));
  }
  if (options.shuffle) {
    const auto order =
        random_permutation(static_cast<std::int64_t>(files.size()), data_key(options.seed, DataDraw::files, 0));
    std::vector<std::string> shuffled;
    for (const std::int64_t i : order) shuffled.push_back(std::move(files[static_cast<std::size_t>(i)]));
    files = std::move(shuffled);
  }
  std::vector<std::uint8_t> bytes;
  for (const std::string& file : files) {
    if (bytes.size() >= limit) break;
    append_file(root / file, limit - bytes.size(), bytes);
  }
  return Bytes::from(std::move(bytes));
}

}  // namespace lacuna
