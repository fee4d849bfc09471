// Sizes and places of a plan's arrays; no device needed.
#include <algorithm>

#include "kernels/spmm_tensor/layout.h"
#include "kernels/spmm_tensor/spmm_tensor.h"

namespace lacuna::kernels {

namespace {

namespace layout = spmm_tensor_layout;

std::int64_t ceil_div(std::int64_t a, std::int64_t b) { return (a + b - 1) / b; }
std::size_t rounded(std::size_t bytes) { return (bytes + 255) / 256 * 256; }
std::int64_t lists_of(const SpmmTensorPlan& plan) { return plan.panels * plan.slabs; }

}  // namespace

SpmmTensorPlan spmm_tensor_plan_sizes(std::int64_t m, std::int64_t k, std::int64_t nnz) {
  SpmmTensorPlan plan;
  plan.m = m;
  plan.k = k;
  plan.nnz = nnz;
  plan.panels = ceil_div(m, layout::kPanelRows);
  plan.slabs = ceil_div(k, layout::kSlabK);
  // Padding is at most seven entries for each list that is not empty.
  plan.capacity = ceil_div(nnz + (layout::kListMultiple - 1) * std::min(nnz, lists_of(plan)), layout::kListMultiple) *
                  layout::kListMultiple;
  return plan;
}

std::size_t spmm_tensor_plan_bytes(const SpmmTensorPlan& plan) {
  return rounded((lists_of(plan) + 1) * sizeof(std::int32_t)) + rounded(plan.capacity * sizeof(std::int32_t)) +
         rounded(plan.capacity * sizeof(std::uint16_t));
}

SpmmTensorPlan spmm_tensor_place(const SpmmTensorPlan& plan, void* memory) {
  SpmmTensorPlan placed = plan;
  auto* at = static_cast<char*>(memory);
  placed.list_offsets = reinterpret_cast<std::int32_t*>(at);
  at += rounded((lists_of(plan) + 1) * sizeof(std::int32_t));
  placed.sources = reinterpret_cast<std::int32_t*>(at);
  at += rounded(plan.capacity * sizeof(std::int32_t));
  placed.positions = reinterpret_cast<std::uint16_t*>(at);
  return placed;
}

std::size_t spmm_tensor_packed_bytes(const SpmmTensorPlan& plan) {
  return rounded(plan.capacity * sizeof(std::uint32_t)) + rounded(plan.m * sizeof(float));
}

const float* spmm_tensor_row_factors(const SpmmTensorPlan& plan, const void* packed) {
  return reinterpret_cast<const float*>(static_cast<const char*>(packed) +
                                        rounded(plan.capacity * sizeof(std::uint32_t)));
}

}  // namespace lacuna::kernels
