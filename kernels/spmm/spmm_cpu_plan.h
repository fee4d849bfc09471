// Which way SpMM goes on the CPU (spmm_cpu_tasks.h): a pure function of the sizes, never of the number of threads,
// since the way sets the order of sums.
//   m, k, n: rows of A, columns of A, columns of B and C     nnz: entries of A
#pragma once

#include <cstdint>

namespace lacuna::kernels {

struct SpmmCpuPlan {
  std::int64_t piece = 0;   ///< columns of A in a piece; 0: by whole rows
  std::int64_t pieces = 1;  ///< along k
  double nanoseconds = 0;   ///< predicted, one core of the machine that the model was fitted on
};

/// `slab` columns of `slab_bytes` bytes: what a full slab's row takes.
SpmmCpuPlan plan_spmm_cpu(std::int64_t m, std::int64_t k, std::int64_t n, std::int64_t nnz, std::int64_t slab,
                          std::int64_t slab_bytes);

}  // namespace lacuna::kernels
