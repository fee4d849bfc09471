// One Adafactor update of a parameter (Shazeer and Stern, Adafactor, ICML 2018, algorithms 4 to 6), in place.
//
// The estimate of a matrix's second moment on a pattern: every row and every column with entries keeps the running mean of
// its entries' squared gradients, R_i and C_j; entry (i, j)'s estimate is
//   v_ij = R_i * C_j / mean of R over the entries of column j.
// For a full matrix this is the paper's R C^T / sum, with means in place of sums. On a pattern the paper's objective (the
// rank-one matrix of least I-divergence, its section 3) has no closed form: it is the fit of a log-linear model with
// structural zeros (quasi-independence; Goodman, JASA 63, 1968), reached by iterative proportional fitting. v is the first
// sweep of that iteration: the columns' means are met exactly, and v is exact where the squares are of rank one and the
// rows' stored columns, or the columns' stored rows, are alike on average. Means, unlike sums, say something of entries
// that come later, so a pattern may change beneath them.
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/optim/optim.h"

namespace lacuna::kernels {

/// Stored entries by rows and by columns. Dense when row_offsets is null: then nnz = rows * cols and nothing else is read.
struct EntryPattern {
  std::int64_t rows = 0, cols = 0, nnz = 0;
  const std::int32_t* row_offsets = nullptr;  ///< [rows + 1]
  const std::int32_t* col_indices = nullptr;  ///< [nnz]
  const std::int32_t* col_offsets = nullptr;  ///< [cols + 1]
  const std::int32_t* row_indices = nullptr;  ///< [nnz]; entry k in column order lies in this row ...
  const std::int32_t* permutation = nullptr;  ///< [nnz]; ... and is value permutation[k]
};

/// Arrays of one parameter; all but grad are overwritten. Either row_means and col_means (factored) or v, not both.
template <class T>
struct AdafactorArrays {
  T* value = nullptr;       ///< [nnz]
  const T* grad = nullptr;  ///< [nnz]
  T* row_means = nullptr;   ///< [rows]; 0 = no entry seen yet
  T* col_means = nullptr;   ///< [cols]
  T* v = nullptr;           ///< [nnz]; 0 = not seen yet
  T* m = nullptr;           ///< [nnz]; null without a first moment
};

struct AdafactorCoefficients {
  double step_size = 0;        ///< rho_t
  double beta1 = 0;            ///< of m
  double beta2 = 0;            ///< of this step: 1 - t^-0.8
  double eps1 = 1e-30;         ///< added to squared gradients
  double eps2 = 1e-3;          ///< least RMS of the values that scales the step
  double clip_threshold = 1;   ///< largest RMS of the update before the step size; 0 = no clipping
  double weight_decay = 0;     ///< decoupled, times the whole step size
  bool scale_by_value = true;  ///< step size times max(eps2, RMS(value))
};

/// Bytes of scratch that adafactor_update needs, 8-byte aligned.
std::size_t adafactor_scratch_bytes(CpuStream, const EntryPattern& pattern, bool factored);
std::size_t adafactor_scratch_bytes(CudaStream, const EntryPattern& pattern, bool factored);

template <class T>
void adafactor_update(CpuStream, const EntryPattern& pattern, const AdafactorArrays<T>& arrays,
                      const AdafactorCoefficients& coefficients, const UpdateGuard<T>& guard, void* scratch);
template <class T>
void adafactor_update(CudaStream, const EntryPattern& pattern, const AdafactorArrays<T>& arrays,
                      const AdafactorCoefficients& coefficients, const UpdateGuard<T>& guard, void* scratch);

}  // namespace lacuna::kernels
