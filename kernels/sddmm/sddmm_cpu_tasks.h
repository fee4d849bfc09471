// What the drivers of SDDMM on the CPU hand to the inner loops, and the three builds of those loops.
//
// The summed dimension goes chunk by chunk; B's chunk is packed into a panel. There are two ways through it:
//   rows    each row of A meets its entries' rows of the panel once (L2 feeds the multiply-adds)
//   pieces  so many rows of the panel as fit L1 meet all rows of A before the next; A's chunk is packed as well
#pragma once

#include <cstdint>

namespace lacuna::kernels {

/// Some rows of the pattern, over one chunk of the summed dimension.
template <class T>
struct SddmmTask {
  const std::int32_t* row_offsets = nullptr;
  const std::int32_t* col_indices = nullptr;
  T* values = nullptr;
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
  const T* a = nullptr;  ///< row 0 of A, first column of the chunk
  std::int64_t lda = 0;
  std::int64_t width = 0;    ///< columns of the chunk that A has
  int vectors = 0;           ///< in the chunk, 1 to kChunkVectors
  const T* panel = nullptr;  ///< [n, vectors * lanes] of B at the chunk, zeros past `width`
  bool first = false;        ///< overwrite values; else add to them
  T factor = T(1);           ///< applied to the sum: the scale, in the last chunk
};

/// Some rows of the pattern, over one chunk of the summed dimension and one piece of B's panel. Entries lie row after
/// row, each row's filled up to groups of four.
template <class T>
struct SddmmPieceTask {
  const std::uint16_t* rows = nullptr;    ///< of the piece, by entry; of what fills up any
  const std::uint16_t* counts = nullptr;  ///< [num_rows] entries
  T* sums = nullptr;                      ///< by entry
  std::int64_t num_rows = 0;
  const T* a = nullptr;      ///< [num_rows, vectors * lanes]
  const T* panel = nullptr;  ///< [rows of the piece, vectors * lanes]
  int vectors = 0;
  bool first = false;  ///< overwrite sums; else add to them
};

inline constexpr int kChunkVectors = 8;  ///< a row of A, as wide as a chunk, stays in registers

#define LACUNA_DECLARE(isa)                        \
  namespace isa {                                  \
  template <class T>                               \
  void sddmm_rows(const SddmmTask<T>& task);       \
  template <class T>                               \
  void sddmm_piece(const SddmmPieceTask<T>& task); \
  }
LACUNA_DECLARE(isa_baseline)
LACUNA_DECLARE(isa_avx2)
LACUNA_DECLARE(isa_avx512)
#undef LACUNA_DECLARE

}  // namespace lacuna::kernels
