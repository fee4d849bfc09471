#include "core/ops/topology_ops.h"

#include <limits>

#include <fmt/format.h>

#include "core/ops/checks.h"
#include "core/ops/sparse_views.h"
#include "core/visit.h"
#include "kernels/topology/topology.h"

namespace lacuna {

namespace {

kernels::Pattern pattern_view(const Topology& t) {
  return {t.rows(), t.cols(), t.nnz(), t.row_offsets().data<std::int32_t>(), t.col_indices().data<std::int32_t>()};
}

}  // namespace

Tensor remap(const TopologyPtr& from, const TopologyPtr& to) {
  OpScope scope("remap");
  if (!to) throw ValueError("remap", "`to` is null; it must be a Topology");
  if (from) {
    if (from->rows() != to->rows() || from->cols() != to->cols()) {
      throw ShapeError("remap", fmt::format("from is [{}, {}], to is [{}, {}]; they must agree", from->rows(),
                                            from->cols(), to->rows(), to->cols()));
    }
    if (!(from->device() == to->device())) {
      throw DeviceError("remap", fmt::format("from is on {}, to is on {}; they must be on one device",
                                             to_string(from->device()), to_string(to->device())));
    }
  } else if (to->rows() * to->cols() > std::numeric_limits<std::int32_t>::max()) {
    throw IndexError(
        "remap",
        fmt::format("the full [{}, {}] matrix has more than 2^31 - 1 entries; 32-bit positions cannot name them",
                    to->rows(), to->cols()));
  }
  Tensor map = Tensor::empty({to->nnz()}, DType::i32, to->device());
  visit_device("remap", to->device(), [&](auto stream) {
    const kernels::Pattern source = from ? pattern_view(*from) : kernels::Pattern{};
    kernels::map_positions(stream, from ? &source : nullptr, pattern_view(*to), map.data<std::int32_t>());
  });
  return map;
}

Tensor gather_or_zero(const Tensor& values, const Tensor& map) {
  OpScope scope("gather_or_zero");
  require_same_device("gather_or_zero", "values", values, "map", map);
  require_dtype("gather_or_zero", "map", map, DType::i32);
  require_rank("gather_or_zero", "map", map, 1);
  if (values.rank() != 1 && values.rank() != 2) {
    throw ShapeError("gather_or_zero", describe_pair("values", values, "map", map) +
                                           "; values must be [num_values] or [batch, num_values]");
  }
  const bool batched = values.rank() == 2;
  Tensor out =
      Tensor::empty(batched ? Shape{values.dim(0), map.numel()} : Shape{map.numel()}, values.dtype(), values.device());
  visit_activation("gather_or_zero", values, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::gather_or_zero<T>(stream, values.data<T>(), values.dim(-1), map.data<std::int32_t>(), map.numel(),
                               batched ? values.dim(0) : 1, out.data<T>());
  });
  return out;
}

}  // namespace lacuna
