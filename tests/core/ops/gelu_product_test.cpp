// Products that end in bias and gelu, on the tape: what the product leaves is kept, the rest is one op.
#include <gtest/gtest.h>

#include "core/device.h"
#include "core/errors.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise.h"
#include "core/ops/spmm.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

struct Operands {
  Var w, x, bias;
};

Operands operands(const Shape& w, const Shape& x, Device device, DType dtype) {
  const auto leaf = [&](const Shape& shape, std::uint64_t seed) {
    return Var(random_input(shape, seed).to(dtype).to(device), true);
  };
  return {leaf(w, 1), leaf(x, 2), leaf({12}, 3)};
}

void expect_same(const Tensor& fused, const Tensor& separate) {
  if (fused.device().is_cpu()) {
    EXPECT_TRUE(equal_bits(fused, separate));
  } else {
    EXPECT_LT(relative_error(fused, separate), 1e-6);
  }
}

void compare(const Operands& fused, const Var& y, const Operands& separate, const Var& z) {
  expect_same(y.data(), z.data());
  const Tensor dy = random_input(y.shape(), 4).to(y.data().dtype()).to(y.data().device());
  backward(y, dy);
  backward(z, dy);
  expect_same(fused.w.grad(), separate.w.grad());
  expect_same(fused.x.grad(), separate.x.grad());
  expect_same(fused.bias.grad(), separate.bias.grad());
}

TEST(GeluProduct, DenseIsTheSeparateOps) {
  for (const Device device : devices()) {
    const Operands a = operands({12, 20}, {20, 33}, device, DType::f32);
    const Operands b = operands({12, 20}, {20, 33}, device, DType::f32);
    compare(a, linear(a.w, a.x, a.bias, Activation::gelu), b, gelu(linear(b.w, b.x, b.bias)));
  }
}

TEST(GeluProduct, SparseIsTheSeparateOps) {
  for (const Device device : devices()) {
    const TopologyPtr topology = random_topology(12, 20, 0.5, 5);
    const Operands a = operands({topology->nnz()}, {20, 33}, device, DType::f32);
    const Operands b = operands({topology->nnz()}, {20, 33}, device, DType::f32);
    const TopologyPtr on_device = beside(topology, a.w);
    compare(a, spmm({a.w, on_device}, a.x, a.bias, Activation::gelu), b, gelu(spmm({b.w, on_device}, b.x, b.bias)));
  }
}

TEST(GeluProduct, KeepsTheProductAndTheResultAlone) {
  const Operands o = operands({12, 20}, {20, 512}, kCpu, DType::f32);
  const std::size_t before = memory_stats(kCpu).live_bytes;
  const Var y = linear(o.w, o.x, o.bias, Activation::gelu);
  EXPECT_LE(memory_stats(kCpu).live_bytes - before, 2 * y.data().nbytes() + 256);
}

TEST(GeluProduct, ErrorsNameTheOp) {
  const Var w(Tensor::zeros({12, 20}, DType::f32), true), x(Tensor::zeros({20, 3}, DType::f32));
  EXPECT_THROW(linear(w, x, Var(Tensor::zeros({11}, DType::f32)), Activation::gelu), ShapeError);
  EXPECT_THROW(linear(w, x, Var(Tensor::zeros({12}, DType::f64)), Activation::gelu), DtypeError);
  EXPECT_THROW(linear(w, Var(Tensor::zeros({19, 3}, DType::f32)), Var(), Activation::gelu), ShapeError);
}

}  // namespace
}  // namespace lacuna
