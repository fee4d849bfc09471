// Which kernel runs a product with a sparse operand: the sparse one, or dense math on a transient scratch.
//
// The choice is a pure function of the problem, by a model fitted to measurements: never timed at run time, so a run
// repeats bit for bit, and never a bet, since below some sparsity dense math is faster on every machine.
#pragma once

#include <cstdint>
#include <string>

#include "core/device.h"
#include "core/dtype.h"
#include "core/kernel_set.h"

namespace lacuna {

enum class Route : std::uint8_t {
  sparse,  ///< the sparse kernel
  tensor,  ///< tensor cores, f32-accurate (sddmm also TF32; core/ops/tensor_core.h); where they refuse, the sparse kernel
  half,    ///< TF32 by way of scaled f16 copies (core/ops/half_product.h); where these refuse, the dense route
  dense,  ///< spmm: densify, dense product.  sddmm: dense product, sample.  The scratch dies with the call.
};

/// An SpMM or SDDMM with a sparse [rows, cols] operand (or result) of nnz entries and a dense inner or outer extent.
struct ProductShape {
  Device device;
  DType dtype = DType::f32;
  MatmulPrecision precision = MatmulPrecision::highest;  ///< of the device
  std::int64_t rows = 0;                                 ///< m of spmm, m of sddmm
  std::int64_t cols = 0;                                 ///< k of spmm, n of sddmm
  std::int64_t nnz = 0;
  std::int64_t other = 0;  ///< n of spmm (columns of B), k of sddmm (the sum's length)
  std::int64_t batch = 1;
  bool shared_values = false;  ///< spmm: one set of values for the whole batch
  KernelSet kernels = {};      ///< of the device
};

struct Choice {
  Route route = Route::sparse;
  double sparse_seconds = 0;  ///< predicted; on the CPU for the one machine the model was fitted on
  double dense_seconds = 0;
  double tensor_seconds = 0;  ///< infinite where the tensor-core kernels do not apply
  double half_seconds = 0;    ///< infinite but for TF32 on CUDA
  std::string reason;         ///< one clause
};

Choice choose_spmm(const ProductShape& problem);
Choice choose_sddmm(const ProductShape& problem);

/// Whether SDDMM's sparse route goes by groups of entries (kernels/sddmm/sddmm_groups.h) rather than by rows. CUDA alone.
bool sddmm_by_groups(const ProductShape& problem);

/// "densify + matmul: sparsity 0.500, predicted 130 us sparse, 41 us dense", for plans and logs. op: "spmm" or "sddmm".
std::string explain_choice(const char* op, const ProductShape& problem);

}  // namespace lacuna
