#include "train/safetensors.h"

#include <fcntl.h>
#include <fmt/format.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <bit>
#include <cerrno>
#include <cmath>
#include <cstring>
#include <vector>

#include "train/hash.h"
#include "train/safetensors_header.h"

namespace lacuna {
namespace {

using safetensors::Entry;
using safetensors::fault;
using safetensors::Header;
using safetensors::kChecksumDigits;
using safetensors::kChecksumPrefix;
using safetensors::kChecksumPrefixBytes;

/// An open file, read from front to back.
class Reader {
 public:
  explicit Reader(const std::filesystem::path& path) : name_(path.string()) {
    // Non-blocking, so that a FIFO is refused below instead of waited for.
    file_ = ::open(path.c_str(), O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (file_ < 0) throw fault(name_, fmt::format("cannot open: {}", std::strerror(errno)));
    struct stat status {};
    if (::fstat(file_, &status) != 0 || !S_ISREG(status.st_mode)) {
      ::close(file_);
      throw fault(name_, "is not a regular file");
    }
    size_ = static_cast<std::uint64_t>(status.st_size);
  }
  Reader(const Reader&) = delete;
  Reader& operator=(const Reader&) = delete;
  ~Reader() { ::close(file_); }

  std::uint64_t size() const { return size_; }
  const std::string& name() const { return name_; }

  void read(void* to, std::size_t size, const std::string& what) {
    auto* p = static_cast<char*>(to);
    while (size > 0) {
      const ssize_t got = ::read(file_, p, std::min(size, std::size_t{1} << 30));
      if (got < 0 && errno == EINTR) continue;
      if (got < 0) throw fault(name_, fmt::format("cannot read {}: {}", what, std::strerror(errno)));
      if (got == 0) throw fault(name_, fmt::format("the file ends inside of {}", what));
      p += got;
      size -= static_cast<std::size_t>(got);
    }
  }

 private:
  std::string name_;
  int file_ = -1;
  std::uint64_t size_ = 0;
};

std::string read_header_text(Reader& reader, std::uint64_t& header_bytes) {
  if (reader.size() < 8) {
    throw fault(reader.name(),
                fmt::format("the file is {} bytes long; a header's length alone takes 8", reader.size()));
  }
  reader.read(&header_bytes, 8, "the header's length");
  if (header_bytes > safetensors::kMaxHeaderBytes) {
    throw fault(
        reader.name(),
        fmt::format("the header would be {} bytes long, past the format's limit of {} (is this a safetensors file?)",
                    header_bytes, safetensors::kMaxHeaderBytes));
  }
  if (header_bytes > reader.size() - 8) {
    throw fault(reader.name(),
                fmt::format("the header would be {} bytes long, but {} bytes follow (is the file truncated?)",
                            header_bytes, reader.size() - 8));
  }
  std::string text(header_bytes, '\0');
  reader.read(text.data(), text.size(), "the header");
  return text;
}

bool has_checksum(const std::string& header_text) {
  return header_text.size() >= kChecksumPrefixBytes + kChecksumDigits &&
         header_text.compare(0, kChecksumPrefixBytes, kChecksumPrefix) == 0;
}

/// Of the length, then of the header with the checksum's digits as '0'; the data follow.
Hash64 hash_header(std::uint64_t header_bytes, std::string header_text) {
  header_text.replace(kChecksumPrefixBytes, kChecksumDigits, kChecksumDigits, '0');
  Hash64 hash;
  hash.update(&header_bytes, 8);
  hash.update(header_text.data(), header_text.size());
  return hash;
}

/// IEEE half precision to f32, exactly.
float half_to_float(std::uint16_t bits) {
  const int exponent = bits >> 10 & 0x1F;
  const int fraction = bits & 0x3FF;
  const auto sign = static_cast<std::uint32_t>(bits >> 15) << 31;
  if (exponent == 0) return std::copysign(std::ldexp(static_cast<float>(fraction), -24), sign ? -1.0f : 1.0f);
  const std::uint32_t widened = exponent == 0x1F ? 0xFF : static_cast<std::uint32_t>(exponent) + 127 - 15;
  return std::bit_cast<float>(sign | widened << 23 | static_cast<std::uint32_t>(fraction) << 13);
}

/// F16 as it was read, two bytes an element.
Tensor widen_halves(const std::vector<std::uint16_t>& halves, const Shape& shape) {
  Tensor tensor = Tensor::empty(shape, DType::f32);
  std::transform(halves.begin(), halves.end(), tensor.data<float>(), half_to_float);
  return tensor;
}

/// Wide dtypes first: with no padding allowed between tensors, that aligns each to its own size.
Header table_of_contents(const SafetensorsFile& file, std::vector<Tensor>& data) {
  Header header;
  header.metadata = file.metadata;
  for (std::size_t size : {8, 4, 2, 1}) {
    for (const auto& [name, tensor] : file.tensors) {
      if (size_of(tensor.dtype()) != size) continue;
      const std::uint64_t begin = header.entries.empty() ? 0 : header.entries.back().end;
      header.entries.push_back(
          {name, safetensors::stored_dtype(tensor.dtype()), tensor.shape(), begin, begin + tensor.nbytes()});
      data.push_back(tensor.to(kCpu));
    }
  }
  return header;
}

}  // namespace

void write_safetensors(const std::filesystem::path& path, const SafetensorsFile& file, const FileCalls& calls) {
  std::vector<Tensor> data;
  const Header header = table_of_contents(file, data);
  std::string text;
  try {
    text = safetensors::format_header(header);
  } catch (const std::exception& error) {  // a name or metadata that is not UTF-8
    throw fault(path.string(), fmt::format("cannot write the header: {}", error.what()));
  }
  if (file.metadata.count("checksum") != 0) throw fault(path.string(), "metadata 'checksum' is the format's own");
  if (text.size() > safetensors::kMaxHeaderBytes) throw fault(path.string(), "the header passes the format's 100 MB");
  const std::uint64_t header_bytes = text.size();
  Hash64 hash = hash_header(header_bytes, text);
  for (const Tensor& tensor : data) hash.update(tensor.raw(), tensor.nbytes());
  text.replace(kChecksumPrefixBytes, kChecksumDigits, hex64(hash.digest()));

  std::vector<ByteSpan> pieces{{&header_bytes, 8}, {text.data(), text.size()}};
  for (const Tensor& tensor : data) pieces.push_back({tensor.raw(), tensor.nbytes()});
  try {
    write_file_atomically(path, pieces, calls);
  } catch (const Error& error) {
    throw CheckpointError("safetensors", fmt::format("'{}' was not saved: {}", path.string(), error.what()));
  }
}

SafetensorsFile read_safetensors(const std::filesystem::path& path, Checksum checksum, ForeignDtypes foreign) {
  Reader reader(path);
  std::uint64_t header_bytes = 0;
  const std::string text = read_header_text(reader, header_bytes);
  const bool checked = has_checksum(text);
  if (!checked && checksum == Checksum::required) {
    throw fault(reader.name(), "the header does not begin with a checksum; Lacuna's own checkpoints do");
  }
  Header header = safetensors::parse_header(reader.name(), text, reader.size() - 8 - header_bytes,
                                            foreign == ForeignDtypes::converted);
  Hash64 hash = checked ? hash_header(header_bytes, text) : Hash64();

  SafetensorsFile file;
  for (const Entry& entry : header.entries) {
    const std::string what = fmt::format("tensor '{}'", entry.name);
    if (entry.stored->foreign) file.converted[entry.name] = entry.stored->name;
    Tensor tensor;
    if (entry.stored->bytes == size_of(entry.stored->dtype)) {
      tensor = Tensor::empty(entry.shape, entry.stored->dtype);
      reader.read(tensor.raw(), tensor.nbytes(), what);
      if (checked) hash.update(tensor.raw(), tensor.nbytes());
    } else {
      std::vector<std::uint16_t> halves(static_cast<std::size_t>(entry.shape.numel()));
      reader.read(halves.data(), 2 * halves.size(), what);
      if (checked) hash.update(halves.data(), 2 * halves.size());
      tensor = widen_halves(halves, entry.shape);
    }
    file.tensors.emplace(entry.name, std::move(tensor));
  }
  if (checked) {
    const std::string stored = text.substr(kChecksumPrefixBytes, kChecksumDigits);
    const std::string found = hex64(hash.digest());
    if (stored != found) {
      throw fault(reader.name(),
                  fmt::format("checksum {} is stored, but the bytes give {}: the file is damaged", stored, found));
    }
    header.metadata.erase("checksum");
  }
  file.metadata = std::move(header.metadata);
  return file;
}

}  // namespace lacuna
