// The ops' routes, each forced: what the choice between kernels is fitted to (scripts/fit_kernel_choice.py). Only where a
// route is itself and not what stands in for it.
#include "app/bench/contender.h"
#include "core/ops/half_product.h"
#include "core/ops/sddmm.h"
#include "core/ops/sparse_views.h"
#include "core/ops/spmm.h"
#include "core/visit.h"
#include "kernels/sddmm/sddmm_groups.h"

namespace lacuna::bench {

namespace {

bool on_cuda(const Problem& p, Op op) {
  return p.op == op && p.device.is_cuda() && p.precision != Precision::bf16 && p.batch == 1 && p.nnz > 0;
}

bool is_route_of(const Problem& p, Route route, bool sddmm) {
  if (route == Route::half) return p.precision == Precision::tf32;
  if (route == Route::tensor) return sddmm ? p.n % 4 == 0 : p.precision == Precision::f32;
  return true;
}

void add_route(std::vector<Contender>& list, const char* name, Route route) {
  list.push_back({name, Kind::ours,
                  [=](const Problem& p) { return on_cuda(p, Op::spmm) && is_route_of(p, route, false); },
                  [=](const Problem& p) -> Prepared {
                    return {[&p, route](int call) {
                      const Tensor c = p.result(call);
                      spmm_into(c, {p.operand(0, call), p.topology(call)}, p.operand(1, call), route);
                      return c;
                    }};
                  }});
  list.push_back({name, Kind::ours,
                  [=](const Problem& p) { return on_cuda(p, Op::sddmm) && is_route_of(p, route, true); },
                  [=](const Problem& p) -> Prepared {
                    return {[&p, route](int call) {
                      const Tensor values = p.result(call);
                      sddmm_into(values, p.operand(0, call), p.operand(1, call), p.topology(call), 1, route);
                      return values;
                    }};
                  }});
}

}  // namespace

void add_routes(std::vector<Contender>& list) {
  add_route(list, "route_sparse", Route::sparse);
  add_route(list, "route_tensor", Route::tensor);
  add_route(list, "route_half", Route::half);
#if LACUNA_HAS_CUDA
  list.push_back(
      {"route_groups", Kind::ours, [](const Problem& p) { return on_cuda(p, Op::sddmm); },
       [](const Problem& p) -> Prepared {
         return {[&p](int call) {
           const Tensor values = p.result(call);
           const TopologyPtr& pattern = p.topology(call);
           visit_float("sddmm", values, [&](auto stream, auto zero) {
             if constexpr (std::is_same_v<decltype(stream), CudaStream> && std::is_same_v<decltype(zero), float>) {
               kernels::sddmm_groups<float, float>(
                   stream, dense_view<const float>(p.operand(0, call)), dense_view<const float>(p.operand(1, call)),
                   csr_view<float>(values, *pattern), 1.0f, pattern->row_indices().template data<std::int32_t>());
             }
           });
           return values;
         }};
       }});
#endif
}

}  // namespace lacuna::bench
