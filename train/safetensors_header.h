// The header of a safetensors file: between JSON text and checked table of contents. Internal to train/safetensors.
#pragma once

#include <cstdint>
#include <map>
#include <string>
#include <vector>

#include "core/dtype.h"
#include "core/errors.h"
#include "core/shape.h"

namespace lacuna::safetensors {

inline constexpr std::uint64_t kMaxHeaderBytes = 100'000'000;  // the format's own limit
/// What a file with a checksum begins its header with; 16 hexadecimal digits follow. They count as '0' in the sum.
inline constexpr char kChecksumPrefix[] = R"({"__metadata__":{"checksum":"xxh64:)";
inline constexpr std::size_t kChecksumPrefixBytes = sizeof kChecksumPrefix - 1;
inline constexpr std::size_t kChecksumDigits = 16;

struct Entry {
  std::string name;
  DType dtype = DType::f32;
  Shape shape;
  std::uint64_t begin = 0;  // bytes from the header's end
  std::uint64_t end = 0;
};

struct Header {
  std::map<std::string, std::string> metadata;
  std::vector<Entry> entries;  // by begin
};

/// JSON with the checksum's digits all '0', padded with spaces so that the data, 8 bytes further, is aligned to 8.
std::string format_header(const Header& header);

/// Checks everything that can be checked without the data. `file` is for messages. Throws CheckpointError.
Header parse_header(const std::string& file, const std::string& text, std::uint64_t data_bytes);

/// The error for this file, and for a tensor in it.
CheckpointError fault(const std::string& file, const std::string& what);
CheckpointError tensor_fault(const std::string& file, const std::string& tensor, const std::string& what);

}  // namespace lacuna::safetensors
