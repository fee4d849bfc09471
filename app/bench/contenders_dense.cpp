// Dense math of the same shape: kernels/gemm (cuBLASLt's first heuristic answer on CUDA; oneDNN or Eigen on the CPU) on
// matrices that are dense already. What turning sparse storage into dense would cost is not counted against it.
#include <algorithm>

#include "app/bench/contender.h"
#include "core/ops/densify.h"
#include "core/ops/matmul.h"
#include "core/ops/softmax.h"
#include "core/ops/sparse_views.h"
#include "core/random.h"
#include "core/visit.h"
#include "kernels/gemm/gemm.h"
#include "kernels/softmax/softmax.h"

namespace lacuna::bench {

namespace {

void multiply(const Tensor& c, const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  visit_float("dense", c, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::GemmOptions<T> options;
    options.transpose_a = transpose_a;
    options.transpose_b = transpose_b;
    kernels::gemm<T>(stream, dense_view<const T>(a), dense_view<const T>(b), dense_view<T>(c), options);
  });
}

std::string library_name(Device device) {
  if (!device.is_cpu()) return "cublaslt";
#if defined(LACUNA_WITH_ONEDNN)
  return "onednn";
#else
  return "eigen_dense";
#endif
}

Prepared prepare_product(const Problem& p) {
  return {.run =
              [&p, a = densified(p), transposed = p.op == Op::spmm_transposed](int call) {
                const Tensor c = p.result(call);
                multiply(c, a[static_cast<std::size_t>(call) % a.size()], p.operand(1, call), transposed, false);
                return c;
              },
          .checked_call = 0};
}

/// The whole product, nothing sampled: what a dense weight gradient costs.
Prepared prepare_gradient(const Problem& p) {
  const std::vector<Tensor> products = dense_buffers(p);
  return {.run =
              [&p, products](int call) {
                const Tensor& c = products[static_cast<std::size_t>(call) % products.size()];
                multiply(c, p.operand(0, call), p.operand(1, call), false, true);
                return c;
              },
          .extract = [&p](const Tensor& product, int call) { return sample(product, p.topology(call)).values; }};
}

/// Dense causal attention with the scores, [b, t, t], in memory: what a user of plain dense ops runs instead.
Prepared prepare_attention(const Problem& p) {
  const Tensor scores = Tensor::empty({p.batch, p.m, p.m}, DType::f32, p.device);
  return {.run =
              [&p, scores](int call) {
                multiply(scores, p.operand(0, call), p.operand(1, call), false, true);
                const Tensor rows = scores.reshape({p.batch * p.m, p.m});
                visit_float("softmax", rows, [&](auto stream, auto zero) {
                  using T = decltype(zero);
                  kernels::softmax<T>(stream, dense_view<const T>(rows), p.scale, true, dense_view<T>(rows));
                });
                const Tensor out = p.result(call);
                multiply(out, scores, p.operand(2, call), false, false);
                return out;
              },
          .checked = false};
}

Prepared prepare_training(const Problem& p) {
  return {.run =
              [&p](int call) {
                const Var q(p.operand(0, call), true), k(p.operand(1, call), true), v(p.operand(2, call), true);
                const Var weights = softmax(matmul(q, k, false, true), p.scale, true);
                backward(matmul(weights, v), p.operand(3, call));
                return q.grad();
              },
          .checked = false};
}

/// Random numbers: zeros would run faster than data do. A short stretch is drawn and doubled until it covers `x`.
void fill_random(const Tensor& x, std::uint64_t sequence) {
  const Tensor flat = x.reshape({x.numel()});
  std::int64_t filled = std::min<std::int64_t>(x.numel(), 1 << 18);
  flat.slice(0, filled).copy_from(random_uniform({filled}, -1, 1, {1, sequence}, DType::f32, x.device()));
  for (std::int64_t more = 0; filled < x.numel(); filled += more) {
    more = std::min(filled, x.numel() - filled);
    flat.slice(filled, filled + more).copy_from(flat.slice(0, more));
  }
}

/// Softmax over the whole matrix, every place stored.
Prepared prepare_softmax(const Problem& p) {
  const std::vector<Tensor> x = dense_buffers(p), dy = p.op == Op::sparse_softmax ? x : dense_buffers(p),
                            y = dense_buffers(p);
  for (std::size_t i = 0; i < x.size(); ++i) {
    fill_random(x[i], i);
    if (p.op != Op::sparse_softmax) fill_random(dy[i], 1000 + i);
  }
  return {.run =
              [&p, x, dy, y](int call) {
                const std::size_t i = static_cast<std::size_t>(call) % x.size();
                const Shape rows{p.batch * p.m, p.k};
                visit_float("softmax", x[i], [&](auto stream, auto zero) {
                  using T = decltype(zero);
                  const Dense<const T> from = dense_view<const T>(x[i].reshape(rows));
                  const Dense<T> to = dense_view<T>(y[i].reshape(rows));
                  if (p.op == Op::sparse_softmax)
                    kernels::softmax<T>(stream, from, p.scale, false, to);
                  else
                    kernels::softmax_dx<T>(stream, from, dense_view<const T>(dy[i].reshape(rows)), p.scale, false, to);
                });
                return y[i];
              },
          .checked = false};
}

}  // namespace

void add_dense(std::vector<Contender>& list) {
  for (const Device device : {kCpu, Device{DeviceType::cuda, 0}}) {
    const auto here = [device](const Problem& p) {
      return p.device.type == device.type && p.precision != Precision::bf16;
    };
    const std::string name = library_name(device);
    list.push_back({name, Kind::dense,
                    [here](const Problem& p) { return here(p) && (p.op == Op::spmm || p.op == Op::spmm_transposed); },
                    prepare_product});
    list.push_back(
        {name, Kind::dense, [here](const Problem& p) { return here(p) && p.op == Op::sddmm; }, prepare_gradient});
    list.push_back({"dense_causal", Kind::dense, [here](const Problem& p) { return here(p) && p.op == Op::attention; },
                    prepare_attention});
    list.push_back({"dense_causal", Kind::dense,
                    [here](const Problem& p) { return here(p) && p.op == Op::attention_training; }, prepare_training});
    list.push_back({"dense_softmax", Kind::dense, [here](const Problem& p) { return here(p) && !is_product(p.op); },
                    prepare_softmax});
  }
}

}  // namespace lacuna::bench
