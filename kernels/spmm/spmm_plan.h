// Which CUDA kernel multiplies a sparse matrix, and in what tiling: a pure function of the sizes. No CUDA in here.
//   m, k, n: rows of A, columns of A, columns of B and C     nnz: entries of A
#pragma once

#include <cstdint>

namespace lacuna::kernels {

enum class SpmmKernel : std::uint8_t {
  row,    ///< B through L1, one row of C a subwarp (spmm.cu)
  panel,  ///< the block's share of B stays in shared memory (spmm_panel.cuh)
};

struct SpmmPlan {
  SpmmKernel kernel = SpmmKernel::row;
  // The panel kernel's tiling.
  int tile = 32;       ///< columns of C a block makes: 32 or 64
  int warps = 16;      ///< of a block: 16, or 32 with a tile of 64
  int split = 1;       ///< blocks of a cluster that share K: 1, 2, 4 or 8
  int parts = 1;       ///< subwarps that share a row: 1, 2 or 4
  int row_blocks = 1;  ///< blocks (or clusters) that share the rows
};

struct SpmmShape {
  std::int64_t m = 0, k = 0, n = 0, nnz = 0, batch = 1;
  int multiprocessors = 132;
  bool vector = true;  ///< B and C allow 16-byte reads and writes
};

constexpr std::int64_t kMaxSharedBytes = 232448;  // that one block can have: 227 KB, compute capability 9.0

/// The fastest of the kernels on the shapes of docs/kernels/spmm.md, within 3 % in the geometric mean. For compute
/// capability 9.0. can_run holds for what it returns.
SpmmPlan plan_spmm(const SpmmShape& shape);

/// Whether the kernels can carry out this plan: a tiling that exists, shared memory that suffices.
bool can_run(const SpmmPlan& plan, const SpmmShape& shape);

/// Of a panel plan: rows of B in a block's panel; rows of A that a subwarp takes in turn; bytes of a block's shared
/// memory.
std::int64_t panel_share(const SpmmPlan& plan, const SpmmShape& shape);
std::int64_t panel_rounds(const SpmmPlan& plan, const SpmmShape& shape);
std::int64_t panel_shared_bytes(const SpmmPlan& plan, const SpmmShape& shape);

}  // namespace lacuna::kernels
