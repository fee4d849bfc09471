// SpMM on the CPU by pieces: B's panel is cut along K until it fits L1, and A is repacked to fit the pieces, once for
// all slabs. What that costs, denser matrices earn back: L1 feeds the multiply-adds faster than L2.
#include <omp.h>

#include <algorithm>
#include <utility>

#include "kernels/simd/panels.h"
#include "kernels/spmm/spmm_cpu_ways.h"

namespace lacuna::kernels {

namespace {

constexpr std::int64_t kCutRows = 128;  // of a band: A is cut band by band
/// Of a block: the sums of 2048 rows (256 KB) share L2 with what streams through.
constexpr std::int64_t kMostBands = 16;
constexpr std::size_t kAlignment = 64;

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

/// Where things lie in the scratch, in bytes, and how the work is shared: a task is one block of bands and one slab.
/// Nothing here changes the order of a sum.
template <class T>
struct Layout {
  std::int64_t num_rows, bands, blocks;
  std::size_t values, rows, groups, starts, cursors;
  std::size_t panel, sums;  // of one thread

  Layout(const SpmmBuild<T>& build, const SpmmCpuPlan& plan, const Csr<const T>& a, std::int64_t slabs,
         std::int64_t threads)
      : num_rows(a.rows), bands((a.rows + kCutRows - 1) / kCutRows), blocks((bands + kMostBands - 1) / kMostBands) {
    // B is packed once a block, so no more blocks than even shares need.
    while (blocks * slabs % threads != 0 && blocks * slabs < 8 * threads && blocks < bands) ++blocks;
    const std::int64_t entries = a.nnz + 4 * plan.pieces * a.rows + 4;  // zeros included
    const std::int64_t kept = (bands + blocks - 1) / blocks * kCutRows;
    values = aligned(static_cast<std::size_t>(entries) * sizeof(T));
    rows = aligned(static_cast<std::size_t>(entries) * sizeof(std::uint16_t));
    groups = aligned(static_cast<std::size_t>(plan.pieces * a.rows) * sizeof(std::uint16_t));
    starts = aligned(static_cast<std::size_t>(plan.pieces * bands) * sizeof(std::int64_t));
    cursors = aligned(static_cast<std::size_t>(a.rows) * sizeof(std::int32_t));
    panel = aligned(static_cast<std::size_t>((plan.piece + 1) * build.slab()) * sizeof(T));
    sums = aligned(static_cast<std::size_t>(kept * build.slab()) * sizeof(T));
  }
  std::int64_t first_band(std::int64_t block) const { return bands * block / blocks; }
  std::int64_t first_row(std::int64_t band) const { return std::min(band * kCutRows, num_rows); }
  std::size_t shared() const { return values + rows + groups + starts + cursors; }
};

}  // namespace

template <class T>
std::size_t spmm_by_pieces_bytes(const SpmmBuild<T>& build, const SpmmCpuPlan& plan, const Csr<const T>& a,
                                 const Dense<const T>& b) {
  const std::int64_t threads = std::max(1, omp_get_max_threads()), slabs = (b.cols + build.slab() - 1) / build.slab();
  const Layout<T> layout(build, plan, a, slabs, threads);
  return layout.shared() + static_cast<std::size_t>(threads) * (layout.panel + layout.sums);
}

template <class T>
void spmm_by_pieces(const SpmmProduct<T>& p, const SpmmCpuPlan& plan, void* scratch) {
  const SpmmBuild<T>& build = p.build;
  const Csr<const T>& a = p.a;
  const std::int64_t slabs = p.slabs(), batch = std::max(a.batch, p.b.batch);
  const Layout<T> layout(build, plan, a, slabs, std::max(1, omp_get_max_threads()));
  char* at = static_cast<char*>(scratch);
  const auto next = [&](std::size_t bytes) { return std::exchange(at, at + bytes); };
  T* values = reinterpret_cast<T*>(next(layout.values));
  auto* rows = reinterpret_cast<std::uint16_t*>(next(layout.rows));
  auto* groups = reinterpret_cast<std::uint16_t*>(next(layout.groups));
  auto* starts = reinterpret_cast<std::int64_t*>(next(layout.starts));
  auto* cursors = reinterpret_cast<std::int32_t*>(next(layout.cursors));

  const auto first_entry = [&](std::int64_t band) {  // each row has room for its entries and a group a piece
    const std::int64_t row = layout.first_row(band);
    return (std::int64_t{a.row_offsets[row]} + 3) / 4 * 4 + 4 * plan.pieces * row;
  };
  const auto cut = [&](std::int64_t matrix, std::int64_t band) {
    SpmmCutTask<T> task;
    task.row_offsets = a.row_offsets;
    task.col_indices = a.col_indices;
    task.values = a.values + matrix * a.values_stride;
    task.row_begin = layout.first_row(band);
    task.row_end = layout.first_row(band + 1);
    task.piece = plan.piece;
    task.pieces = plan.pieces;
    task.cursor = cursors + task.row_begin;
    task.packed_values = values + first_entry(band);
    task.packed_rows = rows + first_entry(band);
    task.groups = groups + plan.pieces * task.row_begin;
    task.starts = starts + plan.pieces * band;
    build.cut(task);
  };
  const auto multiply = [&](std::int64_t matrix, std::int64_t block, std::int64_t slab, T* panel, T* sums) {
    SpmmPieceTask<T> task;
    task.panel = panel;
    task.out = spmm_output(p, matrix, slab);
    const std::int64_t padded = static_cast<std::int64_t>(task.out.vectors) * build.lanes;
    std::fill_n(panel + plan.piece * padded, padded, T(0));
    const T* source = p.b.data + matrix * p.b.batch_stride + slab * build.slab();
    const std::int64_t first_row = layout.first_row(layout.first_band(block));
    for (std::int64_t piece = 0; piece < plan.pieces; ++piece) {
      const std::int64_t k = piece * plan.piece, count = std::min(plan.piece, a.cols - k);
      pack_panel(source + k * p.b.ld, p.b.ld, 0, count, task.out.width, padded, panel);
      task.first = piece == 0;
      task.last = piece + 1 == plan.pieces;
      for (std::int64_t band = layout.first_band(block); band < layout.first_band(block + 1); ++band) {
        task.row_begin = layout.first_row(band);
        task.row_end = layout.first_row(band + 1);
        const std::int64_t start = first_entry(band) + starts[plan.pieces * band + piece];
        task.values = values + start;
        task.rows = rows + start;
        task.groups = groups + plan.pieces * task.row_begin + piece * (task.row_end - task.row_begin);
        task.sums = sums + (task.row_begin - first_row) * padded;
        build.piece(task);
      }
    }
    const std::int64_t end_row = layout.first_row(layout.first_band(block + 1));
    spmm_gelu(p.epilogue, task.out, first_row, end_row);
  };

  const bool shared_values = a.values_stride == 0;
#pragma omp parallel
  {
    char* own = at + static_cast<std::size_t>(omp_get_thread_num()) * (layout.panel + layout.sums);
    T* panel = reinterpret_cast<T*>(own);
    T* sums = reinterpret_cast<T*>(own + layout.panel);
    for (std::int64_t matrix = 0; matrix < batch; ++matrix) {
      if (matrix == 0 || !shared_values) {
#pragma omp for schedule(static)
        for (std::int64_t band = 0; band < layout.bands; ++band) cut(matrix, band);
      }
#pragma omp for schedule(static)
      for (std::int64_t task = 0; task < layout.blocks * slabs; ++task)
        multiply(matrix, task / slabs, task % slabs, panel, sums);
    }
  }
}

#define LACUNA_INSTANTIATE(T)                                                                                \
  template std::size_t spmm_by_pieces_bytes<T>(const SpmmBuild<T>&, const SpmmCpuPlan&, const Csr<const T>&, \
                                               const Dense<const T>&);                                       \
  template void spmm_by_pieces<T>(const SpmmProduct<T>&, const SpmmCpuPlan&, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
