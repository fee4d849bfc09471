// Which CUDA kernel multiplies a sparse matrix, and in what tiling: a pure function of the sizes. No CUDA in here.
//   m, k, n: rows of A, columns of A, columns of B and C     nnz: entries of A
#pragma once

#include <cstdint>

namespace lacuna::kernels {

enum class SpmmKernel : std::uint8_t {
  row,     ///< B through L1, one row of C a subwarp (spmm.cu)
  panel,   ///< the block's share of B stays in shared memory (spmm_panel.cuh)
  direct,  ///< B through L1, a warp or several a row, for few entries (spmm_direct.cuh)
};

struct SpmmPlan {
  SpmmKernel kernel = SpmmKernel::row;
  // The tiling of panel and direct; can_run names the combinations there are.
  int tile = 32;   ///< columns of C a block makes: 32, 64 or 128
  int warps = 16;  ///< of a block: 8, 16 or 32
  /// 1, 2, 4 or 8. panel: blocks of a cluster that share K; above 1 it needs Csr::row_shares. direct: warps of a block
  /// that share a row's entries.
  int split = 1;
  int row_blocks = 1;  ///< blocks (or clusters) that share the rows
  double seconds = 0;  ///< predicted for an H100, by plan_spmm
};

struct SpmmShape {
  std::int64_t m = 0, k = 0, n = 0, nnz = 0, batch = 1;
  int multiprocessors = 132;
};

constexpr int kRowShares = 8;     // equal shares of K that Csr::row_shares bounds
constexpr int kPanelStage = 64;   // entries that a warp of the panel kernel stages at a time; it has two stages
constexpr int kPanelRounds = 32;  // most rows that a warp takes
constexpr std::int64_t kMaxSharedBytes = 232448;  // that one block can have: 227 KB, compute capability 9.0

/// The kernel and tiling that models of their times, fitted to one H100 (docs/kernels/spmm.md), find fastest. For compute capability 9.0. can_run holds for what it returns.
SpmmPlan plan_spmm(const SpmmShape& shape);

/// Predicted for the row kernel on an H100, within 30 % or so.
double spmm_row_seconds(const SpmmShape& shape);

/// Whether the kernels can carry out this plan: a tiling that exists, shared memory that suffices.
bool can_run(const SpmmPlan& plan, const SpmmShape& shape);

/// Of a panel plan: rows of B in a block's panel; rows of A that a warp takes in turn; bytes of a block's shared memory.
std::int64_t panel_share(const SpmmPlan& plan, const SpmmShape& shape);
std::int64_t panel_rounds(const SpmmPlan& plan, const SpmmShape& shape);
std::int64_t panel_shared_bytes(const SpmmPlan& plan, const SpmmShape& shape);

}  // namespace lacuna::kernels
