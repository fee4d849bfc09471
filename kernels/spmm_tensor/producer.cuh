// The producer warps of the tensor-core SpMM: B's slab by tensor copy, A's tile by scattering the packed entries.
//
// A tile is not cleared: the warp writes zeros where the stage's previous entries lay (their positions are kept in
// shared memory), then the new entries. Each warp owns its panels, so no other warp need be waited for in between.
//
// The lists come to shared memory by bulk copy while the warp works on the stage before. Loads into registers would not
// stay in flight: the fence between the scatter and the tensor cores' reads waits for them too.
#pragma once

#include "kernels/spmm_tensor/pipeline.cuh"
#include "kernels/spmm_tensor/shape.cuh"

namespace lacuna::kernels {

template <class S>
class SpmmTensorProducer {
 public:
  __device__ SpmmTensorProducer(const SpmmTensorArguments& arguments, const CUtensorMap& b,
                                const SpmmTensorShared& shared, int warp)
      : p_(arguments),
        b_(b),
        shared_(shared),
        lane_(threadIdx.x % 32),
        set_(warp / 4),
        member_(warp % 4),
        staged_(shared.staged + set_ * S::kPanels * S::kStagedPanelBytes),
        listed_(shared.listed + 8 * warp) {}

  __device__ void run() {
    if (p_.slabs == 0) return;
    Cursor cursor = {static_cast<int>(blockIdx.x), set_ - S::kSets, tile_at(p_, blockIdx.x)};
    advance(cursor);
    int stage = set_ % S::kStages;
    unsigned phase = 1;  // a fresh barrier counts as if its previous phase had ended: the first wait passes
    unsigned listed_phase = 0;
    if (cursor.tile < tiles()) request(cursor);
    while (cursor.tile < tiles()) {
      barrier_wait(shared_.empty + 8 * stage, phase);
      const std::uint32_t slab_at = shared_.stages + stage * S::kStageBytes, full = shared_.full + 8 * stage;
      const std::uint32_t tiles_at = slab_at + S::kSlabBytes, kept = shared_.kept + stage * S::kKeptBytes;
      if (lane_ == 0) copy_slab(slab_at, full, cursor.at.n, cursor.slab);
      erase(tiles_at, kept);
      barrier_wait(listed_, listed_phase);
      listed_phase ^= 1;
      __syncwarp();  // a zero may go where another lane's entry will
      write(tiles_at, kept);
      shared_writes_to_async();
      __syncwarp();
      if (lane_ == 0) barrier_arrive(full);
      advance(cursor);
      stage += S::kSets;
      if (stage >= S::kStages) stage -= S::kStages, phase ^= 1;
      if (cursor.tile < tiles()) request(cursor);
    }
  }

 private:
  static constexpr int kQuad = spmm_tensor_layout::kEntryQuad;

  struct Cursor {
    int tile, slab;
    TileAt at;
  };

  __device__ int tiles() const { return p_.m_tiles * p_.n_tiles; }
  __device__ int panel(int i) const { return i * 4 + member_; }

  /// To this set's next stage.
  __device__ void advance(Cursor& cursor) const {
    cursor.slab += S::kSets;
    if (cursor.slab < p_.slabs) return;
    while (cursor.slab >= p_.slabs && cursor.tile < tiles()) {
      cursor.slab -= p_.slabs;
      cursor.tile += gridDim.x;
    }
    if (cursor.tile < tiles()) cursor.at = tile_at(p_, cursor.tile);
  }

  /// Looks up the lists at the cursor and has them copied. A lane holds the ends of one of 32 slabs' lists, so that
  /// only one lookup in 32 goes to memory.
  __device__ void request(const Cursor& cursor) {
    const int first = cursor.slab & ~31;
    if (cursor.tile != held_tile_ || first != held_first_) {
      held_tile_ = cursor.tile, held_first_ = first;
#pragma unroll
      for (int i = 0; i < S::kPanelsPerWarp; ++i) {
        const int index = cursor.at.m * S::kPanels + panel(i), slab = first + lane_;
        held_[i] = make_int2(0, 0);
        if (index < p_.panels && slab < p_.slabs) {
          const std::int32_t* at = p_.list_offsets + (std::int64_t{index} * p_.slabs + slab);
          held_[i] = make_int2(__ldg(at), __ldg(at + 1));
        }
      }
    }
    std::uint32_t bytes = 0;
#pragma unroll
    for (int i = 0; i < S::kPanelsPerWarp; ++i) {
      begin_[i] = __shfl_sync(0xffffffffu, held_[i].x, cursor.slab & 31);
      count_[i] = __shfl_sync(0xffffffffu, held_[i].y, cursor.slab & 31) - begin_[i];
      bytes += min(count_[i], S::kStaged) * (2 + 4);
    }
    if (lane_ != 0) return;
    barrier_arrive_expect(listed_, bytes);
#pragma unroll
    for (int i = 0; i < S::kPanelsPerWarp; ++i) {
      const int count = min(count_[i], S::kStaged);
      if (count == 0) continue;
      const std::uint32_t to = staged_ + panel(i) * S::kStagedPanelBytes;
      copy_bytes(to, p_.positions + begin_[i], count * 2, listed_);
      copy_bytes(to + S::kStaged * 2, static_cast<const char*>(p_.packed) + std::int64_t{begin_[i]} * 4, count * 4,
                 listed_);
    }
  }

  __device__ void copy_slab(std::uint32_t to, std::uint32_t barrier, int n_tile, int slab) const {
    constexpr int kBoxN = spmm_tensor_layout::kRowBytes / sizeof(float);
    constexpr int kBoxBytes = S::kSlabK * spmm_tensor_layout::kRowBytes;
    static_assert(spmm_tensor_layout::kTileN / kBoxN == 4);  // a box for each warp
    barrier_expect(barrier, kBoxBytes);
    copy_box(to + member_ * kBoxBytes, b_, n_tile * spmm_tensor_layout::kTileN + member_ * kBoxN, slab * S::kSlabK,
             barrier);
  }

  /// x: high | low << 16.
  __device__ static void store(std::uint32_t at, std::uint32_t x) {
    asm volatile("st.shared.u16 [%0], %1;" ::"r"(at), "h"(static_cast<std::uint16_t>(x)) : "memory");
    asm volatile("st.shared.u16 [%0 + %2], %1;" ::"r"(at), "h"(static_cast<std::uint16_t>(x >> 16)), "n"(S::kTileBytes)
                 : "memory");
  }
  __device__ static void store_quad(std::uint32_t tile, uint2 positions, uint4 x) {
    store(tile + (positions.x & 0xffff), x.x);
    store(tile + (positions.x >> 16), x.y);
    store(tile + (positions.y & 0xffff), x.z);
    store(tile + (positions.y >> 16), x.w);
  }

  __device__ static uint2 load_pair(std::uint32_t at) {
    uint2 x;
    asm volatile("ld.shared.v2.u32 {%0, %1}, [%2];" : "=r"(x.x), "=r"(x.y) : "r"(at) : "memory");
    return x;
  }
  __device__ static void load(std::uint32_t at, uint4& x) {
    asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                 : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                 : "r"(at)
                 : "memory");
  }

  /// Makes the tiles of the stage zero again.
  __device__ void erase(std::uint32_t tiles, std::uint32_t kept) const {
#pragma unroll
    for (int i = 0; i < S::kPanelsPerWarp; ++i) {
      const std::uint32_t tile = tiles + panel(i) * spmm_tensor_layout::kPanelBytes;
      const std::uint32_t kept_here = kept + panel(i) * S::kKeptPanelBytes;
      int before;
      asm volatile("ld.shared.s32 %0, [%1];" : "=r"(before) : "r"(kept_here) : "memory");
      if (before > S::kStaged) {  // so many that whole rows of zeros are no dearer
#pragma unroll
        for (int piece = 0; piece < spmm_tensor_layout::kPanelBytes / 512; ++piece) {
          const std::uint32_t at = tile + piece * 512 + lane_ * 16;
          asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(at), "r"(0) : "memory");
          asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(at + S::kTileBytes), "r"(0) : "memory");
        }
        continue;
      }
#pragma unroll 2
      for (int at = lane_ * kQuad; at < before; at += spmm_tensor_layout::kRound)
        store_quad(tile, load_pair(kept_here + 16 + at * 2), make_uint4(0, 0, 0, 0));
    }
  }

  __device__ void write(std::uint32_t tiles, std::uint32_t kept) const {
#pragma unroll
    for (int i = 0; i < S::kPanelsPerWarp; ++i) {
      const std::uint32_t tile = tiles + panel(i) * spmm_tensor_layout::kPanelBytes;
      const std::uint32_t kept_here = kept + panel(i) * S::kKeptPanelBytes;
      const std::uint32_t staged = staged_ + panel(i) * S::kStagedPanelBytes;
      if (lane_ == 0) asm volatile("st.shared.s32 [%0], %1;" ::"r"(kept_here), "r"(count_[i]) : "memory");
      const int count = min(count_[i], S::kStaged);
#pragma unroll 2
      for (int at = lane_ * kQuad; at < count; at += spmm_tensor_layout::kRound) {
        const uint2 positions = load_pair(staged + at * 2);
        uint4 values;
        load(staged + S::kStaged * 2 + at * 4, values);
        store_quad(tile, positions, values);
        asm volatile("st.shared.v2.u32 [%0], {%1, %2};" ::"r"(kept_here + 16 + at * 2), "r"(positions.x),
                     "r"(positions.y)
                     : "memory");
      }
    }
#pragma unroll
    for (int i = 0; i < S::kPanelsPerWarp; ++i) {
      const std::uint32_t tile = tiles + panel(i) * spmm_tensor_layout::kPanelBytes;
#pragma unroll 4
      for (int at = S::kStaged + lane_ * kQuad; at < count_[i]; at += spmm_tensor_layout::kRound) {
        const std::int64_t from = std::int64_t{begin_[i]} + at;
        const uint2 positions = __ldg(reinterpret_cast<const uint2*>(p_.positions + from));
        const uint4 values = __ldg(reinterpret_cast<const uint4*>(static_cast<const char*>(p_.packed) + from * 4));
        store_quad(tile, positions, values);
      }
    }
  }

  const SpmmTensorArguments& p_;
  const CUtensorMap& b_;
  const SpmmTensorShared& shared_;
  const int lane_, set_, member_;
  const std::uint32_t staged_, listed_;
  int held_tile_ = -1, held_first_ = -1;
  int2 held_[S::kPanelsPerWarp];
  int begin_[S::kPanelsPerWarp], count_[S::kPanelsPerWarp];  // of the lists that are staged
};

}  // namespace lacuna::kernels
