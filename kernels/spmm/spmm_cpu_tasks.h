// What the drivers of SpMM on the CPU hand to the inner loops, and the three builds of those loops.
//
// A slab is a few adjacent columns of B and C, 1 to kSlabVectors vectors wide. There are two ways through it:
//   rows    a panel holds the slab of all of B; each row of A passes over it once (L2 feeds the multiply-adds)
//   pieces  a panel holds the slab of some rows of B, few enough for L1; A is repacked piece by piece to fit
#pragma once

#include <cstdint>

namespace lacuna::kernels {

inline constexpr int kSlabVectors = 4;  ///< with two or four chains each (spmm_cpu_inner.h), half of the registers

/// Columns of C that a task makes, and what becomes of its sums.
template <class T>
struct SpmmOutput {
  int vectors = 0;         ///< in a slab's row, 1 to kSlabVectors
  std::int64_t width = 0;  ///< columns of the slab that C has; the slab's others are padding
  T* c = nullptr;          ///< row 0 of the task's matrix, first column of the slab
  std::int64_t ldc = 0;
  const T* bias = nullptr;  ///< [m] or null
  bool relu = false;
};

/// Some rows of C, over one slab of B.
template <class T>
struct SpmmTask {
  const std::int32_t* row_offsets = nullptr;
  const std::int32_t* col_indices = nullptr;
  const T* values = nullptr;
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
  const T* slab = nullptr;  ///< [k, vectors * lanes]
  SpmmOutput<T> out;
};

/// Cuts rows [row_begin, row_end) of A into pieces: in each, row after row, the row's entries, filled up to groups of
/// four by zeros that point behind the piece, at a row of zeros.
template <class T>
struct SpmmCutTask {
  const std::int32_t* row_offsets = nullptr;
  const std::int32_t* col_indices = nullptr;
  const T* values = nullptr;
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
  std::int64_t piece = 0;                ///< columns of A in a piece
  std::int64_t pieces = 0;               ///< 1 or more
  std::int32_t* cursor = nullptr;        ///< [row_end - row_begin] scratch
  T* packed_values = nullptr;            ///< room for the rows' entries and 3 * pieces zeros a row
  std::uint16_t* packed_rows = nullptr;  ///< the same; row of the panel, 0 to piece
  std::uint16_t* groups = nullptr;       ///< [pieces, row_end - row_begin]
  std::int64_t* starts = nullptr;        ///< [pieces] where each piece starts in the packed arrays
};

/// Adds one piece's products to the sums of some rows of C.
template <class T>
struct SpmmPieceTask {
  const T* values = nullptr;              ///< of the piece, packed
  const std::uint16_t* rows = nullptr;    ///< of the panel, by entry
  const std::uint16_t* groups = nullptr;  ///< by row of C
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
  const T* panel = nullptr;  ///< [piece + 1, vectors * lanes], the last row zeros; aligned to a vector
  T* sums = nullptr;         ///< [row_end - row_begin, vectors * lanes]
  bool first = false;        ///< no sums yet
  bool last = false;         ///< to C instead of sums
  SpmmOutput<T> out;
};

#define LACUNA_DECLARE(isa)                      \
  namespace isa {                                \
  template <class T>                             \
  void spmm_rows(const SpmmTask<T>& task);       \
  template <class T>                             \
  void spmm_cut(const SpmmCutTask<T>& task);     \
  template <class T>                             \
  void spmm_piece(const SpmmPieceTask<T>& task); \
  }
LACUNA_DECLARE(isa_baseline)
LACUNA_DECLARE(isa_avx2)
LACUNA_DECLARE(isa_avx512)
#undef LACUNA_DECLARE

}  // namespace lacuna::kernels
