// The gradient of residual addition + dropout + layer norm of bf16: as many clusters as run at once walk the tiles, and
// load the next while they compute one.
#include <algorithm>

#include "kernels/common/bf16_pack.cuh"
#include "kernels/dropout/word_dropout.cuh"
#include "kernels/residual_norm/cluster_launch.cuh"
#include "kernels/residual_norm/column_cluster.cuh"
#include "kernels/residual_norm/residual_norm_cluster.h"

namespace lacuna::kernels {
namespace {

using GradientTile = ColumnTile<256, 64, 4, 2>;
constexpr int kFinishRows = 32, kFinishParts = 16;

/// A cluster's sums of the parameters' gradients go to partials, [3, clusters, f].
template <class Tile>
__global__ void __launch_bounds__(Tile::kThreads, Tile::kBlocks)
    residual_norm_gradient_cluster_kernel(const ResidualNormGradient<Bf16> c, float* __restrict__ partials) {
#if __CUDA_ARCH__ >= 900
  namespace cg = cooperative_groups;
  constexpr int kTokens = Tile::kTokens, kThreads = Tile::kThreads, kHeld = Tile::kHeld, kArray = Tile::kArrayPacks;
  static_assert(kThreads >= 2 * kTokens);
  extern __shared__ uint4 staged[];  // two stages of r, dy, dr
  __shared__ __align__(16) float warp_sums[2][Tile::kWarps * kTokens];
  __shared__ float of_blocks[2][kMostCluster][2][kTokens];  // sums of g and of g * xhat: a tile's, the next one's
  __shared__ __align__(16) float statistics[4][kTokens];    // rstd, -mean * rstd, mean of g, mean of g * xhat

  auto cluster = cg::this_cluster();
  const int blocks = static_cast<int>(cluster.num_blocks()), rank = static_cast<int>(cluster.block_rank());
  const int row0 = rank * Tile::kBlockRows, rows = rows_of_block<Tile>(c.f, rank);
  const int first_row = threadIdx.x / Tile::kLanes;
  const int own = threadIdx.x % Tile::kLanes * Tile::kVector;
  const WordDropout drop(c.dropout);
  const std::int64_t tiles = (c.n + kTokens - 1) / kTokens, clusters = gridDim.x / blocks;

  const auto row_of = [&](int slot) { return slot * Tile::kRows + first_row; };
  const auto load = [&](std::int64_t tile, uint4* to) {  // nothing past the last tile
    const std::int64_t column = tile * kTokens + own;
    const int own_rows = column < c.n ? rows : 0;  // 8 divides n: all of a pack or none
#pragma unroll
    for (int slot = 0; slot < kHeld; ++slot) {
      if (row_of(slot) < own_rows) {
        const std::int64_t at = (row0 + row_of(slot)) * c.n + column;
        copy_pack_async(to + slot * kThreads, c.r + at);
        copy_pack_async(to + kArray + slot * kThreads, c.dy + at);
        if (c.dr != nullptr) copy_pack_async(to + 2 * kArray + slot * kThreads, c.dr + at);
      }
      commit_copies();
    }
  };
  float next_mean = 0, next_rstd = 0;  // of column threadIdx.x of the tile to come
  const auto load_statistics = [&](std::int64_t tile) {
    const std::int64_t at = tile * kTokens + threadIdx.x;
    if (threadIdx.x >= kTokens) return;
    next_mean = at < c.n ? __ldg(c.mean + at) : 0.0f;
    next_rstd = at < c.n ? __ldg(c.rstd + at) : 0.0f;
  };
  std::int64_t tile = blockIdx.x / blocks;
  load(tile, staged + threadIdx.x);
  load_statistics(tile);
  float gain[kHeld];
#pragma unroll
  for (int slot = 0; slot < kHeld; ++slot)
    gain[slot] = row_of(slot) < rows ? __ldg(c.gain + row0 + row_of(slot)) : 0.0f;
  float of_gain[kHeld] = {}, of_bias[kHeld] = {}, of_h_bias[kHeld] = {};
  cluster.sync();  // nobody writes to a block that has not begun

  for (int stage = 0; tile < tiles; tile += clusters, stage ^= 1) {
    uint4* const r = staged + threadIdx.x + stage * 3 * kArray;
    uint4* const dy = r + kArray;
    uint4* const dr = dy + kArray;
    load(tile + clusters, staged + threadIdx.x + (stage ^ 1) * 3 * kArray);
    const std::int64_t column = tile * kTokens + own;
    const int own_rows = column < c.n ? rows : 0;
    if (threadIdx.x < kTokens) {
      statistics[0][threadIdx.x] = next_rstd;
      statistics[1][threadIdx.x] = -next_mean * next_rstd;
    }
    load_statistics(tile + clusters);
    __syncthreads();
    float rstd[8], shift[8];
    read_eight(statistics[0] + own, rstd);
    read_eight(statistics[1] + own, shift);

    float sum_g[8] = {}, sum_gx[8] = {};
#pragma unroll
    for (int slot = 0; slot < kHeld; ++slot) {
      wait_copies<2 * kHeld - 1>(2 * kHeld - 1 - slot);
      if (row_of(slot) >= own_rows) continue;
      float normal[8], gradient[8];
      unpack_bf16(r[slot * kThreads], normal);
      unpack_bf16(dy[slot * kThreads], gradient);
#pragma unroll
      for (int v = 0; v < 8; ++v) {
        const float g = gain[slot] * gradient[v];
        sum_g[v] += g;
        sum_gx[v] += g * (normal[v] * rstd[v] + shift[v]);
      }
    }
    store_warp_sums<Tile>(sum_g, warp_sums[0]);
    store_warp_sums<Tile>(sum_gx, warp_sums[1]);
    __syncthreads();
    auto& of_block = of_blocks[stage];  // the others may be one tile ahead, not two
    {
      constexpr int kSums = 2 * kTokens;
      const int q = threadIdx.x / kTokens % 2, token = threadIdx.x % kTokens;
      const float mine = sum_of_warps<Tile>(warp_sums[q], token);
      for (int to = threadIdx.x / kSums; to < blocks; to += kThreads / kSums)
        *cluster.map_shared_rank(&of_block[rank][q][token], to) = mine;
    }
    cluster.sync();
    if (threadIdx.x < 2 * kTokens) {
      const int q = threadIdx.x / kTokens, token = threadIdx.x % kTokens;
      float sum = 0;
      for (int b = 0; b < blocks; ++b) sum += of_block[b][q][token];
      statistics[2 + q][token] = sum * (1.0f / static_cast<float>(c.f));
    }
    __syncthreads();
    float mean_g[8], mean_gx[8];
    read_eight(statistics[2] + own, mean_g);
    read_eight(statistics[3] + own, mean_gx);

#pragma unroll
    for (int slot = 0; slot < kHeld; ++slot) {
      if (row_of(slot) >= own_rows) continue;
      const std::int64_t at = (row0 + row_of(slot)) * c.n + column;
      float dx[8], gradient[8];
      unpack_bf16(r[slot * kThreads], dx);
      unpack_bf16(dy[slot * kThreads], gradient);
#pragma unroll
      for (int v = 0; v < 8; ++v) {
        const float normal = dx[v] * rstd[v] + shift[v];
        of_gain[slot] += gradient[v] * normal;
        of_bias[slot] += gradient[v];
        dx[v] = rstd[v] * (gain[slot] * gradient[v] - mean_g[v] - normal * mean_gx[v]);
      }
      if (c.dr != nullptr) {
        unpack_bf16(dr[slot * kThreads], gradient);
#pragma unroll
        for (int v = 0; v < 8; ++v) dx[v] += gradient[v];
      }
      uint4 out = pack_bf16(dx);
      *reinterpret_cast<uint4*>(c.dx + at) = out;
      unpack_bf16(out, dx);
      if (c.dh != nullptr) {
        drop(dx, at);
        out = pack_bf16(dx);
        *reinterpret_cast<uint4*>(c.dh + at) = out;
        unpack_bf16(out, dx);
      }
#pragma unroll
      for (int v = 0; v < 8; ++v) of_h_bias[slot] += dx[v];
    }
  }

  const float totals[3] = {sum_of_lanes<Tile::kLanes>(of_gain), sum_of_lanes<Tile::kLanes>(of_bias),
                           sum_of_lanes<Tile::kLanes>(of_h_bias)};
  const int slot = threadIdx.x % Tile::kLanes;
  if (slot >= kHeld || row_of(slot) >= rows) return;
#pragma unroll
  for (int q = 0; q < 3; ++q) partials[(q * clusters + blockIdx.x / blocks) * c.f + row0 + row_of(slot)] = totals[q];
#endif
}

/// Sums the clusters' partials of a row and quantity, in a fixed order and in double. Grid: (rows / kFinishRows, 3).
__global__ void __launch_bounds__(kFinishRows* kFinishParts)
    residual_norm_clusters_kernel(const float* __restrict__ partials, std::int64_t rows, std::int64_t clusters,
                                  float* dgain, float* dbias, float* dh_bias) {
  __shared__ double sums[kFinishParts][kFinishRows];
  float* out = blockIdx.y == 0 ? dgain : blockIdx.y == 1 ? dbias : dh_bias;
  if (out == nullptr) return;  // all of the block
  const std::int64_t row = std::int64_t{blockIdx.x} * kFinishRows + threadIdx.x;
  double sum = 0;
  if (row < rows) {
    for (std::int64_t i = threadIdx.y; i < clusters; i += kFinishParts)
      sum += partials[(blockIdx.y * clusters + i) * rows + row];
  }
  sums[threadIdx.y][threadIdx.x] = sum;
  __syncthreads();
  if (threadIdx.y != 0 || row >= rows) return;
  sum = 0;
#pragma unroll
  for (int i = 0; i < kFinishParts; ++i) sum += sums[i][threadIdx.x];
  out[row] = static_cast<float>(sum);
}

/// No more clusters than this are launched.
std::int64_t most_clusters(CudaStream stream, std::int64_t f, std::int64_t n) {
  using Tile = GradientTile;
  const std::int64_t tiles = (n + Tile::kTokens - 1) / Tile::kTokens;
  const int blocks = std::max(cluster_blocks<Tile>(f), 1);
  return std::min<std::int64_t>(tiles, std::max(Tile::kBlocks * stream.multiprocessors / blocks, 1));
}

}  // namespace

bool residual_norm_gradient_by_clusters(CudaStream stream, const ResidualNormGradient<Bf16>& c, void* scratch) {
  using Tile = GradientTile;
  const int blocks = cluster_blocks<Tile>(c.f);
  const auto kernel = residual_norm_gradient_cluster_kernel<Tile>;
  if (c.f == 0 || c.n == 0 || blocks == 0) return false;
  if (!whole_packs(c.n, {c.r, c.dy, c.dr, c.dx, c.dh}) || !runs_clusters(kernel)) return false;
  constexpr std::size_t kBytes = 2 * 3 * Tile::kArrayPacks * sizeof(uint4);
  LACUNA_CUDA_CHECK(cudaFuncSetAttribute(kernel, cudaFuncAttributeMaxDynamicSharedMemorySize, int{kBytes}));
  ClusterLaunch launch(stream, blocks, Tile::kThreads, kBytes);
  const std::int64_t most = most_clusters(stream, c.f, c.n);
  int at_once = 0;  // less than `most` where the multiprocessors do not divide into clusters
  LACUNA_CUDA_CHECK(cudaOccupancyMaxActiveClusters(&at_once, kernel, &launch.of(most)));
  if (at_once < 1) return false;
  // The fewest clusters that take no more rounds: all of them as many tiles, or one less.
  const std::int64_t tiles = (c.n + Tile::kTokens - 1) / Tile::kTokens, running = std::min<std::int64_t>(most, at_once);
  const std::int64_t rounds = (tiles + running - 1) / running, clusters = (tiles + rounds - 1) / rounds;
  auto* partials = static_cast<float*>(scratch);
  LACUNA_CUDA_CHECK(cudaLaunchKernelEx(&launch.of(clusters), kernel, c, partials));
  const dim3 grid(static_cast<unsigned>((c.f + kFinishRows - 1) / kFinishRows), 3);
  residual_norm_clusters_kernel<<<grid, dim3(kFinishRows, kFinishParts), 0, static_cast<cudaStream_t>(stream.handle)>>>(
      partials, c.f, clusters, c.dgain, c.dbias, c.dh_bias);
  LACUNA_CUDA_LAUNCHED("residual_norm_clusters");
  return true;
}

std::size_t residual_norm_cluster_scratch_bytes(CudaStream stream, std::int64_t f, std::int64_t n) {
  return static_cast<std::size_t>(3 * f * most_clusters(stream, f, n)) * sizeof(float);
}

}  // namespace lacuna::kernels
