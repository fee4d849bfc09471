// The safetensors file format: 8-byte little-endian header length N, N bytes of JSON, then the tensors' bytes.
//
// The header maps a name to {"dtype", "shape", "data_offsets": [begin, end)} (offsets count from the header's end) and
// "__metadata__" to strings. Files written here hold one key more: a checksum of the whole file as the first metadata
// entry, so at a fixed place; other readers see an ordinary metadata string.
#pragma once

#include <filesystem>
#include <map>
#include <string>

#include "core/tensor.h"
#include "train/atomic_file.h"

namespace lacuna {

struct SafetensorsFile {
  std::map<std::string, std::string> metadata;  ///< without the checksum, which is a matter of the file
  std::map<std::string, Tensor> tensors;        ///< on the CPU
  std::map<std::string, std::string>
      converted;  ///< tensors read with ForeignDtypes::converted, and their dtype in the file
};

enum class Checksum : std::uint8_t {
  if_present,  ///< a file without one (from another tool) is read; a wrong one is refused
  required,
};

enum class ForeignDtypes : std::uint8_t {
  refused,    ///< Lacuna's own files hold none
  converted,  ///< F16 to f32, exactly; BOOL to u8. SafetensorsFile::converted names them
};

/// Writes atomically (see write_file_atomically). Data begins at a multiple of 8 bytes, wider dtypes come first, so
/// every tensor is aligned to its dtype. Tensors on other devices are copied to the host. Throws CheckpointError.
void write_safetensors(const std::filesystem::path& path, const SafetensorsFile& file, const FileCalls& calls = {});

/// Reads F32, F64, BF16, I32, I64 and U8, and on request F16 and BOOL. Strict: tensors must tile the data exactly, in sizes that dtype and shape
/// give; names are unique; nothing follows the data. Every fault is a CheckpointError that names file and tensor.
SafetensorsFile read_safetensors(const std::filesystem::path& path, Checksum checksum = Checksum::if_present,
                                 ForeignDtypes foreign = ForeignDtypes::refused);

}  // namespace lacuna
