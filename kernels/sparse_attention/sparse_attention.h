// Fused attention over a fixed sparse pattern: softmax(scale * Q K^T on the pattern) V, forward and backward, without
// storing scores. The tiling over keys with a running softmax is FlashAttention's (Dao et al., 2022; Dao, 2023); the
// pattern enters as *panels*: 16 query rows, and the keys that any of them uses.
//
//   t: tokens.  d: features of a head.  panel: 16 consecutive rows.  window: consecutive columns that are staged in
//   shared memory together.  slot: one (panel, column) with the 16 bits of the rows that have the entry.
//   tile: 16 slots of one panel and window, the unit of work.
#pragma once

#include <cstddef>
#include <cstdint>
#include <span>

#include "kernels/random/philox.h"
#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

inline constexpr int kPanelRows = 16;
inline constexpr int kTileSlots = 16;

/// One pattern, packed for the fused kernels. Built on the device by `panel_plan_offsets` and `panel_plan_slots`.
struct PanelPlan {
  const std::int32_t* tile_offsets = nullptr;  ///< [windows * panels + 1], window-major: first tile of (window, panel)
  const std::uint32_t* slots = nullptr;        ///< [tiles * 16]: column within its window | rows << 16
  const std::int32_t* block_order =
      nullptr;  ///< two orders of blocks, most tiles first; for the two sizes of block in tiling.h
  // The part computed whole (bf16, d = 128 alone; null: none): cells of 128 rows and 128 columns, whose entries are in no tile.
  const std::int32_t* cell_offsets = nullptr;  ///< [ceil(t / 128) + 1]: first cell of 128 rows
  const std::int32_t* cell_windows = nullptr;  ///< [cells]: 128 columns each
  const std::uint32_t* cell_bits = nullptr;    ///< [cells * 512]: entries, in the order of the kernels' registers
  const std::int32_t* cell_order = nullptr;    ///< 128 rows each, most cells first
  std::int64_t cells = 0;
  /// [cells], where this pattern is the transpose of one whose plan has the same cells (else null): of each cell there, the
  /// index of the same one here.
  const std::int32_t* cell_places = nullptr;
};

/// Whether the fused kernels take heads of d features.
constexpr bool attention_supports(std::int64_t d) { return d == 32 || d == 64 || d == 128; }

/// Columns of a window: a property of the element type and d, so that two windows of K and V fit shared memory.
template <class T>
std::int64_t attention_window(std::int64_t d);

/// Entries of PanelPlan::tile_offsets, and of PanelPlan::block_order, for t rows.
std::int64_t attention_plan_offsets_size(std::int64_t t, std::int64_t window);
std::int64_t attention_block_order_size(std::int64_t t);

/// Tiles of a cell (64 at most) from which on the kernels compute it whole; 0: never, for this element type and d.
template <class T>
int attention_cell_tiles(std::int64_t d);
/// Entries of PanelPlan::cell_offsets for t rows, and of cell_bits for each cell.
std::int64_t attention_cell_offsets_size(std::int64_t t);
inline constexpr std::int64_t kCellWords = 512;

struct PanelPlanSizes {
  std::int64_t tiles = 0;
  std::int64_t cells = 0;
};

/// Step 1 of a plan for the square pattern (row_offsets [t + 1], col_indices [nnz]): fills tile_offsets, block_order and,
/// if cell_offsets is given (window 128; then min_cell_tiles is not 0), that too; waits for the device. Deterministic.
/// rows: a plan with cells of the pattern that this one is the transpose of; its cells are taken then.
std::size_t panel_plan_scratch_bytes(CudaStream, std::int64_t t, std::int64_t window);
PanelPlanSizes panel_plan_offsets(CudaStream, std::int64_t t, std::int64_t window, const std::int32_t* row_offsets,
                                  const std::int32_t* col_indices, std::int32_t* tile_offsets,
                                  std::int32_t* block_order, std::int32_t* cell_offsets, int min_cell_tiles,
                                  void* scratch, const PanelPlan* rows = nullptr);
/// Step 2: slots [16 * tiles].
void panel_plan_slots(CudaStream, std::int64_t t, std::int64_t window, const std::int32_t* row_offsets,
                      const std::int32_t* col_indices, const std::int32_t* tile_offsets, std::uint32_t* slots);
/// Step 3, for plans with cells: cell_windows [cells], cell_bits [cells * 512], cell_order [as many as blocks of 128 rows].
/// scratch, rows: as step 1 left it and had it; with rows, cell_places [cells].
void panel_plan_cells(CudaStream, std::int64_t t, const std::int32_t* row_offsets, const std::int32_t* col_indices,
                      const std::int32_t* cell_offsets, std::int64_t cells, std::int32_t* cell_windows,
                      std::uint32_t* cell_bits, std::int32_t* cell_order, const void* scratch,
                      const PanelPlan* rows = nullptr, std::int32_t* cell_places = nullptr);

/// Where an operand's matrices lie: that of head h and sequence s begins `h * head + s * sequence` elements after the pointer,
/// and its rows are `row` apart. As it is: [matrices, t, d], contiguous.
struct AttentionLayout {
  std::int64_t row = 0;
  std::int64_t head = 0;
  std::int64_t sequence = 0;
};

inline constexpr std::int64_t kMostAttentionSequences = 65535;

/// What forward and backward share. Matrices are [t, d], d in {32, 64, 128}.
struct AttentionProblem {
  std::int64_t matrices = 0;              ///< heads * batch, head-major
  std::int64_t matrices_per_pattern = 1;  ///< matrix x uses plan x / matrices_per_pattern
  std::int64_t t = 0;
  std::int64_t d = 0;
  double scale = 1;
  bool causal = false;  ///< every column up to the row, without a plan
  double dropout_p = 0;
  std::uint64_t seed = 0;
  RandomSequence sequence;
  /// Matrix x is sequence x % sequences of head x / sequences; must divide matrices_per_pattern.
  std::int64_t sequences = 1;
  AttentionLayout in;   ///< of q, k, v and their gradients
  AttentionLayout out;  ///< of out and dout
};

/// out = softmax(scale * q k^T on the pattern) v, dropout applied to the probabilities; a row without entries gives
/// zeros. lse [matrices, t] f32: log of the sum of exponentials by row, +inf for an empty row; may be null.
/// T is Bf16 or float. float runs on tensor cores: TF32 where the stream allows it, else three TF32 products (f32
/// accurate). lse must be given where the plans have cells.
template <class T>
void sparse_attention_forward(CudaStream, const AttentionProblem&, std::span<const PanelPlan> plans, const T* q,
                              const T* k, const T* v, T* out, float* lse);

/// dq, dk, dv from dout; a null one is not computed. `transposed`: the plans of the transposed patterns, for the scratch
/// bytes only where all three are computed. The dropout
/// mask is drawn again from (seed, sequence). No atomics: equal bits on every run.
template <class T>
std::size_t sparse_attention_backward_scratch_bytes(CudaStream, const AttentionProblem&,
                                                    std::span<const PanelPlan> transposed);
template <class T>
void sparse_attention_backward(CudaStream, const AttentionProblem&, std::span<const PanelPlan> plans,
                               std::span<const PanelPlan> transposed, const T* q, const T* k, const T* v, const T* out,
                               const float* lse, const T* dout, T* dq, T* dk, T* dv, void* scratch);

}  // namespace lacuna::kernels
