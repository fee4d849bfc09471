#include "core/ops/matmul.h"

#include <type_traits>

#include "core/kernel_set.h"
#include "core/ops/activation_dropout.h"
#include "core/ops/cast.h"
#include "core/ops/checks.h"
#include "core/ops/matmul_parts.h"
#include "core/ops/pointwise.h"
#include "core/visit.h"
#include "kernels/gemm/gemm.h"

namespace lacuna {
namespace {

/// A [rows, cols] or [batch, rows, cols] tensor as a view.
template <class T, class Element = const T>
Dense<Element> view(const Tensor& t) {
  const std::int64_t rows = t.dim(-2), cols = t.dim(-1);
  return {t.data<T>(), rows, cols, cols, t.rank() == 3 ? t.dim(0) : 1, rows * cols};
}

void check_matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  require_same_device_and_dtype("matmul", "a", a, "b", b);
  const auto fail = [&](const char* rule) {
    throw ShapeError("matmul", describe_pair("a", a, "b", b) + (transpose_a ? ", a transposed" : "") +
                                   (transpose_b ? ", b transposed" : "") + "; " + rule);
  };
  if (a.rank() != b.rank() || (a.rank() != 2 && a.rank() != 3)) fail("both must be matrices, or batches of them");
  if (a.rank() == 3 && a.dim(0) != b.dim(0)) fail("the batches must have one length");
  if (a.dim(transpose_a ? -2 : -1) != b.dim(transpose_b ? -1 : -2)) fail("a's columns must equal b's rows");
}

struct Operation {
  bool transpose_a = false;
  bool transpose_b = false;
  Tensor bias = {};
  Activation activation = Activation::none;
};

/// c = activation(op(a) op(b) + bias), everything checked. bf16 on the CPU goes through f32 scratch that dies here.
void multiply_into(const char* op, const Tensor& c, const Tensor& a, const Tensor& b, const Operation& operation) {
  if (a.dtype() == DType::bf16 && a.device().is_cpu()) {
    const Tensor wide = c.dtype() == DType::f32 ? c : Tensor::empty(c.shape(), DType::f32);
    multiply_into(op, wide, cast(a, DType::f32), cast(b, DType::f32), operation);
    if (c.dtype() != DType::f32) cast_into(c, wide);
    return;
  }
  visit_activation(op, a, [&](auto stream, auto zero) {
    using T = decltype(zero);
    if constexpr (!(std::is_same_v<T, Bf16> && std::is_same_v<decltype(stream), CpuStream>)) {
      const kernels::GemmOptions<acc_t<T>> options{
          .transpose_a = operation.transpose_a,
          .transpose_b = operation.transpose_b,
          .epilogue = {operation.bias.defined() ? operation.bias.data<acc_t<T>>() : nullptr, operation.activation}};
      if (c.dtype() == a.dtype()) {
        kernels::gemm<T>(stream, view<T>(a), view<T>(b), view<T, T>(c), options);
      } else {
        kernels::gemm<T>(stream, view<T>(a), view<T>(b), view<acc_t<T>, acc_t<T>>(c), options);
      }
    }
  });
}

Tensor product(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b, DType dtype) {
  const std::int64_t m = a.dim(transpose_a ? -1 : -2), n = b.dim(transpose_b ? -2 : -1);
  const Tensor c = Tensor::empty(a.rank() == 3 ? Shape{a.dim(0), m, n} : Shape{m, n}, dtype, a.device());
  multiply_into("matmul", c, a, b, {.transpose_a = transpose_a, .transpose_b = transpose_b});
  return c;
}

/// Of a weight's gradient on CUDA; 1: one product.
std::int64_t parts_of(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  if (a.rank() != 2 || transpose_a || !transpose_b || !a.device().is_cuda()) return 1;
  if (!allowed_kernels(a.device()).gemm_parts) return 1;
  return matmul_parts(a.dim(0), b.dim(0), a.dim(1), cuda_stream(a.device()).multiprocessors);
}

bool records(const Var& v) { return v.defined() && v.requires_grad(); }

/// Only `other`'s gradient reads `operand`.
Tensor kept_for(const Var& other, const Var& operand) { return records(other) ? operand.data() : Tensor(); }

}  // namespace

Tensor matmul(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  const OpScope scope("matmul");
  check_matmul(a, b, transpose_a, transpose_b);
  return product(a, b, transpose_a, transpose_b, a.dtype());
}

Tensor matmul_wide(const Tensor& a, const Tensor& b, bool transpose_a, bool transpose_b) {
  const OpScope scope("matmul");
  check_matmul(a, b, transpose_a, transpose_b);
  if (const std::int64_t parts = parts_of(a, b, transpose_a, transpose_b); parts > 1) return matmul_in_parts(a, b, parts);
  return product(a, b, transpose_a, transpose_b, accumulator_of(a.dtype()));
}

Var matmul(const Var& a, const Var& b, bool transpose_a, bool transpose_b) {
  return record("matmul", matmul(a.data(), b.data(), transpose_a, transpose_b), {a, b},
                [a = kept_for(b, a), b = kept_for(a, b), transpose_a, transpose_b](const Tensor& dc, Grads& grads) mutable {
    // c = op(a) op(b):  d op(a) = dc op(b)^T,  d op(b) = op(a)^T dc; transposed once more where the operand was.
    grads.add(0, [&] {
      return transpose_a ? matmul(b, dc, transpose_b, true) : matmul(dc, b, false, !transpose_b);
    });
    b = Tensor();  // used up: gone before db needs its memory
    grads.add(1, [&] {
      return transpose_b ? matmul(dc, a, true, transpose_a) : matmul(a, dc, !transpose_a, false);
    });
  });
}

Tensor linear(const Tensor& w, const Tensor& x, const Tensor& bias, Activation activation) {
  const OpScope scope("linear");
  require_rank("linear", "w", w, 2);
  require_rank("linear", "x", x, 2);
  require_same_device_and_dtype("linear", "w", w, "x", x);
  if (w.dim(1) != x.dim(0)) {
    throw ShapeError("linear", describe_pair("w", w, "x", x) + "; w's columns must equal x's rows");
  }
  require_bias("linear", bias, x, w.dim(0));
  const Tensor c = Tensor::empty({w.dim(0), x.dim(1)}, x.dtype(), x.device());
  multiply_into("linear", c, w, x, {.bias = bias, .activation = activation});
  return c;
}

Var linear(const Var& w, const Var& x, const Var& bias, Activation activation) {
  const Tensor bias_data = bias.defined() ? bias.data() : Tensor();
  // gelu's derivative needs its input: the product is left as it is, and one op adds the bias and activates.
  if (activation == Activation::gelu && (records(w) || records(x) || records(bias))) {
    require_bias("linear", bias_data, x.data(), w.shape()[0]);
    return activation_dropout(linear(w, x, Var(), Activation::none), bias, activation, 0, {});
  }
  const Tensor out = linear(w.data(), x.data(), bias_data, activation);
  Tensor saved = activation == Activation::none ? Tensor() : out;  // nothing of the output is needed then
  return record("linear", out, {w, x, bias},
                [w = kept_for(x, w), x = kept_for(w, x), saved, activation](const Tensor& dc, Grads& grads) mutable {
    const BiasedGradient dp = activation_bias_gradient(saved, dc, activation, grads.wants(2));
    saved = Tensor();
    grads.add(0, [&] { return matmul_wide(dp.dx, x, false, true); });
    x = Tensor();  // used up: gone before dx needs its memory
    grads.add(1, [&] { return matmul(w, dp.dx, true, false); });
    grads.add(2, dp.dbias);
  });
}

}  // namespace lacuna
