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

/// A dtype as files spell it, and what it is read as.
struct StoredDtype {
  const char* name;
  std::size_t bytes;  // of an element in the file
  DType dtype;        // in memory
  bool foreign;       // Lacuna does not hold it; reading converts
};

struct Entry {
  std::string name;
  const StoredDtype* stored = nullptr;
  Shape shape;
  std::uint64_t begin = 0;  // bytes from the header's end
  std::uint64_t end = 0;
};

/// The entry of a dtype that Lacuna holds.
const StoredDtype* stored_dtype(DType dtype);

struct Header {
  std::map<std::string, std::string> metadata;
  std::vector<Entry> entries;  // by begin
};

/// JSON with the checksum's digits all '0', padded with spaces so that the data, 8 bytes further, is aligned to 8.
std::string format_header(const Header& header);

/// Checks everything that can be checked without the data. `file` is for messages; `foreign` lets F16 and BOOL in.
/// Throws CheckpointError.
Header parse_header(const std::string& file, const std::string& text, std::uint64_t data_bytes, bool foreign = false);

/// The error for this file, and for a tensor in it.
CheckpointError fault(const std::string& file, const std::string& what);
CheckpointError tensor_fault(const std::string& file, const std::string& tensor, const std::string& what);

}  // namespace lacuna::safetensors
