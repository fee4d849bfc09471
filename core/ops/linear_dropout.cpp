#include "core/ops/linear_dropout.h"

#include "core/kernel_set.h"
#include "core/ops/activation_dropout.h"
#include "core/ops/checks.h"
#include "core/ops/matmul.h"
#include "core/ops/row_parameter.h"
#include "core/ops/sparse_views.h"
#include "core/visit.h"
#include "kernels/bf16_product/bf16_product.h"

namespace lacuna {

namespace {

constexpr const char* kOp = "linear_dropout";
[[maybe_unused]] constexpr std::int64_t kLeastTiles = 64;  // of 256 x 256: a round of the machine

void check(const Tensor& w, const Tensor& x, const Tensor& bias, double p) {
  require_rank(kOp, "w", w, 2);
  require_rank(kOp, "x", x, 2);
  require_same_device_and_dtype(kOp, "w", w, "x", x);
  if (w.dim(1) != x.dim(0)) throw ShapeError(kOp, describe_pair("w", w, "x", x) + "; w's columns must equal x's rows");
  require_bias(kOp, bias, x, w.dim(0));
  if (!(p >= 0 && p < 1)) throw ValueError(kOp, "p is " + std::to_string(p) + "; it must be in [0, 1)");
}

#if LACUNA_HAS_CUDA
Tensor fused(const Tensor& w, const Tensor& x, const Tensor& bias, Activation activation, double p, RandomKey key) {
  const Tensor y = Tensor::empty({w.dim(0), x.dim(1)}, x.dtype(), x.device());
  if (DryRun::active()) return y;
  translate_failures(kOp, [&] {
    kernels::bf16_product(cuda_stream(x.device()), dense_view<const Bf16>(w), dense_view<const Bf16>(x),
                          dense_view<Bf16>(y), false, {bias.defined() ? bias.data<float>() : nullptr, activation},
                          kernels::dropout_rule(p, key.seed, key.sequence));
  });
  return y;
}
#else
Tensor fused(const Tensor&, const Tensor&, const Tensor&, Activation, double, RandomKey) { return {}; }
#endif

}  // namespace

bool linear_dropout_is_fused([[maybe_unused]] const Tensor& w, [[maybe_unused]] const Tensor& x,
                             [[maybe_unused]] Activation activation) {
#if LACUNA_HAS_CUDA
  if (!x.device().is_cuda() || x.dtype() != DType::bf16 || activation == Activation::gelu) return false;
  // Few tiles wait for their masks: 17 us each, by three warps.
  const std::int64_t tiles = (w.dim(0) + 255) / 256 * ((x.dim(1) + 255) / 256);
  if (tiles < kLeastTiles || !allowed_kernels(x.device()).bf16_product) return false;
  bool supported = false;
  translate_failures(kOp, [&] {
    const Dense<Bf16> like_c{x.data<Bf16>(), w.dim(0), x.dim(1), x.dim(1)};  // its rows are x's; new memory is aligned
    const Dense<const Bf16> a = dense_view<const Bf16>(w);
    supported =
        a.ld % 8 == 0 && reinterpret_cast<std::uintptr_t>(a.data) % 16 == 0 &&
        kernels::bf16_product_supports(cuda_stream(x.device()), w.dim(0), w.dim(1), dense_view<const Bf16>(x), like_c);
  });
  return supported;
#else
  return false;
#endif
}

Var linear_dropout(const Var& w, const Var& x, const Var& bias, Activation activation, double p, RandomKey key) {
  const OpScope scope(kOp);
  const Tensor bias_data = bias.defined() ? bias.data() : Tensor();
  check(w.data(), x.data(), bias_data, p);
  if (!linear_dropout_is_fused(w.data(), x.data(), activation))
    return activation_dropout(linear(w, x, Var(), Activation::none), bias, activation, p, key);
  const Tensor y = fused(w.data(), x.data(), bias_data, activation, p, key);
  Tensor saved = activation == Activation::relu ? y : Tensor();
  const Tensor kept_w = x.requires_grad() ? w.data() : Tensor(), kept_x = w.requires_grad() ? x.data() : Tensor();
  return record(kOp, y, {w, x, bias},
                [w = kept_w, x = kept_x, saved, activation, p, key](const Tensor& dy, Grads& grads) mutable {
                  const BiasedGradient dp = activation_dropout_gradient(saved, activation, p, key, dy, grads.wants(2));
                  saved = Tensor();
                  grads.add(0, [&] { return matmul_wide(dp.dx, x, false, true); });
                  x = Tensor();  // used up: gone before dx needs its memory
                  grads.add(1, [&] { return matmul(w, dp.dx, true, false); });
                  grads.add(2, dp.dbias);
                });
}

}  // namespace lacuna
