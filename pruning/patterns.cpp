#include "pruning/patterns.h"

#include <algorithm>

#include "core/ops/densify.h"
#include "core/ops/pointwise.h"
#include "core/ops/select.h"

namespace lacuna {

std::int64_t tile_rows(std::int64_t cols, std::int64_t unit_rows, std::int64_t tile_entries) {
  const std::int64_t per_unit = std::max<std::int64_t>(cols, 1) * unit_rows;
  return std::max<std::int64_t>(tile_entries / per_unit, 1) * unit_rows;
}

RowCutter::RowCutter(TopologyPtr pattern)
    : pattern_(std::move(pattern)), offsets_(pattern_->row_offsets().to_vector<std::int32_t>()) {}

TopologyPtr RowCutter::rows(std::int64_t begin, std::int64_t end) const {
  const std::int32_t first = offsets_[static_cast<std::size_t>(begin)];
  std::vector<std::int32_t> offsets(offsets_.begin() + begin, offsets_.begin() + end + 1);
  for (std::int32_t& offset : offsets) offset -= first;
  return std::make_shared<const Topology>(end - begin, pattern_->cols(),
                                          Tensor::from(offsets, {end - begin + 1}, pattern_->device()),
                                          pattern_->col_indices().slice(first, first + offsets.back()));
}

TopologyPtr stack_rows(const std::vector<TopologyPtr>& parts) {
  if (parts.size() == 1) return parts.front();
  std::int64_t nnz = 0;
  std::vector<std::int32_t> offsets{0};
  for (const TopologyPtr& part : parts) {
    const std::vector<std::int32_t> own = part->row_offsets().to_vector<std::int32_t>();
    for (std::size_t r = 1; r < own.size(); ++r) offsets.push_back(static_cast<std::int32_t>(nnz) + own[r]);
    nnz += part->nnz();
  }
  const Device device = parts.front()->device();
  const Tensor columns = Tensor::empty({nnz}, DType::i32, device);
  std::int64_t begin = 0;
  for (const TopologyPtr& part : parts) {
    if (part->nnz() > 0) columns.slice(begin, begin + part->nnz()).copy_from(part->col_indices());
    begin += part->nnz();
  }
  const auto rows = static_cast<std::int64_t>(offsets.size()) - 1;
  return std::make_shared<const Topology>(rows, parts.front()->cols(), Tensor::from(offsets, {rows + 1}, device),
                                          columns);
}

TopologyPtr unite(const TopologyPtr& a, const TopologyPtr& b) {
  if (a->nnz() == 0) return b;
  if (b->nnz() == 0) return a;
  const RowCutter cut_a(a), cut_b(b);
  const std::int64_t step = tile_rows(a->cols(), 1);
  std::vector<TopologyPtr> parts;
  for (std::int64_t begin = 0; begin < a->rows(); begin += step) {
    const std::int64_t end = std::min(begin + step, a->rows());
    const TopologyPtr from_a = cut_a.rows(begin, end), from_b = cut_b.rows(begin, end);
    const Tensor both = add(indicator(from_a, 1, DType::f32), indicator(from_b, 1, DType::f32));
    const Tensor mask = top_k_mask(both.reshape({both.numel()}), from_a->nnz() + from_b->nnz());
    parts.push_back(Topology::from_mask(mask.reshape(both.shape())));
  }
  return stack_rows(parts);
}

TopologyPtr empty_pattern(std::int64_t rows, std::int64_t cols, Device device) {
  return std::make_shared<const Topology>(rows, cols, Tensor::zeros({rows + 1}, DType::i32, device),
                                          Tensor::empty({0}, DType::i32, device));
}

Tensor indicator(const TopologyPtr& pattern, double value, DType dtype) {
  return densify(SparseTensor{Tensor::full({pattern->nnz()}, value, dtype, pattern->device()), pattern});
}

}  // namespace lacuna
