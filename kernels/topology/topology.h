// Building and rebuilding CSR patterns on the device they live on. All index arrays are i32; all results deterministic.
// Functions that need scratch take it from the caller: `scratch` of at least `*_scratch_bytes`.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// row_offsets[r + 1] = entries in row r and the rows before it; row_offsets[0] = 0. mask u8 [rows, cols]. Counted in i64
/// first: returns the total (waits for the device), and the caller refuses more than 2^31 - 1.
std::size_t mask_offsets_scratch_bytes(CpuStream, std::int64_t rows, std::int64_t cols);
std::size_t mask_offsets_scratch_bytes(CudaStream, std::int64_t rows, std::int64_t cols);
std::int64_t mask_offsets(CpuStream, const std::uint8_t* mask, std::int64_t rows, std::int64_t cols,
                          std::int32_t* row_offsets, void* scratch);
std::int64_t mask_offsets(CudaStream, const std::uint8_t* mask, std::int64_t rows, std::int64_t cols,
                          std::int32_t* row_offsets, void* scratch);
/// col_indices of a mask's nonzero bytes, given its offsets.
void mask_columns(CpuStream, const std::uint8_t* mask, std::int64_t rows, std::int64_t cols,
                  const std::int32_t* row_offsets, std::int32_t* col_indices);
void mask_columns(CudaStream, const std::uint8_t* mask, std::int64_t rows, std::int64_t cols,
                  const std::int32_t* row_offsets, std::int32_t* col_indices);

/// The same two steps for a subset of an existing pattern: keep u8 [nnz].
std::size_t subset_offsets_scratch_bytes(CpuStream, std::int64_t rows, std::int64_t nnz);
std::size_t subset_offsets_scratch_bytes(CudaStream, std::int64_t rows, std::int64_t nnz);
std::int64_t subset_offsets(CpuStream, const std::uint8_t* keep, std::int64_t rows, std::int64_t nnz,
                            const std::int32_t* row_offsets, std::int32_t* new_offsets, void* scratch);
std::int64_t subset_offsets(CudaStream, const std::uint8_t* keep, std::int64_t rows, std::int64_t nnz,
                            const std::int32_t* row_offsets, std::int32_t* new_offsets, void* scratch);
void subset_columns(CpuStream, const std::uint8_t* keep, std::int64_t rows, const std::int32_t* row_offsets,
                    const std::int32_t* col_indices, const std::int32_t* new_offsets, std::int32_t* new_columns);
void subset_columns(CudaStream, const std::uint8_t* keep, std::int64_t rows, const std::int32_t* row_offsets,
                    const std::int32_t* col_indices, const std::int32_t* new_offsets, std::int32_t* new_columns);

/// row_indices[i] = row of entry i.
void expand_rows(CpuStream, std::int64_t rows, std::int64_t nnz, const std::int32_t* row_offsets,
                 std::int32_t* row_indices);
void expand_rows(CudaStream, std::int64_t rows, std::int64_t nnz, const std::int32_t* row_offsets,
                 std::int32_t* row_indices);

/// order [rows]: longest row first, ties by index (the paper's row swizzle, section V-C).
std::size_t row_order_scratch_bytes(CpuStream, std::int64_t rows);
std::size_t row_order_scratch_bytes(CudaStream, std::int64_t rows);
void row_order(CpuStream, std::int64_t rows, const std::int32_t* row_offsets, std::int32_t* order, void* scratch);
void row_order(CudaStream, std::int64_t rows, const std::int32_t* row_offsets, std::int32_t* order, void* scratch);

/// bounds [rows, shares + 1]: entries [bounds[r][s], bounds[r][s + 1]) of row r are those in the s-th of `shares` equal
/// pieces of the columns, ceil(cols / shares) each.
void row_shares(CpuStream, std::int64_t rows, std::int64_t cols, int shares, const std::int32_t* row_offsets,
                const std::int32_t* col_indices, std::int32_t* bounds);
void row_shares(CudaStream, std::int64_t rows, std::int64_t cols, int shares, const std::int32_t* row_offsets,
                const std::int32_t* col_indices, std::int32_t* bounds);

/// Pattern of the transpose and the permutation of values: t.values[i] = values[permutation[i]]. Rows of the transpose
/// keep the original's row order, so columns ascend.
std::size_t transpose_scratch_bytes(CpuStream, std::int64_t rows, std::int64_t cols, std::int64_t nnz);
std::size_t transpose_scratch_bytes(CudaStream, std::int64_t rows, std::int64_t cols, std::int64_t nnz);
void transpose_pattern(CpuStream, std::int64_t rows, std::int64_t cols, std::int64_t nnz,
                       const std::int32_t* row_offsets, const std::int32_t* col_indices, std::int32_t* t_offsets,
                       std::int32_t* t_columns, std::int32_t* permutation, void* scratch);
void transpose_pattern(CudaStream, std::int64_t rows, std::int64_t cols, std::int64_t nnz,
                       const std::int32_t* row_offsets, const std::int32_t* col_indices, std::int32_t* t_offsets,
                       std::int32_t* t_columns, std::int32_t* permutation, void* scratch);

/// map[i] = position in `from` of entry i of `to` (same shape), or -1 where `from` lacks it. A null `from` is the full matrix
/// (positions row * cols + col, checked by the caller to fit i32).
struct Pattern {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t nnz = 0;
  const std::int32_t* row_offsets = nullptr;
  const std::int32_t* col_indices = nullptr;
};
void map_positions(CpuStream, const Pattern* from, const Pattern& to, std::int32_t* map);
void map_positions(CudaStream, const Pattern* from, const Pattern& to, std::int32_t* map);

/// out[b, i] = index[i] < 0 ? 0 : values[b, index[i]].   values [batch, num_values], out [batch, num_index]
template <class T>
void gather_or_zero(CpuStream, const T* values, std::int64_t num_values, const std::int32_t* index,
                    std::int64_t num_index, std::int64_t batch, T* out);
template <class T>
void gather_or_zero(CudaStream, const T* values, std::int64_t num_values, const std::int32_t* index,
                    std::int64_t num_index, std::int64_t batch, T* out);

/// Dense [rows, cols] from sparse, absent entries 0 (out is overwritten wholly); and the reverse, dense sampled at a pattern.
template <class T>
void densify(CpuStream, const Csr<const T>& a, const Dense<T>& out);
template <class T>
void densify(CudaStream, const Csr<const T>& a, const Dense<T>& out);
template <class T>
void sample(CpuStream, const Dense<const T>& a, const Csr<T>& out);
template <class T>
void sample(CudaStream, const Dense<const T>& a, const Csr<T>& out);

}  // namespace lacuna::kernels
