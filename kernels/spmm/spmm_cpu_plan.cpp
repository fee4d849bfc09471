#include "kernels/spmm/spmm_cpu_plan.h"

#include <initializer_list>

namespace lacuna::kernels {

namespace {

/// Nanoseconds on one core (AMD Zen 3, AVX2; docs/kernels/cpu.md), where a slab's row is 128 bytes and its product with
/// one entry four multiply-adds. L1 and L2 feed wider vectors in proportion, so the ratios carry over.
struct Model {
  double entry_rows = 1.25;        // per entry and slab, the panel in L2
  double entry_rows_large = 1.6;   // ... and beyond it
  double panel_bytes_small = 256e3;
  double panel_bytes_large = 512e3;
  double entry_piece = 0.88;       // a piece of 28 KB: L1
  double entry_piece_long = 0.97;  // ... of 44 KB
  double row = 7;                  // per row of C and slab, or row, slab and piece: a mispredicted end, sums in and out
  double pack = 9;                 // per row of B and slab
  double cut_entry = 0.6;          // to cut A, once: per entry,
  double cut_row = 5;              // ... per row and piece
};

constexpr std::int64_t kPieceBytes = 28 * 1024, kLongPieceBytes = 44 * 1024;
constexpr double kLeastWork = 1 << 22;  // of one matrix, in multiply-adds; below it the way through pieces never pays

}  // namespace

SpmmCpuPlan plan_spmm_cpu(std::int64_t m, std::int64_t k, std::int64_t n, std::int64_t nnz, std::int64_t slab,
                          std::int64_t slab_bytes) {
  constexpr Model model;
  const double rows = static_cast<double>(m), entries = static_cast<double>(nnz);
  const double slabs = static_cast<double>((n + slab - 1) / slab);
  const double pack = static_cast<double>(k) * model.pack;

  const double panel_bytes = static_cast<double>(k * slab_bytes);
  double far = (panel_bytes - model.panel_bytes_small) / (model.panel_bytes_large - model.panel_bytes_small);
  far = far < 0 ? 0 : far > 1 ? 1 : far;
  const double entry = model.entry_rows + far * (model.entry_rows_large - model.entry_rows);
  SpmmCpuPlan best{.nanoseconds = slabs * (pack + rows * model.row + entries * entry)};
  if (entries * static_cast<double>(n) < kLeastWork) return best;

  for (const bool longer : {false, true}) {
    const std::int64_t piece = (longer ? kLongPieceBytes : kPieceBytes) / slab_bytes;
    const std::int64_t pieces = (k + piece - 1) / piece;
    const double cells = rows * static_cast<double>(pieces);
    const double time = slabs * (pack + cells * model.row + entries * (longer ? model.entry_piece_long : model.entry_piece)) +
                        entries * model.cut_entry + cells * model.cut_row;
    if (time < best.nanoseconds) best = {piece, pieces, time};
  }
  return best;
}

}  // namespace lacuna::kernels
