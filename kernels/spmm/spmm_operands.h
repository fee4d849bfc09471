// What the panel and the direct kernel are given: C [m, n] = A [m, k] B [k, n] and its epilogue.
#pragma once

#include <cstdint>

#include "kernels/runtime/views.h"

namespace lacuna::kernels {

struct SpmmOperands {
  const std::int32_t* row_offsets;
  const std::int32_t* row_shares;  // for panels of a part of K
  const std::int32_t* col_indices;
  const float* values;
  const std::int32_t* row_order;
  const float* b;
  float* c;
  const float* bias;
  std::int64_t values_stride, b_stride, c_stride;  // elements between matrices of the batch
  std::int64_t b_ld, c_ld;
  std::int64_t m, batch;
  int k, n;
  bool settled;  // Csr::settled
  Activation activation;
};

}  // namespace lacuna::kernels
