#include "data/idx.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/errors.h"
#include "data/files.h"

namespace lacuna {
namespace fs = std::filesystem;
namespace {

constexpr int kUnsignedByte = 0x08;

struct IdxArray {
  std::vector<std::int64_t> extents;
  std::vector<std::uint8_t> values;
};

/// [0 0 type rank] [extents, u32 big-endian each] [values].
IdxArray read_array(const fs::path& path, std::size_t rank) {
  std::vector<std::uint8_t> bytes = read_maybe_gzip(path);
  const std::string name = path.string();
  if (bytes.size() < 4 || bytes[0] != 0 || bytes[1] != 0) {
    throw DataError(
        "idx",
        fmt::format("{}: {} bytes that begin {:02x}; an IDX file begins 00 00 08 {:02x}", name, bytes.size(),
                    fmt::join(bytes.begin(),
                              bytes.begin() + static_cast<std::ptrdiff_t>(std::min<std::size_t>(4, bytes.size())), " "),
                    rank));
  }
  if (bytes[2] != kUnsignedByte) {
    throw DataError("idx", fmt::format("{}: element type 0x{:02x}; it must be 0x08 (unsigned bytes)", name, bytes[2]));
  }
  if (bytes[3] != rank) {
    throw DataError("idx", fmt::format("{}: {} axes; this file must have {}", name, bytes[3], rank));
  }
  const std::size_t header = 4 + 4 * rank;
  if (bytes.size() < header) {
    throw DataError("idx", fmt::format("{}: truncated: {} bytes; the header alone has {}", name, bytes.size(), header));
  }
  IdxArray array;
  std::int64_t count = 1;
  for (std::size_t axis = 0; axis < rank; ++axis) {
    const std::uint8_t* b = bytes.data() + 4 + 4 * axis;
    array.extents.push_back((std::int64_t{b[0]} << 24) | (b[1] << 16) | (b[2] << 8) | b[3]);
    if (__builtin_mul_overflow(count, array.extents.back(), &count)) {
      throw DataError("idx", fmt::format("{}: extents {}: their product overflows 64 bits", name, array.extents));
    }
  }
  const auto found = static_cast<std::int64_t>(bytes.size() - header);
  if (found != count) {
    throw DataError("idx", fmt::format("{}: {}: extents {} need {} bytes of values, the file holds {}", name,
                                       found < count ? "truncated" : "trailing bytes", array.extents, count, found));
  }
  bytes.erase(bytes.begin(), bytes.begin() + static_cast<std::ptrdiff_t>(header));
  array.values = std::move(bytes);
  return array;
}

}  // namespace

ImageArray read_idx(const fs::path& images_path, const fs::path& labels_path, const std::string& name,
                    std::int64_t num_classes) {
  IdxArray pixels = read_array(images_path, 3);
  const IdxArray labels = read_array(labels_path, 1);
  const ImageExtent extent{1, pixels.extents[1], pixels.extents[2]};
  if (pixels.extents[0] == 0 || extent.numel() == 0) {
    throw DataError("idx", fmt::format("{}: extents {}; at least one image of one pixel is needed",
                                       images_path.string(), pixels.extents));
  }
  if (pixels.extents[0] != labels.extents[0]) {
    throw DataError("idx",
                    fmt::format("{} has {} images, {} has {} labels; the counts must be equal", images_path.string(),
                                pixels.extents[0], labels_path.string(), labels.extents[0]));
  }
  ImageArray array{name, extent, num_classes, std::move(pixels.values), {}};
  if (num_classes == 0) array.num_classes = *std::max_element(labels.values.begin(), labels.values.end()) + 1;
  for (std::size_t i = 0; i < labels.values.size(); ++i) {
    if (labels.values[i] >= array.num_classes) {
      throw DataError("idx", fmt::format("{}: label {} of example {}; labels are in [0, {})", labels_path.string(),
                                         labels.values[i], i, array.num_classes));
    }
    array.labels.push_back(labels.values[i]);
  }
  return array;
}

IdxFiles idx_files(const fs::path& root, const std::string& prefix) {
  const auto find = [&](const std::string& name) {
    std::error_code error;
    for (const char* suffix : {"", ".gz"}) {
      fs::path path = root / (name + suffix);
      if (fs::exists(path, error)) return path;
    }
    throw DataError("idx",
                    fmt::format("{}: neither {} nor {}.gz; one of them must lie here", root.string(), name, name));
  };
  return {find(prefix + "-images-idx3-ubyte"), find(prefix + "-labels-idx1-ubyte")};
}

}  // namespace lacuna
