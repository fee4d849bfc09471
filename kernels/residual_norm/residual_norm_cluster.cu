// Residual addition + dropout + layer norm of bf16: one cluster a tile, five blocks a multiprocessor, which take turns at
// loading and storing.
#include "kernels/common/bf16_pack.cuh"
#include "kernels/dropout/word_dropout.cuh"
#include "kernels/residual_norm/cluster_launch.cuh"
#include "kernels/residual_norm/column_cluster.cuh"
#include "kernels/residual_norm/residual_norm_cluster.h"

namespace lacuna::kernels {
namespace {

using ForwardTile = ColumnTile<256, 64, 4, 5>;

/// Without a branch r is x, and only y and the statistics are written.
template <class Tile, bool kBranch>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    residual_norm_cluster_kernel(const ResidualNorm<Bf16> c) {
#if __CUDA_ARCH__ >= 900
  namespace cg = cooperative_groups;
  constexpr int kTokens = Tile::kTokens, kThreads = Tile::kThreads, kHeld = Tile::kHeld;
  extern __shared__ uint4 staged[];  // x, then r; h
  __shared__ __align__(16) float warp_sums[Tile::kWarps * kTokens];
  __shared__ __align__(16) float means[kTokens];
  __shared__ __align__(16) float rstds[kTokens];
  __shared__ float2 of_block[kMostCluster][kTokens];  // mean of a block's rows, and their squares about it

  auto cluster = cg::this_cluster();
  const int blocks = static_cast<int>(cluster.num_blocks()), rank = static_cast<int>(cluster.block_rank());
  auto started = cluster.barrier_arrive();
  const std::int64_t first_column = std::int64_t{blockIdx.x / blocks} * kTokens;
  const int own = threadIdx.x % Tile::kLanes * Tile::kVector;
  const std::int64_t column = first_column + own;
  const int row0 = rank * Tile::kBlockRows, rows = rows_of_block<Tile>(c.f, rank);
  const int first_row = threadIdx.x / Tile::kLanes;
  const int own_rows = column < c.n ? rows : 0;  // 8 divides n: all of a pack or none
  uint4* const x = staged + threadIdx.x;
  uint4* const h = x + Tile::kArrayPacks;

#pragma unroll
  for (int slot = 0; slot < kHeld; ++slot) {
    const int row = slot * Tile::kRows + first_row;
    if (row < own_rows) {
      const std::int64_t at = (row0 + row) * c.n + column;
      copy_pack_async(x + slot * kThreads, c.x + at);
      if constexpr (kBranch) copy_pack_async(h + slot * kThreads, c.h + at);
    }
    commit_copies();
  }
  [[maybe_unused]] const WordDropout drop(c.dropout);
  float sums[8] = {};
#pragma unroll
  for (int slot = 0; slot < kHeld; ++slot) {
    const int row = slot * Tile::kRows + first_row;
    wait_copies<kHeld - 1>(kHeld - 1 - slot);
    if (row >= own_rows) continue;
    float stream[8];
    unpack_bf16(x[slot * kThreads], stream);
    if constexpr (kBranch) {
      const std::int64_t at = (row0 + row) * c.n + column;
      const float shift = c.h_bias == nullptr ? 0.0f : __ldg(c.h_bias + row0 + row);
      float branch[8];
      unpack_bf16(h[slot * kThreads], branch);
#pragma unroll
      for (int v = 0; v < 8; ++v) branch[v] += shift;
      drop(branch, at);
#pragma unroll
      for (int v = 0; v < 8; ++v) stream[v] += branch[v];
      const uint4 r = pack_bf16(stream);
      *reinterpret_cast<uint4*>(c.r + at) = r;
      x[slot * kThreads] = r;
      unpack_bf16(r, stream);
    }
#pragma unroll
    for (int v = 0; v < 8; ++v) sums[v] += stream[v];
  }

  // The block's mean and the squares about it, then the cluster's: one exchange, and no cancellation.
  store_warp_sums<Tile>(sums, warp_sums);
  __syncthreads();
  if (threadIdx.x < kTokens)
    means[threadIdx.x] = sum_of_warps<Tile>(warp_sums, threadIdx.x) / static_cast<float>(max(rows, 1));
  __syncthreads();
  float mean[8], rstd[8];
  read_eight(means + own, mean);
#pragma unroll
  for (int v = 0; v < 8; ++v) sums[v] = 0;
#pragma unroll
  for (int slot = 0; slot < kHeld; ++slot) {
    if (slot * Tile::kRows + first_row >= own_rows) continue;
    float r[8];
    unpack_bf16(x[slot * kThreads], r);
#pragma unroll
    for (int v = 0; v < 8; ++v) {
      const float centred = r[v] - mean[v];
      sums[v] += centred * centred;
    }
  }
  store_warp_sums<Tile>(sums, warp_sums);
  __syncthreads();
  cluster.barrier_wait(std::move(started));  // nobody writes to a block that has not begun
  {
    const int token = threadIdx.x % kTokens;
    const float2 mine = make_float2(means[token], sum_of_warps<Tile>(warp_sums, token));
    for (int to = threadIdx.x / kTokens; to < blocks; to += kThreads / kTokens)
      *cluster.map_shared_rank(&of_block[rank][token], to) = mine;
  }
  cluster.sync();  // the last word between blocks: they may leave from here on
  if (threadIdx.x < kTokens) {
    float all = 0, square = 0;
    const auto count = [&](int block) { return static_cast<float>(rows_of_block<Tile>(c.f, block)); };
    const float scale = 1.0f / static_cast<float>(c.f);
    for (int b = 0; b < blocks; ++b) all += count(b) * of_block[b][threadIdx.x].x;
    all *= scale;
    for (int b = 0; b < blocks; ++b) {
      const float2 part = of_block[b][threadIdx.x];
      square += part.y + count(b) * (part.x - all) * (part.x - all);
    }
    const float factor = 1.0f / sqrtf(square * scale + static_cast<float>(c.eps));
    means[threadIdx.x] = all, rstds[threadIdx.x] = factor;
    const std::int64_t at = first_column + threadIdx.x;
    if (rank == 0 && at < c.n) c.mean[at] = all, c.rstd[at] = factor;
  }
  __syncthreads();
  read_eight(means + own, mean);
  read_eight(rstds + own, rstd);
#pragma unroll
  for (int slot = 0; slot < kHeld; ++slot) {
    const int row = slot * Tile::kRows + first_row;
    if (row >= own_rows) continue;
    const float gain = __ldg(c.gain + row0 + row), bias = __ldg(c.bias + row0 + row);
    float y[8];
    unpack_bf16(x[slot * kThreads], y);
#pragma unroll
    for (int v = 0; v < 8; ++v) y[v] = (y[v] - mean[v]) * rstd[v] * gain + bias;
    *reinterpret_cast<uint4*>(c.y + (row0 + row) * c.n + column) = pack_bf16(y);
  }
#endif
}

}  // namespace

bool residual_norm_by_clusters(CudaStream stream, const ResidualNorm<Bf16>& c) {
  using Tile = ForwardTile;
  const int blocks = cluster_blocks<Tile>(c.f);
  const auto kernel =
      c.h == nullptr ? residual_norm_cluster_kernel<Tile, false> : residual_norm_cluster_kernel<Tile, true>;
  const std::int64_t tiles = (c.n + Tile::kTokens - 1) / Tile::kTokens;
  if (c.f == 0 || c.n == 0 || blocks == 0 || tiles * blocks > 0x7fffffff) return false;
  if (!whole_packs(c.n, {c.x, c.h, c.r, c.y}) || !runs_clusters(kernel)) return false;
  constexpr std::size_t kBytes = 2 * Tile::kArrayPacks * sizeof(uint4);
  LACUNA_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int{kBytes}));
  ClusterLaunch launch(stream, blocks, Tile::kThreads, kBytes);
  LACUNA_CUDA_CHECK(cudaLaunchKernelEx(&launch.of(tiles), kernel, c));
  return true;
}

}  // namespace lacuna::kernels
