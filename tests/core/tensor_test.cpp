// Tensors as data: sizes that nobody has, views, copies, conversions. Vars: what backward() refuses, and whose gradient is
// whose.
#include "core/tensor.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/dry_run.h"
#include "core/errors.h"
#include "core/ops/pointwise.h"
#include "core/ops/reduce.h"
#include "core/var.h"

namespace lacuna {
namespace {

TEST(Tensor, SizesThatWrapAreRefusedAsTooLarge) {
  constexpr std::int64_t kHuge = std::int64_t{1} << 61;
  EXPECT_THROW(Tensor::empty({kHuge}, DType::f64), OutOfMemoryError);  // 2^64 bytes, which is 0 in 64 bits
  EXPECT_THROW(Tensor::empty({kHuge / 4, 8}, DType::f32), OutOfMemoryError);
  EXPECT_THROW(Tensor::zeros({std::int64_t{1} << 31, std::int64_t{1} << 31}, DType::f32), OutOfMemoryError);
  EXPECT_THROW(Tensor::empty({kHuge, 4}, DType::u8), ValueError);
  EXPECT_THROW(Tensor::empty({-1}, DType::f32), ValueError);
  const DryRun dry;
  EXPECT_THROW(Tensor::empty({kHuge}, DType::f64), OutOfMemoryError);
}

TEST(Tensor, ScratchOfNoBytesIsNotAllocated) {
  const std::int64_t before = memory_stats(kCpu).num_allocations;
  const Tensor none = Tensor::scratch(0, kCpu);
  EXPECT_FALSE(none.defined());
  EXPECT_EQ(none.raw(), nullptr);
  EXPECT_EQ(none.numel(), 0);
  EXPECT_EQ(memory_stats(kCpu).num_allocations, before);
  EXPECT_NE(Tensor::scratch(1, kCpu).raw(), nullptr);
}

TEST(Tensor, ViewsShareMemoryAndCountAsHolders) {
  for (const Device device : devices()) {
    const Tensor whole = Tensor::from<float>({0, 1, 2, 3, 4, 5}, {3, 2}, device);
    EXPECT_TRUE(whole.is_unique());
    const Tensor rows = whole.slice(1, 3), flat = rows.reshape({4});
    EXPECT_FALSE(whole.is_unique());
    EXPECT_TRUE(flat.shares_storage_with(whole));
    EXPECT_EQ(flat.to_vector<float>(), (std::vector<float>{2, 3, 4, 5}));
    flat.slice(3, 4).copy_from(Tensor::full({1}, 9, DType::f32, device));
    EXPECT_EQ(whole.to_vector<float>()[5], 9);
    rows.slice(0, 1).zero();
    EXPECT_EQ(whole.to_vector<float>(), (std::vector<float>{0, 1, 0, 0, 4, 9}));
    EXPECT_EQ(whole.slice(3, 3).numel(), 0);
    EXPECT_FALSE(reuse_or_empty(whole).shares_storage_with(whole)) << "a view still reads it";
    EXPECT_THROW(whole.slice(1, 4), IndexError);
    EXPECT_THROW(whole.slice(2, 1), IndexError);
    EXPECT_THROW(whole.reshape({7}), ShapeError);
    EXPECT_THROW(whole.copy_from(rows), ShapeError);
    EXPECT_THROW(whole.copy_from(Tensor::zeros({3, 2}, DType::i32, device)), DtypeError);
    EXPECT_THROW(whole.data<double>(), DtypeError);
    EXPECT_THROW(whole.item(), ShapeError);
    const Tensor copy = whole.clone();
    copy.zero();
    EXPECT_EQ(whole.to_vector<float>()[5], 9);
  }
}

TEST(Tensor, ConvertsAsAssignmentDoes) {
  const double tie = 1 + 1.0 / 256;  // between two bf16: to the even one
  const Tensor x = Tensor::from<double>({1.5, -2.75, tie, 1e300, std::nan("")}, {5});
  const std::vector<double> b = x.to(DType::bf16).to(DType::f64).to_vector<double>();
  EXPECT_EQ(b[0], 1.5);
  EXPECT_EQ(b[1], -2.75);
  EXPECT_EQ(b[2], 1);
  EXPECT_EQ(b[3], std::numeric_limits<double>::infinity());
  EXPECT_TRUE(std::isnan(b[4]));
  EXPECT_EQ(Tensor::from<float>({1.9f, -1.9f}, {2}).to(DType::i32).to_vector<std::int32_t>(),
            (std::vector<std::int32_t>{1, -1}));
  EXPECT_TRUE(x.to(DType::f64).shares_storage_with(x));
  EXPECT_THROW(x.to(DType::u8), DtypeError);
}

TEST(Var, BackwardRefusesWhatItCannotDo) {
  const Var x(Tensor::from<float>({1, 2}, {2}), true), constant(Tensor::from<float>({3, 4}, {2}));
  EXPECT_THROW(backward(sum(constant)), ValueError);
  EXPECT_THROW(backward(mul(x, constant)), ShapeError);  // no scalar, no seed
  EXPECT_THROW(backward(mul(x, constant), Tensor::zeros({3}, DType::f32)), ShapeError);
  EXPECT_THROW(Var().data(), ValueError);
  EXPECT_THROW(constant.set_grad(Tensor::zeros({2}, DType::f32)), ValueError);
  EXPECT_THROW(x.set_grad(Tensor::zeros({3}, DType::f32)), ShapeError);
  EXPECT_FALSE(x.grad().defined());
  const Var y = mul(x, constant), loss = sum(y);
  backward(loss);
  EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{3, 4}));
  EXPECT_THROW(backward(loss), ValueError);
  EXPECT_THROW(backward(sum(y)), ValueError) << "part of this tape is used up";
}

TEST(Var, GradientsAddUpAndAreNobodyElses) {
  const Var x(Tensor::from<float>({1, 2}, {2}), true), y(Tensor::from<float>({5, 6}, {2}), true);
  const Tensor seed = Tensor::from<float>({10, 20}, {2});
  backward(add(x, y), seed);  // one gradient for both: neither may be added to in place
  backward(add(x, x), seed);
  EXPECT_EQ(seed.to_vector<float>(), (std::vector<float>{10, 20}));
  EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{30, 60}));
  EXPECT_EQ(y.grad().to_vector<float>(), (std::vector<float>{10, 20}));
  const Tensor before = x.grad();
  backward(x, seed);  // a leaf itself
  EXPECT_EQ(before.to_vector<float>(), (std::vector<float>{30, 60})) << "held from outside";
  EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{40, 80}));
  const Var alone(Tensor::from<float>({1, 2}, {2}), true);
  backward(alone, seed);
  backward(alone, seed);
  EXPECT_EQ(seed.to_vector<float>(), (std::vector<float>{10, 20}));
  EXPECT_EQ(alone.grad().to_vector<float>(), (std::vector<float>{20, 40}));
}

TEST(Var, ALongChainIsFreedWithoutRecursion) {
  Var y(Tensor::full({}, 1, DType::f32), true);
  for (int i = 0; i < 100000; ++i) y = scale(y, 1);
  y = Var();
  Var z(Tensor::full({}, 1, DType::f32), true);
  const Var leaf = z;
  for (int i = 0; i < 100000; ++i) z = scale(z, 1);
  backward(z);
  EXPECT_EQ(leaf.grad().item(), 1);
}

}  // namespace
}  // namespace lacuna
