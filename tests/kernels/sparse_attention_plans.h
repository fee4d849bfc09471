// Patterns, and their plans for the fused attention kernels: what the tests of both share.
#pragma once

#include <cstdint>
#include <functional>
#include <random>
#include <vector>

#include "core/device.h"
#include "core/tensor.h"
#include "kernels/sparse_attention/sparse_attention.h"

namespace lacuna::kernels {

struct Pattern {
  std::int64_t t = 0;
  std::vector<std::int32_t> offsets{0}, columns;
};

inline Pattern pattern_of(std::int64_t t, const std::function<bool(std::int64_t, std::int64_t)>& has) {
  Pattern p{t};
  for (std::int64_t i = 0; i < t; ++i) {
    for (std::int64_t j = 0; j < t; ++j) {
      if (has(i, j)) p.columns.push_back(static_cast<std::int32_t>(j));
    }
    p.offsets.push_back(static_cast<std::int32_t>(p.columns.size()));
  }
  return p;
}

inline Pattern random_pattern(std::int64_t t, double present, unsigned seed) {
  std::mt19937 generator(seed);
  return pattern_of(t, [&](std::int64_t, std::int64_t) { return generator() < present * 4294967296.0; });
}
inline Pattern causal_pattern(std::int64_t t) {
  return pattern_of(t, [](std::int64_t i, std::int64_t j) { return j <= i; });
}
inline Pattern band_pattern(std::int64_t t, std::int64_t band) {
  return pattern_of(t, [=](std::int64_t i, std::int64_t j) { return j <= i && i - j < band; });
}

inline Pattern transpose(const Pattern& p) {
  Pattern out{p.t, std::vector<std::int32_t>(static_cast<std::size_t>(p.t) + 1, 0), {}};
  std::vector<std::vector<std::int32_t>> rows(static_cast<std::size_t>(p.t));
  for (std::int64_t i = 0; i < p.t; ++i) {
    for (auto e = static_cast<std::size_t>(p.offsets[i]); e < static_cast<std::size_t>(p.offsets[i + 1]); ++e)
      rows[static_cast<std::size_t>(p.columns[e])].push_back(static_cast<std::int32_t>(i));
  }
  for (std::size_t r = 0; r < rows.size(); ++r) {
    out.columns.insert(out.columns.end(), rows[r].begin(), rows[r].end());
    out.offsets[r + 1] = static_cast<std::int32_t>(out.columns.size());
  }
  return out;
}

#if LACUNA_HAS_CUDA

struct Plan {
  Tensor offsets, columns, tile_offsets, order, slots;
  Tensor cell_offsets, cell_windows, cell_bits, cell_order, cell_places;
  PanelPlan view() const {
    PanelPlan plan;
    plan.tile_offsets = tile_offsets.data<std::int32_t>();
    plan.slots = static_cast<const std::uint32_t*>(slots.raw());
    plan.block_order = order.data<std::int32_t>();
    if (!cell_offsets.defined()) return plan;
    plan.cell_offsets = cell_offsets.data<std::int32_t>();
    plan.cell_windows = cell_windows.data<std::int32_t>();
    plan.cell_bits = static_cast<const std::uint32_t*>(cell_bits.raw());
    plan.cell_order = cell_order.data<std::int32_t>();
    plan.cells = cell_windows.dim(0);
    if (cell_places.defined()) plan.cell_places = cell_places.data<std::int32_t>();
    return plan;
  }
};

/// rows: the plan whose cells this one takes, of the pattern whose transpose p is.
inline Plan make_plan(Device device, const Pattern& p, std::int64_t window, int min_cell_tiles = 0,
                      const PanelPlan* rows_plan = nullptr) {
  const CudaStream stream = cuda_stream(device);
  const auto upload = [&](const std::vector<std::int32_t>& v) {
    return Tensor::from(v, {static_cast<std::int64_t>(v.size())}).to(device);
  };
  Plan plan{upload(p.offsets), upload(p.columns)};
  plan.tile_offsets = Tensor::empty({attention_plan_offsets_size(p.t, window)}, DType::i32, device);
  plan.order = Tensor::empty({attention_block_order_size(p.t)}, DType::i32, device);
  const Tensor scratch =
      Tensor::empty({static_cast<std::int64_t>(panel_plan_scratch_bytes(stream, p.t, window))}, DType::u8, device);
  const auto* rows = plan.offsets.data<std::int32_t>();
  const auto* cols = plan.columns.data<std::int32_t>();
  if (min_cell_tiles > 0) plan.cell_offsets = Tensor::empty({attention_cell_offsets_size(p.t)}, DType::i32, device);
  const auto [tiles, cells] = panel_plan_offsets(
      stream, p.t, window, rows, cols, plan.tile_offsets.data<std::int32_t>(), plan.order.data<std::int32_t>(),
      min_cell_tiles > 0 ? plan.cell_offsets.data<std::int32_t>() : nullptr, min_cell_tiles, scratch.raw(), rows_plan);
  plan.slots = Tensor::full({tiles * kTileSlots}, -1, DType::i32, device);
  panel_plan_slots(stream, p.t, window, rows, cols, plan.tile_offsets.data<std::int32_t>(),
                   static_cast<std::uint32_t*>(plan.slots.raw()));
  if (min_cell_tiles == 0) return plan;
  plan.cell_windows = Tensor::full({cells}, -1, DType::i32, device);
  if (rows_plan) plan.cell_places = Tensor::full({cells}, -1, DType::i32, device);
  plan.cell_bits = Tensor::full({cells * kCellWords}, -1, DType::i32, device);
  plan.cell_order = Tensor::full({attention_cell_offsets_size(p.t) - 1}, -1, DType::i32, device);
  panel_plan_cells(stream, p.t, rows, cols, plan.cell_offsets.data<std::int32_t>(), cells,
                   plan.cell_windows.data<std::int32_t>(), static_cast<std::uint32_t*>(plan.cell_bits.raw()),
                   plan.cell_order.data<std::int32_t>(), scratch.raw(), rows_plan,
                   rows_plan ? plan.cell_places.data<std::int32_t>() : nullptr);
  return plan;
}

#endif

}  // namespace lacuna::kernels
