// The producer warps of the tensor-core SpMM: B's slab by tensor copy, A's tile by scattering the packed entries.
//
// A tile is not cleared: the warp writes zeros where the stage's previous entries lay (their positions are kept in shared
// memory), then the new entries. Each warp owns its panels, so no other warp need be waited for in between. A warp reads
// the lists of the next stage into registers before it waits for this one.
#pragma once

#include <type_traits>

#include "kernels/spmm_tensor/pipeline.cuh"
#include "kernels/spmm_tensor/shape.cuh"

namespace lacuna::kernels {

template <class S>
class SpmmTensorProducer {
 public:
  __device__ SpmmTensorProducer(const SpmmTensorArguments& arguments, const CUtensorMap& b, std::uint32_t stages,
                                std::uint32_t full, std::uint32_t empty, std::uint32_t kept, int warp)
      : p_(arguments),
        b_(b),
        stages_(stages),
        full_(full),
        empty_(empty),
        kept_(kept),
        lane_(threadIdx.x % 32),
        set_(warp / 4),
        member_(warp % 4) {}

  __device__ void run() {
    if (p_.slabs == 0) return;
    Cursor copied = first(), listed = first();
    if (copied.tile >= tiles()) return;
    Batch even, odd;
    int2 next[S::kPanelsPerWarp];
    int stage = set_;
    unsigned phase = 1;  // a fresh barrier counts as if its previous phase had ended: the first wait passes
    ranges(listed, next);
    fetch(even, next);
    advance(listed);
    ranges(listed, next);
    while (true) {
      if (!step(even, odd, next, copied, listed, stage, phase)) return;
      if (!step(odd, even, next, copied, listed, stage, phase)) return;
    }
  }

 private:
  static constexpr int kQuad = spmm_tensor_layout::kEntryQuad;
  static constexpr int kMostAhead = S::kRounds * spmm_tensor_layout::kRound;
  using Values = std::conditional_t<S::kElement == 4, float4, uint2>;

  /// What goes into a stage: the lists of this warp's panels and their first rounds.
  struct Batch {
    int2 range[S::kPanelsPerWarp];
    uint2 positions[S::kPanelsPerWarp][S::kRounds];
    Values values[S::kPanelsPerWarp][S::kRounds];
  };

  struct Cursor {
    int tile, slab;
    TileAt at;
  };

  __device__ int tiles() const { return p_.m_tiles * p_.n_tiles; }
  __device__ int panel(int i) const { return i * 4 + member_; }

  __device__ Cursor first() const {
    Cursor cursor = {static_cast<int>(blockIdx.x), set_ - S::kSets, {}};
    cursor.at = tile_at(p_, cursor.tile);
    advance(cursor);
    return cursor;
  }
  /// To this set's next stage.
  __device__ void advance(Cursor& cursor) const {
    cursor.slab += S::kSets;
    if (cursor.slab < p_.slabs) return;
    while (cursor.slab >= p_.slabs && cursor.tile < tiles()) {
      cursor.slab -= p_.slabs;
      cursor.tile += gridDim.x;
    }
    cursor.at = tile_at(p_, cursor.tile);
  }
  __device__ static void advance(int& stage, unsigned& phase) {
    stage += S::kSets;
    if (stage >= S::kStages) stage -= S::kStages, phase ^= 1;
  }

  /// Writes `now`, after asking for the data of the stage after it (`then`, whose lists are `next`) and for the lists of
  /// the one after that. False after the last.
  __device__ bool step(const Batch& now, Batch& then, int2 (&next)[S::kPanelsPerWarp], Cursor& copied, Cursor& listed,
                       int& stage, unsigned& phase) {
    int next_stage = stage;
    unsigned next_phase = phase;
    advance(next_stage, next_phase);
    const bool more = listed.tile < tiles();
    if (more) {
      fetch(then, next);
      advance(listed);
      ranges(listed, next);
    }
    barrier_wait(empty_ + 8 * stage, phase);
    const std::uint32_t slab_at = stages_ + stage * S::kStageBytes, full = full_ + 8 * stage;
    if (member_ == 0) {
      if (lane_ == 0) copy_slab(slab_at, full, copied.at.n, copied.slab);
      advance(copied);
    }
    write(now, slab_at + S::kSlabBytes, kept_ + stage * S::kKeptBytes);
    shared_writes_to_async();
    __syncwarp();
    if (lane_ == 0) barrier_arrive(full);
    stage = next_stage, phase = next_phase;
    return more;
  }

  __device__ void ranges(const Cursor& cursor, int2 (&next)[S::kPanelsPerWarp]) const {
#pragma unroll
    for (int i = 0; i < S::kPanelsPerWarp; ++i) {
      const int index = cursor.at.m * S::kPanels + panel(i);
      next[i] = make_int2(0, 0);
      if (cursor.tile >= tiles() || index >= p_.panels) continue;
      const std::int32_t* at = p_.list_offsets + (std::int64_t{index} * p_.slabs + cursor.slab);
      next[i] = make_int2(__ldg(at), __ldg(at + 1));
    }
  }

  __device__ uint2 read_positions(int at) const { return __ldg(reinterpret_cast<const uint2*>(p_.positions + at)); }
  __device__ Values read_values(int at) const {
    using Element = std::conditional_t<S::kElement == 4, float, std::uint16_t>;
    return __ldg(reinterpret_cast<const Values*>(static_cast<const Element*>(p_.packed) + at));
  }

  __device__ void fetch(Batch& batch, const int2 (&ranges)[S::kPanelsPerWarp]) const {
#pragma unroll
    for (int i = 0; i < S::kPanelsPerWarp; ++i) {
      batch.range[i] = ranges[i];
#pragma unroll
      for (int r = 0; r < S::kRounds; ++r) {
        const int at = ranges[i].x + (r * 32 + lane_) * kQuad;
        if (at < ranges[i].y) batch.positions[i][r] = read_positions(at), batch.values[i][r] = read_values(at);
      }
    }
  }

  __device__ void copy_slab(std::uint32_t to, std::uint32_t barrier, int n_tile, int slab) const {
    constexpr int kBoxN = spmm_tensor_layout::kRowBytes / S::kElement;
    constexpr int kBoxBytes = S::kSlabK * spmm_tensor_layout::kRowBytes;
    barrier_arrive_expect(barrier, S::kSlabBytes);
#pragma unroll
    for (int box = 0; box < spmm_tensor_layout::kTileN / kBoxN; ++box)
      copy_box(to + box * kBoxBytes, b_, n_tile * spmm_tensor_layout::kTileN + box * kBoxN, slab * S::kSlabK, barrier);
  }

  __device__ static void store(std::uint32_t at, float x) {
    if constexpr (S::kSplit) {  // x = high + low, high rounded to TF32, low truncated to it by the tensor core
      std::uint32_t bits;
      asm("cvt.rna.tf32.f32 %0, %1;" : "=r"(bits) : "f"(x));
      const float high = __uint_as_float(bits);
      asm volatile("st.shared.f32 [%0], %1;" ::"r"(at), "f"(high) : "memory");
      asm volatile("st.shared.f32 [%0 + %2], %1;" ::"r"(at), "f"(x - high), "n"(S::kTileBytes) : "memory");
    } else {
      asm volatile("st.shared.f32 [%0], %1;" ::"r"(at), "f"(x) : "memory");
    }
  }
  __device__ static void store(std::uint32_t at, std::uint16_t x) {
    asm volatile("st.shared.u16 [%0], %1;" ::"r"(at), "h"(x) : "memory");
  }

  __device__ static void store_quad(std::uint32_t tile, uint2 positions, float4 x) {
    store(tile + (positions.x & 0xffff), x.x);
    store(tile + (positions.x >> 16), x.y);
    store(tile + (positions.y & 0xffff), x.z);
    store(tile + (positions.y >> 16), x.w);
  }
  __device__ static void store_quad(std::uint32_t tile, uint2 positions, uint2 x) {
    store(tile + (positions.x & 0xffff), static_cast<std::uint16_t>(x.x & 0xffff));
    store(tile + (positions.x >> 16), static_cast<std::uint16_t>(x.x >> 16));
    store(tile + (positions.y & 0xffff), static_cast<std::uint16_t>(x.y & 0xffff));
    store(tile + (positions.y >> 16), static_cast<std::uint16_t>(x.y >> 16));
  }

  __device__ void clear(std::uint32_t tile) const {
#pragma unroll
    for (int piece = 0; piece < spmm_tensor_layout::kPanelBytes / 512; ++piece) {
      const std::uint32_t at = tile + piece * 512 + lane_ * 16;
      asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(at), "r"(0) : "memory");
      if constexpr (S::kSplit)
        asm volatile("st.shared.v4.u32 [%0 + %2], {%1, %1, %1, %1};" ::"r"(at), "r"(0), "n"(S::kTileBytes) : "memory");
    }
  }

  __device__ void write(const Batch& batch, std::uint32_t tiles, std::uint32_t kept) const {
#pragma unroll
    for (int i = 0; i < S::kPanelsPerWarp; ++i) {
      const std::uint32_t tile = tiles + panel(i) * spmm_tensor_layout::kPanelBytes;
      const std::uint32_t kept_here = kept + panel(i) * S::kKeptPanelBytes;
      const int before = load_int(kept_here);
      if (before > kMostAhead) {
        clear(tile);  // so many that whole rows of zeros are no dearer
      } else {
#pragma unroll
        for (int r = 0; r < S::kRounds; ++r) {
          if ((r * 32 + lane_) * kQuad < before) store_quad(tile, load_kept(kept_here, r), Values{});
        }
      }
    }
    __syncwarp();
#pragma unroll
    for (int i = 0; i < S::kPanelsPerWarp; ++i) {
      const std::uint32_t tile = tiles + panel(i) * spmm_tensor_layout::kPanelBytes;
      const std::uint32_t kept_here = kept + panel(i) * S::kKeptPanelBytes;
      const int2 range = batch.range[i];
      if (lane_ == 0) asm volatile("st.shared.s32 [%0], %1;" ::"r"(kept_here), "r"(range.y - range.x) : "memory");
#pragma unroll
      for (int r = 0; r < S::kRounds; ++r) {
        if (range.x + (r * 32 + lane_) * kQuad >= range.y) continue;
        store_quad(tile, batch.positions[i][r], batch.values[i][r]);
        keep(kept_here, r, batch.positions[i][r]);
      }
      for (int first = range.x + kMostAhead; first < range.y; first += kMostAhead) write_late(tile, first, range.y);
    }
  }

  /// Of a panel in a stage shared memory keeps the number of entries and, by round and lane, their positions.
  __device__ static int load_int(std::uint32_t at) {
    int x;
    asm volatile("ld.shared.s32 %0, [%1];" : "=r"(x) : "r"(at) : "memory");
    return x;
  }
  __device__ uint2 load_kept(std::uint32_t kept, int round) const {
    uint2 x;
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];"
                 : "=r"(x.x), "=r"(x.y)
                 : "r"(kept + 16 + (round * 32 + lane_) * 8)
                 : "memory");
    return x;
  }
  __device__ void keep(std::uint32_t kept, int round, uint2 x) const {
    asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(kept + 16 + (round * 32 + lane_) * 8), "r"(x.x), "r"(x.y)
                 : "memory");
  }

  /// Rounds that registers had no room for.
  __device__ void write_late(std::uint32_t tile, int first, int end) const {
    uint2 positions[S::kRounds];
    Values values[S::kRounds];
#pragma unroll
    for (int r = 0; r < S::kRounds; ++r) {
      const int at = first + (r * 32 + lane_) * kQuad;
      if (at < end) positions[r] = read_positions(at), values[r] = read_values(at);
    }
#pragma unroll
    for (int r = 0; r < S::kRounds; ++r) {
      if (first + (r * 32 + lane_) * kQuad < end) store_quad(tile, positions[r], values[r]);
    }
  }

  const SpmmTensorArguments& p_;
  const CUtensorMap& b_;
  const std::uint32_t stages_, full_, empty_, kept_;
  const int lane_, set_, member_;
};

}  // namespace lacuna::kernels
