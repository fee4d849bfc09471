// Selection of whole units: blocks of a matrix, or n of each m consecutive columns.
//   matrix [rows, cols]: the entries of a CSR pattern, or all of them, row-major, where the pattern's arrays are null
//   unit_rows, unit_cols: extents of a unit; units at the lower and right edge may be cut off
//   grid [ceil(rows / unit_rows), ceil(cols / unit_cols)]: one number per unit, row-major
#pragma once

#include <cstdint>

#include "kernels/runtime/views.h"
#include "kernels/topology/topology.h"

namespace lacuna::kernels {

/// out[unit] = sum of the scores stored in it / its entries in the matrix, summed row by row in T on every backend; NaN
/// where nothing is stored.   scores [entries], out [grid]
template <class T>
void unit_scores(CpuStream, const Pattern& matrix, const T* scores, std::int64_t unit_rows, std::int64_t unit_cols,
                 T* out);
template <class T>
void unit_scores(CudaStream, const Pattern& matrix, const T* scores, std::int64_t unit_rows, std::int64_t unit_cols,
                 T* out);

/// keep[entry] = keep_unit[the entry's unit].   keep_unit u8 [grid], keep u8 [entries]
void expand_units(CpuStream, const Pattern& matrix, const std::uint8_t* keep_unit, std::int64_t unit_rows,
                  std::int64_t unit_cols, std::uint8_t* keep);
void expand_units(CudaStream, const Pattern& matrix, const std::uint8_t* keep_unit, std::int64_t unit_rows,
                  std::int64_t unit_cols, std::uint8_t* keep);

/// keep[entry] = 1 for the n best entries of each row's group of m consecutive columns, all of them where fewer are stored,
/// else 0. Ties go to the lower column, NaN ranks below everything.   scores [entries], keep u8 [entries]
template <class T>
void top_n_of_m(CpuStream, const Pattern& matrix, const T* scores, std::int64_t n, std::int64_t m, std::uint8_t* keep);
template <class T>
void top_n_of_m(CudaStream, const Pattern& matrix, const T* scores, std::int64_t n, std::int64_t m, std::uint8_t* keep);

}  // namespace lacuna::kernels
