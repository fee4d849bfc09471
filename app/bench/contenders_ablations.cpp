// Our kernels with one technique switched off each, by what they are given: no kernel has a switch for it. The paper's
// ablation (Gale et al. 2020, section VII) for those of its techniques that our kernels use too.
#include "app/bench/contender.h"
#include "core/ops/sparse_views.h"
#include "core/visit.h"
#include "kernels/sddmm/sddmm.h"
#include "kernels/spmm/spmm.h"

namespace lacuna::bench {

namespace {

struct SpmmViews {
  bool row_order = true;       ///< rows by length, longest first (the paper's row swizzle)
  bool aligned_dense = true;   ///< B and C where vector loads and stores can reach them
  bool aligned_values = true;  ///< A's values where four can be read at a time (the paper's reverse offset alignment)
};

/// The same elements one element past an aligned address.
Tensor misaligned(const Tensor& x) {
  const Tensor room = Tensor::empty({x.numel() + 1}, x.dtype(), x.device());
  const Tensor view = room.slice(1, x.numel() + 1).reshape(x.shape());
  view.copy_from(x);
  return view;
}

/// Per call of the rotation, copies of an operand at odd addresses; empty where it may stay.
std::vector<Tensor> moved(const Problem& p, int role, bool aligned) {
  std::vector<Tensor> list;
  for (int call = 0; !aligned && call < p.rotation; ++call) list.push_back(misaligned(p.operand(role, call)));
  return list;
}

Prepared prepare_spmm(const Problem& p, SpmmViews views) {
  const std::vector<Tensor> values = moved(p, 0, views.aligned_values), bs = moved(p, 1, views.aligned_dense);
  std::vector<Tensor> cs;
  for (int call = 0; !views.aligned_dense && call < p.rotation; ++call) cs.push_back(misaligned(p.result(call)));
  const auto run = [&p, values, bs, cs, views](int call, const Tensor& scratch, std::size_t* only_bytes) {
    const auto slot = static_cast<std::size_t>(call % p.rotation);
    const Tensor a = values.empty() ? p.operand(0, call) : values[slot];
    const Tensor b = bs.empty() ? p.operand(1, call) : bs[slot], c = cs.empty() ? p.result(call) : cs[slot];
    visit_float("spmm", b, [&](auto stream, auto zero) {
      using T = decltype(zero);
      const Csr<const T> csr = csr_view<const T>(a, *p.topology(call), views.row_order);
      if (only_bytes) {
        *only_bytes = kernels::spmm_scratch_bytes<T>(stream, csr, dense_view<const T>(b));
      } else {
        kernels::spmm<T>(stream, csr, dense_view<const T>(b), dense_view<T>(c), {}, scratch.raw());
      }
    });
    return c;
  };
  std::size_t bytes = 0;
  run(0, {}, &bytes);
  const Tensor scratch = Tensor::empty({static_cast<std::int64_t>(bytes)}, DType::u8, p.device);
  return {[run, scratch](int call) { return run(call, scratch, nullptr); }};
}

#if LACUNA_HAS_CUDA
Prepared prepare_sddmm_without_order(const Problem& p) {
  return {[&p](int call) {
    const Tensor values = p.result(call);
    visit_float("sddmm", values, [&](auto stream, auto zero) {
      if constexpr (std::is_same_v<decltype(stream), CudaStream> && std::is_same_v<decltype(zero), float>) {
        kernels::sddmm<float>(stream, dense_view<const float>(p.operand(0, call)),
                              dense_view<const float>(p.operand(1, call)),
                              csr_view<float>(values, *p.topology(call), false), 1.0f);
      }
    });
    return values;
  }};
}
#endif

void add_spmm(std::vector<Contender>& list, const char* name, SpmmViews views) {
  list.push_back({name, Kind::ours, [](const Problem& p) { return p.op == Op::spmm && p.precision != Precision::bf16; },
                  [views](const Problem& p) { return prepare_spmm(p, views); }});
}

}  // namespace

std::vector<Contender> ablations() {
  std::vector<Contender> list;
  add_routes(list);
  add_spmm(list, "ablation_none", {});
  add_spmm(list, "ablation_row_order", {.row_order = false});
  add_spmm(list, "ablation_vector_loads", {.aligned_dense = false});
  add_spmm(list, "ablation_entry_alignment", {.aligned_values = false});
#if LACUNA_HAS_CUDA
  list.push_back(
      {"ablation_row_order", Kind::ours,
       [](const Problem& p) { return p.op == Op::sddmm && p.precision == Precision::f32 && p.device.is_cuda(); },
       prepare_sddmm_without_order});
#endif
  return list;
}

}  // namespace lacuna::bench
