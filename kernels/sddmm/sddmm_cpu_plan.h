// Which way SDDMM goes on the CPU (sddmm_cpu_tasks.h): a pure function of the sizes. Both ways give the same bits.
//   m, n: rows and columns of the pattern     k: length of the sums     nnz: entries
#pragma once

#include <cstdint>

namespace lacuna::kernels {

struct SddmmCpuPlan {
  std::int64_t piece = 0;   ///< rows of B's panel in a piece; 0: by whole rows
  std::int64_t pieces = 1;  ///< along n
  double nanoseconds = 0;   ///< predicted, one core of the machine that the model was fitted on
};

/// `chunk` columns of `chunk_bytes` bytes: what a full chunk's row takes.
SddmmCpuPlan plan_sddmm_cpu(std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t nnz, std::int64_t chunk,
                            std::int64_t chunk_bytes);

}  // namespace lacuna::kernels
