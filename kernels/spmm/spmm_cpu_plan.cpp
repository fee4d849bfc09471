#include "kernels/spmm/spmm_cpu_plan.h"

#include "kernels/simd/cost.h"
#include "kernels/spmm/spmm_cpu_tasks.h"

namespace lacuna::kernels {

namespace {

/// Nanoseconds on one core, fitted to 134 products on an AMD Zen 3 with AVX2 (docs/kernels/cpu.md), where a slab's row
/// is 128 bytes and its product with one entry four multiply-adds. L1 and L2 feed wider vectors in proportion.
struct Model {
  double panel_bytes[3] = {32e3, 131e3, 524e3};
  double entry_rows[3] = {0.98, 1.66, 2.13};  // by rows: per entry and slab, by the bytes of the panel
  double pack_rows = 15;                      // per row of B and slab
  double row = 10;                            // per row of C and slab
};

/// The same by pieces of one length.
struct PieceModel {
  std::int64_t bytes;  // of the panel
  double entry;        // per entry and slab
  double pack;         // per row of B and slab
  double run;          // per row of C, slab and piece: a mispredicted end, sums in and out
  double cut_entry;    // to cut A, once: per entry,
  double cut_run;      // ... per row and piece
};

/// L1 has 32 KB. Sparser matrices take the longer pieces: fewer ends for some misses.
constexpr PieceModel kPieces[] = {
    {28 * 1024, 0.86, 18.4, 8.5, 1.7, 13.6},
    {44 * 1024, 1.056, 18.6, 7.4, 1.85, 6.9},
};

constexpr double kLeastWork = 1 << 22;  // of one matrix, in multiply-adds; below it the way through pieces never pays

}  // namespace

SpmmCpuPlan plan_spmm_cpu(std::int64_t m, std::int64_t k, std::int64_t n, std::int64_t nnz, std::int64_t slab,
                          std::int64_t slab_bytes) {
  constexpr Model model;
  const double rows = static_cast<double>(m), inner = static_cast<double>(k), entries = static_cast<double>(nnz);
  const double slabs = blocks_of(n, slab, kSlabVectors);
  const double entry = interpolate(model.panel_bytes, model.entry_rows, static_cast<double>(k * slab_bytes));
  SpmmCpuPlan best{.nanoseconds = slabs * (inner * model.pack_rows + rows * model.row + entries * entry)};
  if (entries * static_cast<double>(n) < kLeastWork) return best;

  for (const PieceModel& by : kPieces) {
    const std::int64_t piece = by.bytes / slab_bytes, pieces = (k + piece - 1) / piece;
    const double runs = rows * static_cast<double>(pieces);
    const double time =
        slabs * (inner * by.pack + runs * by.run + entries * by.entry) + entries * by.cut_entry + runs * by.cut_run;
    if (time < best.nanoseconds) best = {piece, pieces, time};
  }
  return best;
}

}  // namespace lacuna::kernels
