// What sddmm_cpu.cpp hands to the inner loop, and the three builds of that loop.
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
  std::int64_t panel_stride = 0;
  bool first = false;  ///< overwrite values; else add to them
  T factor = T(1);     ///< applied to the sum: the scale, in the last chunk
};

inline constexpr int kChunkVectors = 8;  ///< a row of A, as wide as a chunk, stays in registers

#define LACUNA_DECLARE(isa)                  \
  namespace isa {                            \
  template <class T>                         \
  void sddmm_rows(const SddmmTask<T>& task); \
  }
LACUNA_DECLARE(isa_baseline)
LACUNA_DECLARE(isa_avx2)
LACUNA_DECLARE(isa_avx512)
#undef LACUNA_DECLARE

}  // namespace lacuna::kernels
