// Warps that make A dense while others multiply: a batch is eight rows of 256 columns, four lanes each, made in shared
// memory. Chunks of 32 batches come in the order in which the tiles want them. A lone warp takes about five clocks for an
// instruction, so what counts is how few there are. Device code only.
#pragma once

#include "kernels/bf16_product/shape.cuh"

namespace lacuna::kernels {

/// Batches id, id + step, ... of all chunks, chunks in the order of panels and groups of panels; without divisions.
template <class S>
class Bf16ProductWalk {
 public:
  static constexpr int kBatches = 32;  // of a chunk
  static constexpr int kRows = 256 / kBatches;

  __device__ Bf16ProductWalk(const Bf16ProductArguments& p, int id, int step)
      : p_(p), step_(step), left_(p.panels * p.chunks * kBatches - id), height_(min(p.group, p.panels)) {
    move(id);
  }
  __device__ void next() {
    left_ -= step_;
    move(step_);
  }
  __device__ bool ended() const { return left_ <= 0; }
  __device__ int panel() const { return first_ + in_group_; }
  __device__ int chunk() const { return chunk_; }
  /// Of A's 256 rows.
  __device__ int row() const { return batch_ * kRows; }

 private:
  __device__ void move(int batches) {
    batch_ += batches % kBatches;
    in_group_ += batches / kBatches + batch_ / kBatches;
    batch_ %= kBatches;
    while (in_group_ >= height_ && left_ > 0) {
      in_group_ -= height_;
      if (++chunk_ < p_.chunks) continue;
      chunk_ = 0, first_ += height_;
      height_ = max(1, min(p_.group, p_.panels - first_));
    }
  }

  const Bf16ProductArguments& p_;
  int step_, left_, height_;
  int first_ = 0, in_group_ = 0, chunk_ = 0, batch_ = 0;
};

template <class S>
class Bf16ProductWriter {
 public:
  /// image: the warp's shared memory.
  __device__ Bf16ProductWriter(const Bf16ProductArguments& p, std::uint32_t image)
      : p_(p), lane_(threadIdx.x % 32), image_(image), whole_(static_cast<unsigned>(p.nnz) & ~3u) {}

  /// While a batch is stored, the entries of the next are on their way, and the bounds of the one after that.
  __device__ void run(int id, int step) const {
    Bf16ProductWalk<S> walk(p_, id, step);
    if (walk.ended()) return;
    Place at = place(walk);
    Row row = load(at);
    walk.next();
    Place next = at;
    Row next_row = {};
    if (!walk.ended()) next = place(walk), next_row = load(next);
    Group entries[kAhead];
    fetch(entries, row);
    for (bool more = true; more;) {
      scatter(entries, row, at);
      const Place done = at;
      more = !walk.ended();
      if (more) {
        at = next, row = next_row;
        fetch(entries, row);
        walk.next();
        if (!walk.ended()) next = place(walk), next_row = load(next);
      }
      store(done);
      __syncwarp();  // the image is read, and the rows are written
      if (lane_ == 0) asm volatile("red.release.gpu.global.add.u32 [%0], 1;" ::"l"(p_.flags + done.flag) : "memory");
    }
  }

 private:
  static constexpr int kRows = Bf16ProductWalk<S>::kRows, kLanes = 32 / kRows;  // of a row
  static constexpr int kStep = kLanes * 4;
  static constexpr int kAhead = 10;  // groups of four entries a lane: 160 of each row

  struct Place {
    int row, group, flag;  // row: the batch's first; group: of 256 columns
  };
  struct Row {
    unsigned begin, end;  // entries of the lane's row
  };
  struct Group {
    int4 columns;
    uint2 values;
  };

  __device__ Place place(const Bf16ProductWalk<S>& walk) const {
    constexpr bool kRows = S::kOf == Bf16ProductRows::rows;
    return {(kRows ? walk.panel() : walk.chunk()) * 256 + walk.row(), kRows ? walk.chunk() : walk.panel(),
            walk.panel() * p_.chunks + walk.chunk()};
  }

  __device__ Row load(const Place& at) const {
    const int row = at.row + lane_ / kLanes;
    if (row >= p_.rows) return {0, 0};
    const std::int32_t* starts = p_.starts + std::int64_t{at.group} * p_.rows + row;
    const std::int32_t* ends = at.group + 1 < p_.col_groups ? starts + p_.rows : p_.row_offsets + row + 1;
    return {static_cast<unsigned>(__ldg(starts)), static_cast<unsigned>(__ldg(ends))};
  }

  /// First of the entries that this lane takes, and how many of the batch's longest row the lanes take together.
  __device__ unsigned first_of(const Row& row) const { return (row.begin & ~3u) + lane_ % kLanes * 4; }
  __device__ int length_of(const Row& row) const {
    return static_cast<int>(__reduce_max_sync(0xffffffffu, row.end - (row.begin & ~3u)));
  }

  /// Few branches: a load that one may skip is waited for where the ways meet.
  template <int kFrom, int kTo>
  __device__ __forceinline__ void fetch(Group (&entries)[kAhead], unsigned first, unsigned end) const {
#pragma unroll
    for (int i = kFrom; i < kTo; ++i) {
      if (first + i * kStep < end) entries[i] = load_group(first + i * kStep);
    }
  }
  __device__ void fetch(Group (&entries)[kAhead], const Row& row) const {
    const unsigned first = first_of(row), end = min(row.end, whole_);
    const int length = length_of(row);
    fetch<0, 2>(entries, first, end);
    if (length > 2 * kStep) fetch<2, 4>(entries, first, end);
    if (length > 4 * kStep) fetch<4, kAhead>(entries, first, end);
  }
  __device__ Group load_group(unsigned e) const {
    return {__ldcs(reinterpret_cast<const int4*>(p_.col_indices + e)),
            __ldcs(reinterpret_cast<const uint2*>(p_.values + e))};
  }

  /// skipped: entries from the row's first to the group's; where that is negative or past the row's, none of its own.
  __device__ void put(const Group& group, int skipped, unsigned length, std::uint32_t to) const {
    const std::uint32_t x = group.values.x, y = group.values.y;
    put(skipped, length, to + group.columns.x * 2, static_cast<std::uint16_t>(x));
    put(skipped + 1, length, to + group.columns.y * 2, static_cast<std::uint16_t>(x >> 16));
    put(skipped + 2, length, to + group.columns.z * 2, static_cast<std::uint16_t>(y));
    put(skipped + 3, length, to + group.columns.w * 2, static_cast<std::uint16_t>(y >> 16));
  }
  static __device__ void put(int skipped, unsigned length, std::uint32_t to, std::uint16_t value) {
    if (static_cast<unsigned>(skipped) < length)
      asm volatile("st.shared.u16 [%0], %1;" ::"r"(to), "h"(value) : "memory");
  }

  /// The rows into the image.
  __device__ void scatter(const Group (&entries)[kAhead], const Row& row, const Place& at) const {
#pragma unroll
    for (int i = 0; i < kRows; ++i)
      asm volatile("st.shared.v4.u32 [%0], {%1, %1, %1, %1};" ::"r"(image_ + lane_ * 16 + i * 512), "r"(0) : "memory");
    __syncwarp();
    const std::uint32_t to = image_ + lane_ / kLanes * 512 - at.group * 512;  // of column 0
    const unsigned first = first_of(row), end = min(row.end, whole_), own = end > row.begin ? end - row.begin : 0;
    const int skipped = static_cast<int>(first - row.begin), length = length_of(row);
#pragma unroll
    for (int i = 0; i < 2; ++i) put(entries[i], skipped + i * kStep, own, to);
    if (length > 2 * kStep) {
#pragma unroll
      for (int i = 2; i < 4; ++i) put(entries[i], skipped + i * kStep, own, to);
    }
    if (length > 4 * kStep) {
#pragma unroll
      for (int i = 4; i < kAhead; ++i) put(entries[i], skipped + i * kStep, own, to);
    }
    for (unsigned e = first + kAhead * kStep; e < end; e += kStep)
      put(load_group(e), static_cast<int>(e - row.begin), own, to);
    if (row.end > whole_) {  // the last of all entries, one to three, one a lane
      const unsigned e = max(row.begin, whole_) + lane_ % kLanes;
      if (e < row.end) put(0, 1, to + p_.col_indices[e] * 2, p_.values[e]);
    }
    __syncwarp();
  }

  /// A row's 512 bytes by all lanes.
  __device__ void store(const Place& at) const {
    const int column = at.group * 256 + lane_ * 8;
    std::uint16_t* out = p_.dense + at.row * p_.dense_ld + column;
#pragma unroll
    for (int i = 0; i < kRows; ++i) {
      uint4 x;
      asm volatile("ld.shared.v4.u32 {%0, %1, %2, %3}, [%4];"
                   : "=r"(x.x), "=r"(x.y), "=r"(x.z), "=r"(x.w)
                   : "r"(image_ + i * 512 + lane_ * 16)
                   : "memory");
      if (at.row + i < p_.rows && column < p_.cols) *reinterpret_cast<uint4*>(out + i * p_.dense_ld) = x;
    }
  }

  const Bf16ProductArguments& p_;
  const int lane_;
  const std::uint32_t image_;
  const unsigned whole_;  // entries that can be read four at a time
};

}  // namespace lacuna::kernels
