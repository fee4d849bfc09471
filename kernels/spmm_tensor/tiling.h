// How the product of spmm_tensor is cut into blocks, and how long that takes. Host code; no device needed.
#pragma once

#include <cstdint>

namespace lacuna::kernels {

/// rows x cols of C per block: 128 x 128, 128 x 64 or 64 x 64.
struct SpmmTensorTiling {
  int rows = 128;
  int cols = 128;
  int splits = 1;  ///< blocks, a cluster, that share a tile's k: 1 to 8, at most k / 64 rounded up (or 1)
};

/// The tiling predicted to be fastest for A [m, k] with nnz entries times B [k, n]. *seconds: the whole product's time,
/// A made dense included; may be null. None of the sizes may be 0.
SpmmTensorTiling choose_spmm_tensor_tiling(std::int64_t m, std::int64_t k, std::int64_t n, std::int64_t nnz,
                                           int multiprocessors, double* seconds = nullptr);

}  // namespace lacuna::kernels
