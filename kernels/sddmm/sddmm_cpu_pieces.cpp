// SDDMM on the CPU by pieces: of B's panel only so many rows as fit L1 are in use at a time, and the entries are listed
// piece by piece, once for all chunks. What that costs, denser patterns earn back: L1 feeds the multiply-adds faster.
#include <omp.h>

#include <algorithm>
#include <utility>

#include "kernels/sddmm/sddmm_cpu_ways.h"
#include "kernels/simd/panels.h"

namespace lacuna::kernels {

namespace {

constexpr std::int64_t kMostBands = 64;  // of about equal work; a thread takes adjacent ones
constexpr std::size_t kAlignment = 64;

std::size_t aligned(std::size_t bytes) { return (bytes + kAlignment - 1) / kAlignment * kAlignment; }

template <class T>
struct Layout {
  std::int64_t bands;
  std::size_t rows, counts, starts;
  std::size_t panel, cursors;  // of one thread
  std::size_t a_panel, sums;   // of one matrix

  Layout(const SddmmProduct<T>& p, const SddmmCpuPlan& plan) : bands(std::min(kMostBands, p.c.rows)) {
    const auto entries = static_cast<std::size_t>(p.c.nnz + 3 * plan.pieces * p.c.rows);
    const auto chunk_bytes = static_cast<std::size_t>(p.build.chunk()) * sizeof(T);
    rows = aligned(entries * sizeof(std::uint16_t));
    counts = aligned(static_cast<std::size_t>(plan.pieces * p.c.rows) * sizeof(std::uint16_t));
    starts = aligned(static_cast<std::size_t>(plan.pieces * bands) * sizeof(std::int64_t));
    cursors = aligned(static_cast<std::size_t>(p.c.rows) * sizeof(std::int32_t));
    panel = aligned(static_cast<std::size_t>(plan.piece) * chunk_bytes);
    a_panel = aligned(static_cast<std::size_t>(p.c.rows) * chunk_bytes);
    sums = aligned(entries * sizeof(T));
  }
  std::size_t shared() const { return rows + counts + starts; }
};

/// The entries of some rows, piece by piece, each row's filled up to groups of four.
struct Band {
  std::int64_t row_begin, row_end;
  std::uint16_t* rows;    // of the piece, by entry
  std::uint16_t* counts;  // [pieces, row_end - row_begin]
  std::int64_t* starts;   // [pieces] where each piece starts in `rows`
};

/// cursors: [rows of the band] scratch, here and below.
void cut(const Band& band, const std::int32_t* row_offsets, const std::int32_t* col_indices, std::int64_t piece,
         std::int64_t pieces, std::int32_t* cursors) {
  const std::int64_t num_rows = band.row_end - band.row_begin;
  std::copy_n(row_offsets + band.row_begin, num_rows, cursors);
  std::uint16_t* to = band.rows;
  for (std::int64_t p = 0; p < pieces; ++p) {
    band.starts[p] = to - band.rows;
    const std::int64_t base = p * piece, bound = base + piece;
    for (std::int64_t r = 0; r < num_rows; ++r) {
      std::int32_t i = cursors[r];
      const std::int32_t begin = i, end = row_offsets[band.row_begin + r + 1];
      for (; i < end && col_indices[i] < bound; ++i) *to++ = static_cast<std::uint16_t>(col_indices[i] - base);
      cursors[r] = i;
      band.counts[p * num_rows + r] = static_cast<std::uint16_t>(i - begin);
      for (std::int32_t x = i - begin; x % 4 != 0; ++x) *to++ = 0;
    }
  }
}

/// From the order of pieces back to the pattern's.
template <class T>
void put_back(const Band& band, const T* sums, const std::int32_t* row_offsets, std::int64_t pieces, T scale, T* values,
              std::int32_t* cursors) {
  const std::int64_t num_rows = band.row_end - band.row_begin;
  for (std::int64_t r = 0; r < num_rows; ++r) cursors[r] = row_offsets[band.row_begin + r];
  for (std::int64_t p = 0; p < pieces; ++p) {
    for (std::int64_t r = 0; r < num_rows; ++r) {
      const int count = band.counts[p * num_rows + r];
      T* to = values + cursors[r];
      for (int i = 0; i < count; ++i) to[i] = scale * sums[i];
      cursors[r] += count;
      sums += (count + 3) / 4 * 4;
    }
  }
}

}  // namespace

template <class T>
std::size_t sddmm_by_pieces_bytes(const SddmmProduct<T>& p, const SddmmCpuPlan& plan) {
  const Layout<T> layout(p, plan);
  const SddmmShares shares(p.c.batch);
  return layout.shared() + static_cast<std::size_t>(shares.threads) * (layout.panel + layout.cursors) +
         static_cast<std::size_t>(shares.slots()) * (layout.a_panel + layout.sums);
}

template <class T>
void sddmm_by_pieces(const SddmmProduct<T>& p, const SddmmCpuPlan& plan, void* scratch) {
  const Layout<T> layout(p, plan);
  const SddmmShares shares(p.c.batch);
  const Csr<T>& c = p.c;
  char* at = static_cast<char*>(scratch);
  const auto next = [&](std::size_t bytes) { return std::exchange(at, at + bytes); };
  auto* rows = reinterpret_cast<std::uint16_t*>(next(layout.rows));
  auto* counts = reinterpret_cast<std::uint16_t*>(next(layout.counts));
  auto* starts = reinterpret_cast<std::int64_t*>(next(layout.starts));
  char* of_threads = next(static_cast<std::size_t>(shares.threads) * (layout.panel + layout.cursors));

  const auto first_entry = [&](std::int64_t row) { return c.row_offsets[row] + 3 * plan.pieces * row; };
  Band bands[kMostBands];
  for (std::int64_t index = 0, begin = 0; index < layout.bands; ++index) {
    const std::int64_t end = chunk_begin(c.row_offsets, c.rows, index + 1, layout.bands);
    bands[index] = {begin, end, rows + first_entry(begin), counts + plan.pieces * begin, starts + plan.pieces * index};
    begin = end;
  }
  /// One chunk of bands [first, last) of one matrix.
  const auto multiply = [&](std::int64_t matrix, std::int64_t chunk, T* panel, T* a_panel, T* sums, std::int64_t first,
                            std::int64_t last) {
    SddmmPieceTask<T> task;
    task.vectors = p.chunk_vectors(chunk);
    task.first = chunk == 0;
    task.panel = panel;
    const std::int64_t padded = static_cast<std::int64_t>(task.vectors) * p.build.lanes;
    const std::int64_t offset = chunk * p.build.chunk(), width = p.chunk_width(chunk);
    // Where a thread's rows of A lie depends on no chunk's width: others may be at another chunk.
    const std::int64_t first_row = bands[first].row_begin;
    T* rows_of_a = a_panel + first_row * p.build.chunk();
    pack_panel(p.a.data + matrix * p.a.batch_stride + first_row * p.a.ld + offset, p.a.ld, 0,
               bands[last - 1].row_end - first_row, width, padded, rows_of_a);
    for (std::int64_t piece = 0; piece < plan.pieces; ++piece) {
      const std::int64_t begin = piece * plan.piece, end = std::min(begin + plan.piece, p.b.rows);
      pack_panel(p.b.data + matrix * p.b.batch_stride + begin * p.b.ld + offset, p.b.ld, 0, end - begin, width, padded,
                 panel);
      for (std::int64_t index = first; index < last; ++index) {
        const Band& band = bands[index];
        task.num_rows = band.row_end - band.row_begin;
        task.rows = band.rows + band.starts[piece];
        task.counts = band.counts + piece * task.num_rows;
        task.sums = sums + first_entry(band.row_begin) + band.starts[piece];
        task.a = rows_of_a + (band.row_begin - first_row) * padded;
        p.build.piece(task);
      }
    }
  };

#pragma omp parallel
  {
    const std::int64_t thread = omp_get_thread_num();
    char* mine = of_threads + static_cast<std::size_t>(thread) * (layout.panel + layout.cursors);
    T* panel = reinterpret_cast<T*>(mine);
    auto* cursors = reinterpret_cast<std::int32_t*>(mine + layout.panel);
#pragma omp for schedule(static)
    for (std::int64_t band = 0; band < layout.bands; ++band)
      cut(bands[band], c.row_offsets, c.col_indices, plan.piece, plan.pieces, cursors);
#pragma omp for schedule(static, 1)
    for (std::int64_t share = 0; share < shares.count(); ++share) {
      const std::int64_t matrix = shares.matrix(share), part = shares.part(share), parts = shares.parts_of(share);
      const std::int64_t first = layout.bands * part / parts, last = layout.bands * (part + 1) / parts;
      if (first == last) continue;
      char* own = at + static_cast<std::size_t>(shares.slot(share, thread)) * (layout.a_panel + layout.sums);
      T* sums = reinterpret_cast<T*>(own + layout.a_panel);
      for (std::int64_t chunk = 0; chunk < p.chunks(); ++chunk)
        multiply(matrix, chunk, panel, reinterpret_cast<T*>(own), sums, first, last);
      for (std::int64_t index = first; index < last; ++index) {
        put_back(bands[index], sums + first_entry(bands[index].row_begin), c.row_offsets, plan.pieces, p.scale,
                 c.values + matrix * c.values_stride, cursors);
      }
    }
  }
}

#define LACUNA_INSTANTIATE(T)                                                                 \
  template std::size_t sddmm_by_pieces_bytes<T>(const SddmmProduct<T>&, const SddmmCpuPlan&); \
  template void sddmm_by_pieces<T>(const SddmmProduct<T>&, const SddmmCpuPlan&, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
