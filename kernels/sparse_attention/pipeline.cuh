// A ring of windows in shared memory: a warpgroup has rows staged by the copy engine, and slots and statistics by
// cp.async; the other warps consume. The consumers run at their own pace, up to the ring's length apart: panels differ
// in how many tiles a window gives them, and a barrier per window would cost 14 % on the band-and-random pattern.
#pragma once

#include <cuda.h>

#include "kernels/dropout/pattern_dropout.h"
#include "kernels/sparse_attention/fragments.cuh"

namespace lacuna::kernels::attention {

constexpr int kMaxPlans = 32;         // patterns of one launch
constexpr int kMaxWindowWords = 512;  // 16,384 windows: a million columns at 64 a window
constexpr int kMaxSharedBytes = 227 * 1024;

/// Which entries of the matrix exist: a plan, or implicitly those up to (lower) or from (upper) the row on.
enum class Shape { plan, lower, upper };

/// Where an operand's matrices lie (AttentionLayout). A grid is heads x blocks of rows x sequences.
struct Place {
  std::int64_t head, sequence;
  int row;

  /// A head's matrix of the block's sequence.
  __device__ std::int64_t of(int number) const { return number * head + blockIdx.z * sequence; }
  /// The block's matrix.
  __device__ std::int64_t here() const { return of(static_cast<int>(blockIdx.x)); }
};

/// The number of a head's matrix of the block's sequence: heads outermost. Without a head, the block's.
__device__ inline int matrix_here(int head) {
  return head * static_cast<int>(gridDim.z) + static_cast<int>(blockIdx.z);
}
__device__ inline int matrix_here() { return matrix_here(static_cast<int>(blockIdx.x)); }

struct Args {
  CUtensorMap maps[2];  // of b, where `aligned`
  const void* a[2];     // matrices of operand rows of the panels
  const void* b[2];     // matrices of staged rows
  void* out[2];
  Place a_place[2], b_place[2], out_place;
  float* lse;           // forward: [matrices, t] or null
  const float4* stats;  // backward: [matrices, t] of (lse * log2(e), D, dropout keys)
  int t, d;
  int windows, panels, blocks;
  int order_at;  // of this kernel's block order within a plan's
  int matrices_per_pattern;
  int first_matrix;          // of this launch, for dropout
  float scale;               // |scale| * log2(e), never 0
  float out_scale;           // of the gradients
  bool negate;               // scale < 0: operand A is negated instead
  bool aligned;              // every pointer and stride is a multiple of 16 bytes
  bool adds;                 // out (and lse) hold the part of the cells
  std::uint32_t drop_below;  // an entry is dropped where its hash is below
  float keep_scale;
  std::uint64_t seed;
  RandomSequence sequence;
  PanelPlan plans[kMaxPlans];
};

// ---- mbarriers
// -------------------------------------------------------------------------------------------------------

__device__ inline std::uint32_t shared_address(const void* p) {
  return static_cast<std::uint32_t>(__cvta_generic_to_shared(p));
}
__device__ inline void barrier_init(std::uint32_t barrier, int count) {
  asm volatile("mbarrier.init.shared.b64 [%0], %1;" ::"r"(barrier), "r"(count) : "memory");
}
/// Makes initialised barriers visible to the copy engine.
__device__ inline void barrier_init_fence() { asm volatile("fence.mbarrier_init.release.cluster;" ::: "memory"); }
__device__ inline void barrier_arrive(std::uint32_t barrier) {
  asm volatile("mbarrier.arrive.shared.b64 _, [%0];" ::"r"(barrier) : "memory");
}
/// Arrives once the calling thread's cp.async so far have landed.
__device__ inline void barrier_arrive_after_copies(std::uint32_t barrier) {
  asm volatile("cp.async.mbarrier.arrive.noinc.shared.b64 [%0];" ::"r"(barrier) : "memory");
}
__device__ inline void barrier_wait(std::uint32_t barrier, std::uint32_t parity) {
  // try_wait sleeps in hardware for a while. A wait of seconds is a fault, and a trap better than a hung device.
  // (A bound by clock64 made ptxas ignore setmaxnreg.)
#pragma unroll 1
  for (int tries = 0; tries < (1 << 20); ++tries) {
    std::uint32_t done;
    asm volatile("{ .reg .pred p; mbarrier.try_wait.parity.shared.b64 p, [%1], %2; selp.u32 %0, 1, 0, p; }"
                 : "=r"(done)
                 : "r"(barrier), "r"(parity)
                 : "memory");
    if (done) return;
  }
  __trap();
}
/// Announces bytes that the copy engine will bring.
__device__ inline void barrier_expect(std::uint32_t barrier, int bytes) {
  asm volatile("mbarrier.expect_tx.relaxed.cta.shared::cta.b64 [%0], %1;" ::"r"(barrier), "r"(bytes) : "memory");
}
/// One line of a window of a head's matrix; rows and columns outside the matrix arrive as zeros.
__device__ inline void copy_lines(std::uint32_t to, const CUtensorMap* map, int column, int row, std::uint32_t barrier,
                                  int head = blockIdx.x) {
  asm volatile(
      "cp.async.bulk.tensor.4d.shared::cluster.global.tile.mbarrier::complete_tx::bytes [%0], [%1, {%2, %3, %4, %5}], "
      "[%6];" ::"r"(to),
      "l"(map), "r"(column), "r"(row), "r"(blockIdx.z), "r"(head), "r"(barrier)
      : "memory");
}
__device__ inline void copy16(std::uint32_t to, const void* from, bool present) {
  const int bytes = present ? 16 : 0;  // 0: fills with zeros
  asm volatile("cp.async.cg.shared.global [%0], [%1], 16, %2;" ::"r"(to), "l"(from), "r"(bytes) : "memory");
}
__device__ inline void copy4(std::uint32_t to, const void* from) {
  asm volatile("cp.async.ca.shared.global [%0], [%1], 4;" ::"r"(to), "l"(from) : "memory");
}

// Kernels of one pass follow one another without a gap (programmatic dependent launch): the next one's blocks start once all
// of this one's have, as there is room, and wait for its results, or for its end, where they need them.
__device__ inline void let_next_kernel_start() { asm volatile("griddepcontrol.launch_dependents;" ::: "memory"); }
__device__ inline void wait_for_last_kernel() { asm volatile("griddepcontrol.wait;" ::: "memory"); }

// ---- a block's share
// -------------------------------------------------------------------------------------------------

template <class TileOf, int num_panels, bool with_stats, int private_bytes>
struct Layout {
  static constexpr int kWindow = TileOf::kWindow;
  static constexpr int kRows = kWindow * TileOf::kRowBytes;  // bytes of one staged operand
  static constexpr int kStats = with_stats ? kWindow * 16 : 0;
  static constexpr int kSlots = num_panels * kWindow * 4;
  static constexpr int kOffsets = 64;
  static constexpr int kWords = with_stats ? 0 : kWindow * 4;  // the columns' dropout words
  static constexpr int kWordsAt = 2 * kRows + kStats + kSlots + kOffsets;
  static constexpr int kStageBytes = (kWordsAt + kWords + 1023) / 1024 * 1024;
  static constexpr int kHeader = 3072;  // barriers, windows in use; stages must be multiples of 1024 for the swizzle
  static_assert(128 + kMaxWindowWords * 4 <= kHeader && private_bytes % 1024 == 0);
  static constexpr int kPrivate = num_panels * private_bytes;
  static constexpr int kFit = (kMaxSharedBytes - 1024 - kHeader - kPrivate) / kStageBytes;
  static constexpr int kStages = kFit > 4 ? 4 : kFit;
  static constexpr int kBytes = 1024 + kHeader + kPrivate + kStages * kStageBytes;  // 1024: to align the base
  static_assert(kStages >= 2 && num_panels < 16);
};

/// What a block works on.
struct Work {
  int matrix;
  int block;
  const PanelPlan* plan;
};

template <Shape shape>
__device__ inline Work block_work(const Args& args) {
  const int matrix = matrix_here(), rank = blockIdx.y;
  if constexpr (shape == Shape::plan) {
    const PanelPlan* plan = &args.plans[matrix / args.matrices_per_pattern];
    return {matrix, plan->block_order[args.order_at + rank], plan};
  }
  return {matrix, shape == Shape::lower ? args.blocks - 1 - rank : rank, nullptr};
}

/// The windows that a block visits, in ascending order.
template <Shape shape, int num_panels, int window>
struct Windows {
  const std::uint32_t* used;
  int begin, end;

  /// All threads of the block; followed by a barrier.
  __device__ Windows(const Args& args, const Work& work, std::uint32_t* words) : used(words) {
    const int p0 = work.block * num_panels, p1 = min(args.panels, p0 + num_panels);
    begin = 0;
    end = args.windows;
    if constexpr (shape == Shape::plan) {
      const std::int32_t* offsets = work.plan->tile_offsets;
      const int padded = (args.windows + 31) / 32 * 32;
      for (int w = threadIdx.x; w < padded; w += blockDim.x) {
        const std::int64_t row = static_cast<std::int64_t>(w) * args.panels;
        const bool any = w < args.windows && offsets[row + p0] != offsets[row + p1];
        const unsigned word = __ballot_sync(kFullWarp, any);
        if (threadIdx.x % 32 == 0) words[w / 32] = word;
      }
    } else if constexpr (shape == Shape::lower) {
      end = min(end, (p1 * kPanelRows + window - 1) / window);
    } else {
      begin = p0 * kPanelRows / window;
    }
  }
  /// First window in use from w on, or `end`.
  __device__ int next(int w) const {
    if constexpr (shape == Shape::plan) {
      while (w < end) {
        const std::uint32_t word = used[w / 32] >> (w % 32);
        if (word != 0) return w + __ffs(word) - 1;
        w = (w / 32 + 1) * 32;
      }
      return end;
    } else {
      return w;
    }
  }
};

constexpr int kProducers = 4;  // a warpgroup: registers are handed over by warpgroups

/// Consumers take the registers that the producing warpgroup gives up. Threads start with 128 (12 consuming warps) or
/// 168 (8) of the 65,536.
template <int num_panels>
__device__ inline void take_registers() {
  if constexpr (num_panels == kWidePanels)
    asm volatile("setmaxnreg.inc.sync.aligned.u32 160;");
  else
    asm volatile("setmaxnreg.inc.sync.aligned.u32 232;");
}
template <int num_panels>
__device__ inline void give_registers() {
  if constexpr (num_panels == kWidePanels)
    asm volatile("setmaxnreg.dec.sync.aligned.u32 32;");
  else
    asm volatile("setmaxnreg.dec.sync.aligned.u32 40;");
}

/// The producing warps' loop.
template <class T, Shape shape, class L, class TileOf, int num_panels, bool with_stats, bool drops, int diag = 0>
__device__ void produce(const Args& args, const Work& work, const Windows<shape, num_panels, L::kWindow>& windows,
                        std::uint32_t stages, std::uint32_t full, std::uint32_t empty) {
  constexpr int kChunks = TileOf::kRowBytes / 16, kElements = 16 / sizeof(T);
  const int lane = threadIdx.x % 32, producer = threadIdx.x / 32 - num_panels;
  const int p0 = work.block * num_panels;
  int stage = 0;
  std::uint32_t parity = 1;  // the first round finds the stages empty
  for (int w = windows.next(windows.begin); w < windows.end; w = windows.next(w + 1)) {
    const std::uint32_t base = stages + stage * L::kStageBytes;
    const std::int32_t* offsets = nullptr;
    int tile = 0;
    if constexpr (shape == Shape::plan) {
      offsets = work.plan->tile_offsets + static_cast<std::int64_t>(w) * args.panels +
                min(p0 + min(lane, num_panels), args.panels);
      tile = *offsets;
    }
    barrier_wait(empty + stage * 8, parity);
    if constexpr (shape == Shape::plan) {
      const int first = __shfl_sync(kFullWarp, tile, 0), last = __shfl_sync(kFullWarp, tile, num_panels);
      const std::uint32_t slots_at = base + 2 * L::kRows + L::kStats;
      if (producer == 0 && lane <= num_panels) copy4(slots_at + L::kSlots + lane * 4, offsets);
      const std::uint32_t* slots = work.plan->slots + static_cast<std::int64_t>(first) * kTileSlots;
      for (int i = producer * 32 + lane; i < (last - first) * (kTileSlots / 4); i += 32 * kProducers)
        copy16(slots_at + i * 16, slots + i * 4, true);
    }
    if constexpr (with_stats) {
      const float4* stats = args.stats + static_cast<std::int64_t>(work.matrix) * args.t;
      for (int r = producer * 32 + lane; r < L::kWindow; r += 32 * kProducers) {
        const int row = w * L::kWindow + r;
        copy16(base + 2 * L::kRows + r * 16, stats + min(row, args.t - 1), row < args.t);
      }
    } else if constexpr (drops) {
      for (int r = producer * 32 + lane; r < L::kWindow; r += 32 * kProducers)
        store_shared4(base + L::kWordsAt + r * 4, dropout_column_word(w * L::kWindow + r));
      __threadfence_block();
    }
    if (args.aligned) {
      if (producer == 0 && lane == 0 && diag != 1) {
        barrier_expect(full + stage * 8, 2 * L::kRows);
#pragma unroll
        for (int operand = 0; operand < 2; ++operand)
#pragma unroll
          for (int line = 0; line < TileOf::kLines; ++line)
            copy_lines(base + operand * L::kRows + line * TileOf::kLineBytes, &args.maps[operand], line * 8 * kElements,
                       w * L::kWindow, full + stage * 8);
      }
    } else {
      for (int i = producer * 32 + lane; i < 2 * L::kWindow * kChunks; i += 32 * kProducers) {
        const int chunk = i % kChunks, r = i / kChunks % L::kWindow, operand = i / (kChunks * L::kWindow);
        const int row = w * L::kWindow + r;
        uint4 v{0, 0, 0, 0};
        if (chunk * kElements < args.d && row < args.t)
          v = load_global16(static_cast<const T*>(args.b[operand]) + args.b_place[operand].here() +
                                static_cast<std::int64_t>(row) * args.b_place[operand].row + chunk * kElements,
                            false);
        store_shared16(row_chunk(base + operand * L::kRows + chunk / 8 * TileOf::kLineBytes, r, chunk % 8), v);
      }
      __threadfence_block();
    }
    barrier_arrive_after_copies(full + stage * 8);
    if (++stage == L::kStages) stage = 0, parity ^= 1;
  }
  // Copies in flight may outlive this loop: the consumers wait for all of them before the block ends.
}

// ---- a consumer's tiles
// ----------------------------------------------------------------------------------------------

/// The tiles that a window gives to one panel.
template <Shape shape, class L>
struct PanelTiles {
  std::uint32_t slots = 0;  // plan: shared address of the panel's first slot
  int begin = 0, end = 0;   // tiles; implicit shapes: of 16 columns from the window's first
  int column0 = 0;          // of the window

  __device__ PanelTiles(std::uint32_t stage, int window, int warp, int first_row) {
    column0 = window * L::kWindow;
    if constexpr (shape == Shape::plan) {
      const std::uint32_t at = stage + 2 * L::kRows + L::kStats;
      const int first = static_cast<int>(load_shared4(at + L::kSlots));
      begin = static_cast<int>(load_shared4(at + L::kSlots + warp * 4)) - first;
      end = static_cast<int>(load_shared4(at + L::kSlots + warp * 4 + 4)) - first;
      slots = at;
    } else if constexpr (shape == Shape::lower) {
      const int reach = first_row + kPanelRows - column0;  // columns from the window's first on
      end = max(0, (min(reach, L::kWindow) + kTileSlots - 1) / kTileSlots);
    } else {
      begin = max(0, (first_row - column0) / kTileSlots);
      end = L::kWindow / kTileSlots;
    }
  }
};

/// The slots of `num` groups of 8, from a tile on. Each fact is read from shared memory where it is needed: registers
/// are scarcer than loads.
template <Shape shape, int num>
struct Slots {
  std::uint32_t at = 0;  // plan: shared address of the first slot; else: its column within the window
  int column0 = 0;       // of the window
  static constexpr std::uint32_t kOrder = 0x37156240u;  // implicit shapes: columns in the plan's order of classes

  template <class L>
  __device__ Slots(const PanelTiles<shape, L>& tiles, int tile)
      : at(shape == Shape::plan ? tiles.slots + tile * (kTileSlots * 4) : tile * kTileSlots), column0(tiles.column0) {}

  /// Rows (of the window) of slot g of each group.
  __device__ void score_rows(std::uint32_t (&row)[num]) const {
    const std::uint32_t g = threadIdx.x % 32 / 4;
#pragma unroll
    for (int n = 0; n < num; ++n) {
      if constexpr (shape == Shape::plan)
        row[n] = load_shared4(at + n * 32 + g * 4) & 0xffffu;
      else
        row[n] = at + n * 8 + (kOrder >> (4 * g) & 7);
    }
  }
  /// Rows of slots 2c and 2c + 1.
  __device__ void output_rows(std::uint32_t (&row)[num][2]) const {
    const std::uint32_t c = threadIdx.x % 4;
#pragma unroll
    for (int n = 0; n < num; ++n) {
      if constexpr (shape == Shape::plan) {
        const uint2 words = load_shared8(at + n * 32 + c * 8);
        row[n][0] = words.x & 0xffffu, row[n][1] = words.y & 0xffffu;
      } else {
        row[n][0] = at + n * 8 + (kOrder >> (8 * c) & 7), row[n][1] = at + n * 8 + (kOrder >> (8 * c + 4) & 7);
      }
    }
  }
  /// Puts -infinity where there is no entry. Tiles that are full throughout the warp skip the work.
  __device__ void mask(float (&p)[num][4], int first_row, int t) const {
    const std::uint32_t g = threadIdx.x % 32 / 4, c = threadIdx.x % 4;
    if constexpr (shape == Shape::plan) {
      uint2 words[num];
      std::uint32_t all = 0xffff0000u;
#pragma unroll
      for (int n = 0; n < num; ++n) {
        words[n] = load_shared8(at + n * 32 + c * 8);
        all &= words[n].x & words[n].y;
      }
      if (__all_sync(kFullWarp, all == 0xffff0000u)) return;
#pragma unroll
      for (int n = 0; n < num; ++n) {
        const std::uint32_t x = words[n].x >> (16 + g), y = words[n].y >> (16 + g);
        p[n][0] = x & 1 ? p[n][0] : -INFINITY;
        p[n][1] = y & 1 ? p[n][1] : -INFINITY;
        p[n][2] = x & 256 ? p[n][2] : -INFINITY;
        p[n][3] = y & 256 ? p[n][3] : -INFINITY;
      }
    } else {
      const int low = column0 + static_cast<int>(at), high = low + 8 * num - 1;
      if (shape == Shape::lower ? high <= first_row : low >= first_row + 15 && high < t) return;
#pragma unroll
      for (int n = 0; n < num; ++n) {
#pragma unroll
        for (int e = 0; e < 4; ++e) {
          const int column = low + n * 8 + static_cast<int>(kOrder >> (8 * c + 4 * (e & 1)) & 7);
          const int row = first_row + static_cast<int>(g) + 8 * (e / 2);
          const bool has = shape == Shape::lower ? column <= row : column >= row && column < t;
          p[n][e] = has ? p[n][e] : -INFINITY;
        }
      }
    }
  }
};

}  // namespace lacuna::kernels::attention
