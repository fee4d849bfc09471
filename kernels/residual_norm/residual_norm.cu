// Residual addition + dropout + layer norm on CUDA: f32, and what residual_norm_cluster.h does not take of bf16. A block
// takes kColumns adjacent columns (64 bytes of f32) of every row. Up to kMostHeld rows are kept in registers as they are
// stored, so each operand is read once; more rows than that are read again. Lanes of a warp run along the columns first:
// kColumns / kVector of them share a row.
//
// A thread reads again only what it wrote itself (r, in the forward kernel), so no barrier guards global memory.
#include <algorithm>
#include <type_traits>

#include "kernels/common/pack.cuh"
#include "kernels/common/reduce.cuh"
#include "kernels/dropout/dropout_rule.cuh"
#include "kernels/residual_norm/residual_norm.h"
#include "kernels/residual_norm/residual_norm_cluster.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::kernels {
namespace {

constexpr int kColumns = 16;
constexpr int kForwardThreads = 256;   // two blocks an SM: one loads while the other stores
constexpr int kBackwardThreads = 512;  // one block an SM: it holds two operands, or three
/// Packs of four two-byte numbers leave registers for a third operand (dr) backward.
template <class T, int kVector>
constexpr bool kIsNarrow = sizeof(T) == 2 && kVector == 4;
constexpr int kMostHeld = 1024;  // rows

template <int kThreads, int kVector>
struct Tile {
  static constexpr int kLanes = kColumns / kVector;  // threads along a row
  static constexpr int kRows = kThreads / kLanes;    // rows at a time
  static constexpr int kWarps = kThreads / kWarp;
  static_assert(kLanes <= kWarp && kWarp % kLanes == 0);
};

// Rows a thread holds when every row of up to `rows` is held.
template <int kThreads, int kVector>
constexpr int held_for(int rows) {
  return (rows + Tile<kThreads, kVector>::kRows - 1) / Tile<kThreads, kVector>::kRows;
}

// Sums `values` over the block's rows, for each of its columns, in a fixed order; every thread gets its columns' sums.
// `shared` is [kCount][warps][kColumns].
template <int kThreads, int kVector, int kCount, class A>
__device__ __forceinline__ void column_sums(A (&values)[kCount][kVector], A* shared) {
  using Layout = Tile<kThreads, kVector>;
  const int lane = threadIdx.x % Layout::kLanes;
  const int warp = threadIdx.x / kWarp;
#pragma unroll
  for (int q = 0; q < kCount; ++q) {
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
#pragma unroll
      for (int offset = Layout::kLanes; offset < kWarp; offset *= 2)
        values[q][v] += __shfl_xor_sync(0xffffffffu, values[q][v], offset);
      if (threadIdx.x % kWarp < Layout::kLanes)
        shared[(q * Layout::kWarps + warp) * kColumns + lane * kVector + v] = values[q][v];
    }
  }
  __syncthreads();
#pragma unroll
  for (int q = 0; q < kCount; ++q) {
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      A sum = 0;
#pragma unroll
      for (int w = 0; w < Layout::kWarps; ++w) sum += shared[(q * Layout::kWarps + w) * kColumns + lane * kVector + v];
      values[q][v] = sum;
    }
  }
  __syncthreads();
}

template <class T, int kVector, int kHeld>
__global__ void __launch_bounds__(kForwardThreads, 2) residual_norm_kernel(const ResidualNorm<T> c) {
  using A = wide_t<T>;
  using Layout = Tile<kForwardThreads, kVector>;
  __shared__ A shared[Layout::kWarps * kColumns];
  const int first_row = threadIdx.x / Layout::kLanes;
  const std::int64_t column = std::int64_t{blockIdx.x} * kColumns + threadIdx.x % Layout::kLanes * kVector;
  const bool inside = column < c.n;  // kVector divides n: all of a pack or none
  constexpr int kSlots = kHeld > 0 ? kHeld : 1;
  Pack<T, kVector> held[kSlots];
  A sums[1][kVector] = {};

  // r of one row: made, written, summed.
  const auto add_row = [&](std::int64_t row, const Pack<T, kVector>& x, const Pack<T, kVector>& h) {
    const std::int64_t at = row * c.n + column;
    const A shift = c.h_bias == nullptr ? A(0) : c.h_bias[row];
    A values[kVector];
#pragma unroll
    for (int v = 0; v < kVector; ++v) values[v] = static_cast<A>(h.v[v]) + shift;
    drop<kVector>(values, at, c.dropout);
    Pack<T, kVector> r;
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      r.v[v] = static_cast<T>(static_cast<A>(x.v[v]) + values[v]);
      sums[0][v] += static_cast<A>(r.v[v]);
    }
    store_pack<kVector>(c.r + at, r);
    return r;
  };
  // f(row, r) for this thread's rows, r from registers or from memory.
  const auto for_rows = [&](auto&& f) {
    if (!inside) return;
    if constexpr (kHeld > 0) {
#pragma unroll
      for (int slot = 0; slot < kHeld; ++slot) {
        const int row = slot * Layout::kRows + first_row;
        if (row < c.f) f(std::int64_t{row}, held[slot]);
      }
    } else {
      for (std::int64_t row = first_row; row < c.f; row += Layout::kRows)
        f(row, load_pack<kVector>(c.r + row * c.n + column));
    }
  };

  if (inside) {
    if constexpr (kHeld > 0) {
      // A load behind a store waits for it, the arrays might be one. So x first, all of it under way at once, into the
      // registers that will hold r; then h, some rows at a time.
      constexpr int kAhead = 4;
      static_assert(kHeld % kAhead == 0);
      const auto row_of = [&](int slot) { return slot * Layout::kRows + first_row; };
#pragma unroll
      for (int slot = 0; slot < kHeld; ++slot)
        if (row_of(slot) < c.f) held[slot] = load_pack<kVector>(c.x + std::int64_t{row_of(slot)} * c.n + column);
#pragma unroll
      for (int first = 0; first < kHeld; first += kAhead) {
        Pack<T, kVector> h[kAhead];
#pragma unroll
        for (int i = 0; i < kAhead; ++i)
          if (row_of(first + i) < c.f) h[i] = load_pack<kVector>(c.h + std::int64_t{row_of(first + i)} * c.n + column);
#pragma unroll
        for (int i = 0; i < kAhead; ++i)
          if (row_of(first + i) < c.f) held[first + i] = add_row(row_of(first + i), held[first + i], h[i]);
      }
    } else {
      for (std::int64_t row = first_row; row < c.f; row += Layout::kRows) {
        const std::int64_t at = row * c.n + column;
        add_row(row, load_pack<kVector>(c.x + at), load_pack<kVector>(c.h + at));
      }
    }
  }
  const A scale = A(1) / static_cast<A>(c.f);
  column_sums<kForwardThreads, kVector>(sums, shared);
  A mean[kVector], rstd[kVector];
#pragma unroll
  for (int v = 0; v < kVector; ++v) mean[v] = sums[0][v] * scale, sums[0][v] = 0;
  for_rows([&](std::int64_t, const Pack<T, kVector>& r) {
#pragma unroll
    for (int v = 0; v < kVector; ++v) {
      const A centred = static_cast<A>(r.v[v]) - mean[v];
      sums[0][v] += centred * centred;
    }
  });
  column_sums<kForwardThreads, kVector>(sums, shared);
#pragma unroll
  for (int v = 0; v < kVector; ++v) rstd[v] = A(1) / sqrt(sums[0][v] * scale + static_cast<A>(c.eps));
  for_rows([&](std::int64_t row, const Pack<T, kVector>& r) {
    const A gain = c.gain[row], bias = c.bias[row];
    Pack<T, kVector> y;
#pragma unroll
    for (int v = 0; v < kVector; ++v)
      y.v[v] = static_cast<T>((static_cast<A>(r.v[v]) - mean[v]) * rstd[v] * gain + bias);
    store_pack<kVector>(c.y + row * c.n + column, y);
  });
  if (first_row != 0 || !inside) return;
#pragma unroll
  for (int v = 0; v < kVector; ++v) c.mean[column + v] = mean[v], c.rstd[column + v] = rstd[v];
}

// Sums of one row over the block's columns: dgain's, dbias's and dh_bias's terms.
template <class A>
struct RowTerms {
  A gain, bias, h_bias;
};

// A block walks tiles blockIdx.x, + gridDim.x, ... and adds up its parameter gradients: partials is [3, f, gridDim.x].
// Held rows keep these sums in registers to the end; otherwise the thread that owns a row adds them up in `partials`.
template <class T, int kVector, int kHeld>
__global__ void __launch_bounds__(kBackwardThreads, 1)
    residual_norm_gradient_kernel(const ResidualNormGradient<T> c, std::int64_t tiles, wide_t<T>* partials) {
  using A = wide_t<T>;
  using Layout = Tile<kBackwardThreads, kVector>;
  __shared__ A shared[2 * Layout::kWarps * kColumns];
  const int first_row = threadIdx.x / Layout::kLanes;
  const int lane = threadIdx.x % Layout::kLanes;
  constexpr int kSlots = kHeld > 0 ? kHeld : 1;
  RowTerms<A> totals[kSlots] = {};
  const A scale = A(1) / static_cast<A>(c.f);

  for (std::int64_t tile = blockIdx.x; tile < tiles; tile += gridDim.x) {
    const std::int64_t column = tile * kColumns + lane * kVector;
    const bool inside = column < c.n;
    constexpr bool kHoldsDr = kHeld > 0 && kIsNarrow<T, kVector>;
    Pack<T, kVector> held_r[kSlots], held_dy[kSlots], held_dr[kHoldsDr ? kSlots : 1];
    A mean[kVector] = {}, rstd[kVector] = {};
    if (inside) {
#pragma unroll
      for (int v = 0; v < kVector; ++v) mean[v] = c.mean[column + v], rstd[v] = c.rstd[column + v];
    }
    const auto xhat = [&](const Pack<T, kVector>& r, int v) { return (static_cast<A>(r.v[v]) - mean[v]) * rstd[v]; };

    A sums[2][kVector] = {};  // of g, of g * xhat
    const auto sum_row = [&](std::int64_t row, const Pack<T, kVector>& r, const Pack<T, kVector>& dy) {
      const A gain = c.gain[row];
#pragma unroll
      for (int v = 0; v < kVector; ++v) {
        const A g = gain * static_cast<A>(dy.v[v]);
        sums[0][v] += g;
        sums[1][v] += g * xhat(r, v);
      }
    };
    if (inside) {
      if constexpr (kHeld > 0) {
#pragma unroll
        for (int slot = 0; slot < kHeld; ++slot) {
          const int row = slot * Layout::kRows + first_row;
          if (row >= c.f) continue;
          const std::int64_t at = std::int64_t{row} * c.n + column;
          held_r[slot] = load_pack<kVector>(c.r + at);
          held_dy[slot] = load_pack<kVector>(c.dy + at);
          // Now: later it would wait behind the stores of dx.
          if constexpr (kHoldsDr) {
            if (c.dr != nullptr) held_dr[slot] = load_pack<kVector>(c.dr + at);
          }
          sum_row(row, held_r[slot], held_dy[slot]);
        }
      } else {
        for (std::int64_t row = first_row; row < c.f; row += Layout::kRows) {
          const std::int64_t at = row * c.n + column;
          sum_row(row, load_pack<kVector>(c.r + at), load_pack<kVector>(c.dy + at));
        }
      }
    }
    column_sums<kBackwardThreads, kVector>(sums, shared);
#pragma unroll
    for (int v = 0; v < kVector; ++v) sums[0][v] *= scale, sums[1][v] *= scale;

    // held: dr where registers hold it.
    const auto finish_row = [&](std::int64_t row, const Pack<T, kVector>& r, const Pack<T, kVector>& dy,
                                [[maybe_unused]] const Pack<T, kVector>& held) {
      const std::int64_t at = row * c.n + column;
      const A gain = c.gain[row];
      RowTerms<A> terms{};
      A dx[kVector];
#pragma unroll
      for (int v = 0; v < kVector; ++v) {
        const A gradient = static_cast<A>(dy.v[v]), normal = xhat(r, v);
        terms.gain += gradient * normal;
        terms.bias += gradient;
        dx[v] = rstd[v] * (gain * gradient - sums[0][v] - normal * sums[1][v]);
      }
      if (c.dr != nullptr) {
        const auto dr = kHoldsDr ? held : load_pack<kVector>(c.dr + at);
#pragma unroll
        for (int v = 0; v < kVector; ++v) dx[v] += static_cast<A>(dr.v[v]);
      }
      Pack<T, kVector> out;
#pragma unroll
      for (int v = 0; v < kVector; ++v) out.v[v] = static_cast<T>(dx[v]), dx[v] = static_cast<A>(out.v[v]);
      store_pack<kVector>(c.dx + at, out);
      if (c.dh != nullptr) {
        drop<kVector>(dx, at, c.dropout);
#pragma unroll
        for (int v = 0; v < kVector; ++v) out.v[v] = static_cast<T>(dx[v]);
        store_pack<kVector>(c.dh + at, out);
      }
#pragma unroll
      for (int v = 0; v < kVector; ++v) terms.h_bias += static_cast<A>(out.v[v]);
      return terms;
    };
    if constexpr (kHeld > 0) {
#pragma unroll
      for (int slot = 0; slot < kHeld; ++slot) {
        const int row = slot * Layout::kRows + first_row;
        if (row >= c.f || !inside) continue;
        const RowTerms<A> terms = finish_row(row, held_r[slot], held_dy[slot], held_dr[kHoldsDr ? slot : 0]);
        totals[slot].gain += terms.gain, totals[slot].bias += terms.bias, totals[slot].h_bias += terms.h_bias;
      }
    } else {
      // Every lane of a warp stays to the end of the loop: the sums along a row are shuffles.
      for (std::int64_t base = 0; base < c.f; base += Layout::kRows) {
        const std::int64_t row = base + first_row;
        RowTerms<A> terms{};
        if (row < c.f && inside) {
          const std::int64_t at = row * c.n + column;
          terms = finish_row(row, load_pack<kVector>(c.r + at), load_pack<kVector>(c.dy + at), held_dr[0]);
        }
#pragma unroll
        for (int offset = Layout::kLanes / 2; offset > 0; offset /= 2) {
          terms.gain += __shfl_xor_sync(0xffffffffu, terms.gain, offset);
          terms.bias += __shfl_xor_sync(0xffffffffu, terms.bias, offset);
          terms.h_bias += __shfl_xor_sync(0xffffffffu, terms.h_bias, offset);
        }
        if (lane != 0 || row >= c.f) continue;
        const bool fresh = tile == blockIdx.x;  // partials hold nothing yet
        A* own = partials + row * gridDim.x + blockIdx.x;
        const std::int64_t plane = c.f * gridDim.x;
        own[0] = fresh ? terms.gain : own[0] + terms.gain;
        own[plane] = fresh ? terms.bias : own[plane] + terms.bias;
        own[2 * plane] = fresh ? terms.h_bias : own[2 * plane] + terms.h_bias;
      }
    }
  }

  if constexpr (kHeld > 0) {
#pragma unroll
    for (int slot = 0; slot < kHeld; ++slot) {
      RowTerms<A> terms = totals[slot];
#pragma unroll
      for (int offset = Layout::kLanes / 2; offset > 0; offset /= 2) {
        terms.gain += __shfl_xor_sync(0xffffffffu, terms.gain, offset);
        terms.bias += __shfl_xor_sync(0xffffffffu, terms.bias, offset);
        terms.h_bias += __shfl_xor_sync(0xffffffffu, terms.h_bias, offset);
      }
      const std::int64_t row = slot * Layout::kRows + first_row;
      if (lane != 0 || row >= c.f) continue;
      A* own = partials + row * gridDim.x + blockIdx.x;
      const std::int64_t plane = c.f * gridDim.x;
      own[0] = terms.gain, own[plane] = terms.bias, own[2 * plane] = terms.h_bias;
    }
  }
}

// The blocks' sums of one row and quantity, in order and in double: a warp each. blockIdx.y picks the quantity.
template <class A>
__global__ void __launch_bounds__(kSumThreads)
    residual_norm_finish_kernel(const A* __restrict__ partials, std::int64_t rows, std::int64_t count, A* dgain,
                                A* dbias, A* dh_bias) {
  A* out = blockIdx.y == 0 ? dgain : blockIdx.y == 1 ? dbias : dh_bias;
  const std::int64_t row = (std::int64_t{blockIdx.x} * kSumThreads + threadIdx.x) / kWarp;
  if (out == nullptr || row >= rows) return;  // whole warps leave
  const int lane = threadIdx.x % kWarp;
  double sum = 0;
  for (std::int64_t i = lane; i < count; i += kWarp) sum += partials[(blockIdx.y * rows + row) * count + i];
  sum = warp_sum(sum);
  if (lane == 0) out[row] = static_cast<A>(sum);
}

// Calls launch(std::integral_constant<int, rows>{}) with the fewest held rows that cover f; 0 past `kMost`.
template <int kMost, class F>
void with_held_rows(std::int64_t f, F&& launch) {
  if (f <= kMost / 4) return launch(std::integral_constant<int, kMost / 4>{});
  if (f <= kMost / 2) return launch(std::integral_constant<int, kMost / 2>{});
  if (f <= kMost) return launch(std::integral_constant<int, kMost>{});
  launch(std::integral_constant<int, 0>{});
}

std::int64_t tiles_of(std::int64_t n) { return (n + kColumns - 1) / kColumns; }

// Blocks of the gradient: as many as run at once. Each leaves one partial sum per parameter.
std::int64_t gradient_blocks(const CudaStream& stream, std::int64_t n) {
  return std::min<std::int64_t>(tiles_of(n), std::max(stream.multiprocessors, 1));
}

}  // namespace

template <class T>
void residual_norm(CudaStream stream, const ResidualNorm<T>& c) {
  if (c.f == 0 || c.n == 0) return;
  if constexpr (std::is_same_v<T, Bf16>) {
    if (residual_norm_by_clusters(stream, c)) return;
  }
  const bool packed = c.n % 4 == 0 && pack_aligned(c.x) && pack_aligned(c.h) && pack_aligned(c.r) && pack_aligned(c.y);
  with_pack(packed, [&](auto vector) {
    with_held_rows<kMostHeld>(c.f, [&](auto rows) {
      constexpr int kVector = decltype(vector)::value;
      residual_norm_kernel<T, kVector, held_for<kForwardThreads, kVector>(decltype(rows)::value)>
          <<<static_cast<unsigned>(tiles_of(c.n)), kForwardThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(c);
    });
  });
  LACUNA_CUDA_LAUNCHED("residual_norm");
}

template <class T>
std::size_t residual_norm_scratch_bytes(CudaStream stream, std::int64_t f, std::int64_t n) {
  const std::size_t bytes = static_cast<std::size_t>(3 * f * gradient_blocks(stream, n)) * sizeof(wide_t<T>);
  return std::is_same_v<T, Bf16> ? std::max(bytes, residual_norm_cluster_scratch_bytes(stream, f, n)) : bytes;
}

template <class T>
void residual_norm_gradient(CudaStream stream, const ResidualNormGradient<T>& c, void* scratch) {
  if (c.f == 0) return;
  if constexpr (std::is_same_v<T, Bf16>) {
    if (residual_norm_gradient_by_clusters(stream, c, scratch)) return;
  }
  const auto handle = static_cast<cudaStream_t>(stream.handle);
  const std::int64_t blocks = gradient_blocks(stream, c.n);
  auto* partials = static_cast<wide_t<T>*>(scratch);
  if (c.n > 0) {
    const bool packed = c.n % 4 == 0 && pack_aligned(c.r) && pack_aligned(c.dy) && pack_aligned(c.dr) &&
                        pack_aligned(c.dx) && pack_aligned(c.dh);
    with_pack(packed, [&](auto vector) {
      constexpr int kVector = decltype(vector)::value;
      // Single numbers need a sum of parameter gradients each: half as many rows fit.
      with_held_rows<kVector == 4 ? kMostHeld : kMostHeld / 2>(c.f, [&](auto rows) {
        residual_norm_gradient_kernel<T, kVector, held_for<kBackwardThreads, kVector>(decltype(rows)::value)>
            <<<static_cast<unsigned>(blocks), kBackwardThreads, 0, handle>>>(c, tiles_of(c.n), partials);
      });
    });
    LACUNA_CUDA_LAUNCHED("residual_norm_gradient");
  }
  const dim3 grid(sum_partials_blocks(c.f), 3);
  residual_norm_finish_kernel<wide_t<T>>
      <<<grid, kSumThreads, 0, handle>>>(partials, c.f, blocks, c.dgain, c.dbias, c.dh_bias);
  LACUNA_CUDA_LAUNCHED("residual_norm_finish");
}

#define LACUNA_INSTANTIATE(T)                                                                  \
  template void residual_norm<T>(CudaStream, const ResidualNorm<T>&);                          \
  template std::size_t residual_norm_scratch_bytes<T>(CudaStream, std::int64_t, std::int64_t); \
  template void residual_norm_gradient<T>(CudaStream, const ResidualNormGradient<T>&, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
