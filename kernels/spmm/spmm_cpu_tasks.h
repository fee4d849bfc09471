// What spmm_cpu.cpp hands to the inner loop, and the three builds of that loop.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

/// Some rows of C, over one slab (a few adjacent columns) of B.
template <class T>
struct SpmmTask {
  const std::int32_t* row_offsets = nullptr;
  const std::int32_t* col_indices = nullptr;
  const T* values = nullptr;
  std::int64_t row_begin = 0;
  std::int64_t row_end = 0;
  const T* slab = nullptr;  ///< [k, vectors * lanes], row j at slab + j * slab_stride; columns past `width` are padding
  std::int64_t slab_stride = 0;
  int vectors = 0;         ///< in a slab's row, 1 to kSlabVectors
  std::int64_t width = 0;  ///< columns of the slab that C has
  T* c = nullptr;          ///< first row of C, first column of the slab
  std::int64_t ldc = 0;
  const T* bias = nullptr;  ///< [m] or null
  bool relu = false;
};

inline constexpr int kSlabVectors = 4;  ///< with two or four chains each (spmm_cpu_inner.h), half of the registers

#define LACUNA_DECLARE(isa)                \
  namespace isa {                          \
  template <class T>                       \
  void spmm_rows(const SpmmTask<T>& task); \
  }
LACUNA_DECLARE(isa_baseline)
LACUNA_DECLARE(isa_avx2)
LACUNA_DECLARE(isa_avx512)
#undef LACUNA_DECLARE

}  // namespace lacuna::kernels
