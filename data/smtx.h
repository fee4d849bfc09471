// Sparsity patterns in the .smtx format of the Deep Learning Matrix Collection (Gale et al., SC 2020).
#pragma once

#include <cstdint>
#include <filesystem>

#include "core/topology.h"

namespace lacuna {

/// Line 1 of a .smtx file: `rows, cols, nnz`.
struct SmtxHeader {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t nnz = 0;
};

/// Reads line 1 alone. Throws DataError.
SmtxHeader read_smtx_header(const std::filesystem::path& path);

/// The pattern of a .smtx file, on the CPU; the format holds no values.
///   line 1  rows, cols, nnz
///   line 2  rows + 1 row offsets, from 0 to nnz, never falling
///   line 3  nnz column indices in [0, cols), strictly ascending within each row
/// Numbers are separated by blanks or one comma. Empty rows are allowed, and line 3 may be absent when nnz is 0. Nothing
/// may follow. Throws DataError `[smtx] file:line: what was found; what must hold`, before anything is allocated for a
/// count that the file is too short to hold.
TopologyPtr read_smtx(const std::filesystem::path& path);

}  // namespace lacuna
