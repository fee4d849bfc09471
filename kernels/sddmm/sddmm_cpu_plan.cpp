#include "kernels/sddmm/sddmm_cpu_plan.h"

#include "kernels/sddmm/sddmm_cpu_tasks.h"
#include "kernels/simd/cost.h"

namespace lacuna::kernels {

namespace {

/// Nanoseconds on one core, fitted to 134 products on an AMD Zen 3 with AVX2 (docs/kernels/cpu.md), where a chunk's row
/// is 256 bytes and its product with one row of the panel eight multiply-adds.
struct Model {
  double panel_bytes[4] = {66e3, 262e3, 524e3, 1049e3};
  double entry_rows[4] = {3.0, 3.5, 4.0, 5.2};  // by rows: per entry and chunk, by the bytes of the panel
  double pack_rows = 41;                        // per row of B and chunk
  double row = 9;                               // per row of A and chunk
  double entry_piece = 2.38;                    // by pieces: per entry and chunk
  double pack_piece = 44;                       // per row of B and chunk
  double pack_a = 5;                            // per row of A and chunk
  double run = 9.9;                             // per row of A, chunk and piece: a mispredicted end
  double cut_entry = 1.2;                       // to list the entries and to put the sums back, once: per entry,
  double cut_run = 21;                          // ... per row and piece
};

constexpr std::int64_t kPieceBytes = 44 * 1024;  // more than L1's 32 KB: longer runs are worth some misses
constexpr double kLeastWork = 1 << 22;           // of one matrix, in multiply-adds; below it pieces never pay

}  // namespace

SddmmCpuPlan plan_sddmm_cpu(std::int64_t m, std::int64_t n, std::int64_t k, std::int64_t nnz, std::int64_t chunk,
                            std::int64_t chunk_bytes) {
  constexpr Model model;
  const double rows = static_cast<double>(m), columns = static_cast<double>(n), entries = static_cast<double>(nnz);
  const double chunks = blocks_of(k, chunk, kChunkVectors);
  const double entry = interpolate(model.panel_bytes, model.entry_rows, static_cast<double>(n * chunk_bytes));
  SddmmCpuPlan best{.nanoseconds = chunks * (columns * model.pack_rows + rows * model.row + entries * entry)};
  if (entries * static_cast<double>(k) < kLeastWork) return best;

  const std::int64_t piece = kPieceBytes / chunk_bytes, pieces = (n + piece - 1) / piece;
  const double runs = rows * static_cast<double>(pieces);
  const double time =
      chunks * (columns * model.pack_piece + rows * model.pack_a + runs * model.run + entries * model.entry_piece) +
      entries * model.cut_entry + runs * model.cut_run;
  if (time < best.nanoseconds) best = {piece, pieces, time};
  return best;
}

}  // namespace lacuna::kernels
