// Derived data of a pattern: built once, on the pattern's device, kept with it.
#include "core/topology.h"

#include <algorithm>
#include <type_traits>
#include <vector>

#include "core/visit.h"
#include "kernels/runtime/runtime.h"
#include "kernels/sddmm/sddmm_tiles.h"
#include "kernels/sparse_attention/sparse_attention.h"
#include "kernels/spmm/spmm_plan.h"
#include "kernels/topology/topology.h"

namespace lacuna {

namespace {

Tensor scratch_of(std::size_t bytes, Device device) {
  return Tensor::empty({static_cast<std::int64_t>(bytes)}, DType::u8, device);
}

}  // namespace

Topology::Topology(std::int64_t rows, std::int64_t cols, Tensor row_offsets, Tensor col_indices)
    : rows_(rows),
      cols_(cols),
      nnz_(col_indices.numel()),
      row_offsets_(std::move(row_offsets)),
      col_indices_(std::move(col_indices)) {}

double Topology::sparsity() const {
  const double total = static_cast<double>(rows_) * static_cast<double>(cols_);
  return total == 0 ? 0.0 : 1.0 - static_cast<double>(nnz_) / total;
}

const Tensor& Topology::row_indices() const {
  std::lock_guard lock(mutex_);
  if (!row_indices_.defined()) {
    OpScope scope("row_indices");
    Tensor indices = Tensor::empty({nnz_}, DType::i32, device());
    visit_device("row_indices", device(), [&](auto stream) {
      kernels::expand_rows(stream, rows_, nnz_, row_offsets_.data<std::int32_t>(), indices.data<std::int32_t>());
      settle(stream);
    });
    row_indices_ = std::move(indices);
  }
  return row_indices_;
}

const Tensor& Topology::row_order() const {
  std::lock_guard lock(mutex_);
  if (!row_order_.defined()) {
    OpScope scope("row_order");
    Tensor order = Tensor::empty({rows_}, DType::i32, device());
    visit_device("row_order", device(), [&](auto stream) {
      Tensor scratch = scratch_of(kernels::row_order_scratch_bytes(stream, rows_), device());
      kernels::row_order(stream, rows_, row_offsets_.data<std::int32_t>(), order.data<std::int32_t>(), scratch.raw());
      settle(stream);
    });
    row_order_ = std::move(order);
  }
  return row_order_;
}

const Tensor& Topology::row_shares() const {
  std::lock_guard lock(mutex_);
  if (!row_shares_.defined()) {
    OpScope scope("row_shares");
    Tensor bounds = Tensor::empty({rows_, kernels::kRowShares + 1}, DType::i32, device());
    visit_device("row_shares", device(), [&](auto stream) {
      kernels::row_shares(stream, rows_, cols_, kernels::kRowShares, row_offsets_.data<std::int32_t>(),
                          col_indices_.data<std::int32_t>(), bounds.data<std::int32_t>());
      settle(stream);
    });
    row_shares_ = std::move(bounds);
  }
  return row_shares_;
}

/// Waits, once for each pattern, so that kernels may read what was built before they wait for the kernel before them.
template <class Stream>
void Topology::settle([[maybe_unused]] Stream stream) const {
#if LACUNA_HAS_CUDA
  if constexpr (std::is_same_v<Stream, CudaStream>) {
    if (!runtime::synchronize_unless_captured(stream, device().index)) built_in_capture_ = true;
    settled_ = !built_in_capture_;
  }
#endif
}

bool Topology::settled() const {
  std::lock_guard lock(mutex_);
  return settled_ || device().is_cpu();
}

const TransposedTopology& Topology::transposed() const {
  std::lock_guard lock(mutex_);
  if (!transposed_) {
    OpScope scope("transpose_pattern");
    Tensor offsets = Tensor::empty({cols_ + 1}, DType::i32, device());
    Tensor columns = Tensor::empty({nnz_}, DType::i32, device());
    Tensor permutation = Tensor::empty({nnz_}, DType::i32, device());
    visit_device("transpose_pattern", device(), [&](auto stream) {
      Tensor scratch = scratch_of(kernels::transpose_scratch_bytes(stream, rows_, cols_, nnz_), device());
      kernels::transpose_pattern(stream, rows_, cols_, nnz_, row_offsets_.data<std::int32_t>(),
                                 col_indices_.data<std::int32_t>(), offsets.data<std::int32_t>(),
                                 columns.data<std::int32_t>(), permutation.data<std::int32_t>(), scratch.raw());
    });
    auto topology = std::make_shared<const Topology>(cols_, rows_, std::move(offsets), std::move(columns));
    transposed_ = std::make_unique<TransposedTopology>(TransposedTopology{std::move(topology), std::move(permutation)});
  }
  return *transposed_;
}

const Tensor& Topology::sddmm_plan() const {
  std::lock_guard lock(mutex_);
  if (!sddmm_plan_.defined()) {
    OpScope scope("sddmm_plan");
    visit_device("sddmm_plan", device(), [&](auto stream) {
      if constexpr (std::is_same_v<decltype(stream), CudaStream>) {
        const Tensor plan = scratch_of(kernels::sddmm_plan_bytes(rows_, cols_, nnz_), device());
        const kernels::Pattern pattern{rows_, cols_, nnz_, row_offsets_.data<std::int32_t>(),
                                       col_indices_.data<std::int32_t>()};
        kernels::sddmm_plan(stream, pattern, plan.raw());
        sddmm_plan_ = plan;
      } else {
        throw BackendError("sddmm_plan", "a pattern on the CPU; tensor-core plans are CUDA's");
      }
    });
  }
  return sddmm_plan_;
}

const AttentionPlan& Topology::attention_plan(std::int64_t window, int min_cell_tiles,
                                              const AttentionPlan* rows) const {
  std::lock_guard lock(mutex_);
  for (const auto& plan : attention_plans_) {
    if (plan->window == window && plan->min_cell_tiles == min_cell_tiles && plan->takes_cells == (rows != nullptr))
      return *plan;
  }
  OpScope scope("attention_plan");
  auto plan = std::make_unique<AttentionPlan>();
  visit_device("attention_plan", device(), [&](auto stream) {
    if constexpr (std::is_same_v<decltype(stream), CudaStream>) {
      const auto ints = [&](std::int64_t count) { return Tensor::empty({count}, DType::i32, device()); };
      plan->window = window;
      plan->min_cell_tiles = min_cell_tiles;
      plan->takes_cells = rows != nullptr;
      kernels::PanelPlan given;
      if (rows) {
        given.cell_offsets = rows->cell_offsets.data<std::int32_t>();
        given.cell_windows = rows->cell_windows.data<std::int32_t>();
      }
      plan->tile_offsets = ints(kernels::attention_plan_offsets_size(rows_, window));
      plan->block_order = ints(kernels::attention_block_order_size(rows_));
      const Tensor scratch = scratch_of(kernels::panel_plan_scratch_bytes(stream, rows_, window), device());
      const std::int32_t* offsets = row_offsets_.data<std::int32_t>();
      const std::int32_t* columns = col_indices_.data<std::int32_t>();
      if (min_cell_tiles > 0) plan->cell_offsets = ints(kernels::attention_cell_offsets_size(rows_));
      const auto [tiles, cells] =
          kernels::panel_plan_offsets(stream, rows_, window, offsets, columns, plan->tile_offsets.data<std::int32_t>(),
                                      plan->block_order.data<std::int32_t>(),
                                      min_cell_tiles > 0 ? plan->cell_offsets.data<std::int32_t>() : nullptr,
                                      min_cell_tiles, scratch.raw(), rows ? &given : nullptr);
      plan->slots = ints(tiles * kernels::kTileSlots);
      kernels::panel_plan_slots(stream, rows_, window, offsets, columns, plan->tile_offsets.data<std::int32_t>(),
                                static_cast<std::uint32_t*>(plan->slots.raw()));
      if (min_cell_tiles > 0) {
        plan->cell_windows = ints(cells);
        plan->cell_bits = ints(cells * kernels::kCellWords);
        plan->cell_order = ints(plan->cell_offsets.dim(0) - 1);
        if (rows) plan->cell_places = ints(cells);
        kernels::panel_plan_cells(stream, rows_, offsets, columns, plan->cell_offsets.data<std::int32_t>(), cells,
                                  plan->cell_windows.data<std::int32_t>(),
                                  static_cast<std::uint32_t*>(plan->cell_bits.raw()),
                                  plan->cell_order.data<std::int32_t>(), scratch.raw(), rows ? &given : nullptr,
                                  rows ? plan->cell_places.data<std::int32_t>() : nullptr);
      }
    } else {
      throw BackendError("attention_plan", "a pattern on the CPU; the fused attention kernels are CUDA's");
    }
  });
  attention_plans_.push_back(std::move(plan));
  return *attention_plans_.back();
}

std::int64_t Topology::max_row_length() const {
  std::lock_guard lock(mutex_);
  if (max_row_length_ < 0) {
    const std::vector<std::int32_t> offsets = row_offsets_.to_vector<std::int32_t>();
    std::int64_t longest = 0;
    for (std::size_t r = 0; r + 1 < offsets.size(); ++r)
      longest = std::max<std::int64_t>(longest, offsets[r + 1] - offsets[r]);
    max_row_length_ = longest;
  }
  return max_row_length_;
}

bool Topology::same_pattern(const Topology& other) const {
  if (this == &other) return true;
  if (rows_ != other.rows_ || cols_ != other.cols_ || nnz_ != other.nnz_) return false;
  return row_offsets_.to_vector<std::int32_t>() == other.row_offsets_.to_vector<std::int32_t>() &&
         col_indices_.to_vector<std::int32_t>() == other.col_indices_.to_vector<std::int32_t>();
}

std::size_t Topology::bytes() const {
  std::lock_guard lock(mutex_);
  std::size_t total = row_offsets_.nbytes() + col_indices_.nbytes();
  if (row_indices_.defined()) total += row_indices_.nbytes();
  if (row_order_.defined()) total += row_order_.nbytes();
  if (row_shares_.defined()) total += row_shares_.nbytes();
  if (sddmm_plan_.defined()) total += sddmm_plan_.nbytes();
  if (transposed_) total += transposed_->permutation.nbytes() + transposed_->topology->bytes();
  for (const auto& plan : attention_plans_) {
    total += plan->tile_offsets.nbytes() + plan->slots.nbytes() + plan->block_order.nbytes();
    if (plan->min_cell_tiles > 0)
      total += plan->cell_offsets.nbytes() + plan->cell_windows.nbytes() + plan->cell_bits.nbytes() +
               plan->cell_order.nbytes();
    if (plan->takes_cells) total += plan->cell_places.nbytes();
  }
  return total;
}

}  // namespace lacuna
