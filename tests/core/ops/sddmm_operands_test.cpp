// sddmm_wide of operands that lie transposed, or as a range of a matrix's columns.
#include <gtest/gtest.h>

#include <limits>
#include <vector>

#include "core/errors.h"
#include "core/ops/sddmm.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

/// x [r, k] as columns [first, first + r) of a matrix [k, width], NaN around them.
SddmmOperand turned(const Tensor& x, std::int64_t first, std::int64_t width) {
  const std::int64_t r = x.dim(0), k = x.dim(1);
  const std::vector<float> from = x.to(DType::f32).to_vector<float>();
  std::vector<float> to(static_cast<std::size_t>(k * width), std::numeric_limits<float>::quiet_NaN());
  for (std::int64_t i = 0; i < r; ++i) {
    for (std::int64_t j = 0; j < k; ++j)
      to[static_cast<std::size_t>(j * width + first + i)] = from[static_cast<std::size_t>(i * k + j)];
  }
  return {Tensor::from(to, {k, width}).to(x.dtype()).to(x.device()), true, first};
}

void check(const TopologyPtr& on_host, std::int64_t k, std::int64_t first, std::int64_t more, Device device,
           DType dtype) {
  const TopologyPtr pattern = on_host->to(device);
  const std::int64_t m = pattern->rows(), n = pattern->cols();
  const Tensor a = random_input({m, k}, 1).to(dtype).to(device), b = random_input({n, k}, 2).to(dtype).to(device);
  const Tensor expected = sddmm_wide(a, b, pattern, -0.5).values;
  const SddmmOperand turned_a = turned(a, first, first + m + more), turned_b = turned(b, first, first + n + more);
  for (const int which : {1, 2, 3}) {
    const SparseTensor got = sddmm_wide(which & 1 ? turned_a : SddmmOperand{a, false},
                                        which & 2 ? turned_b : SddmmOperand{b, false}, pattern, -0.5);
    SCOPED_TRACE(describe(got.values) + " over [" + std::to_string(m) + ", " + std::to_string(n) + "], k " +
                 std::to_string(k) + ", transposed " + std::to_string(which));
    ASSERT_EQ(got.values.shape(), expected.shape());
    ASSERT_EQ(got.values.dtype(), expected.dtype());
    EXPECT_EQ(got.topology, pattern);
    if (device.is_cpu()) {
      EXPECT_TRUE(equal_bits(got.values, expected));
    } else if (expected.numel() > 0) {
      EXPECT_LT(relative_error(got.values, expected), 2e-6);
    }
  }
}

TEST(SddmmOperands, MayLieTransposed) {
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f32, DType::f64, DType::bf16}) {
      if (dtype == DType::f64 && device.is_cuda()) continue;  // refused there
      check(random_topology(1, 1, 0.0, 1), 1, 0, 0, device, dtype);
      check(awkward_topology(12, 20, 3), 7, 3, 5, device, dtype);
      check(awkward_topology(12, 20, 3), 64, 8, 4, device, dtype);
      check(random_topology(3, 5, 1, 1), 4, 0, 0, device, dtype);  // no entries
    }
  }
}

TEST(SddmmOperands, AreReadAsTheyLieOnTensorCores) {
  for (const Device device : devices()) {
    if (device.is_cpu()) continue;
    for (const double sparsity : {0.5, 0.95})
      check(random_topology(512, 384, sparsity, 4), 1032, 128, 64, device, DType::bf16);
    check(random_topology(512, 388, 0.9, 4), 1033, 5, 3, device, DType::bf16);  // nothing on 16 bytes
  }
}

TEST(SddmmOperands, AreRefusedWhereTheyDoNotFit) {
  const TopologyPtr pattern = random_topology(4, 6, 0.5, 1);
  const auto zeros = [](const Shape& shape, DType dtype = DType::f32) { return Tensor::zeros(shape, dtype); };
  const auto run = [&](const SddmmOperand& a, const SddmmOperand& b) { sddmm_wide(a, b, pattern); };
  EXPECT_THROW(run({zeros({3, 4}), true}, {zeros({6, 2}), false}), ShapeError);     // k 3 and 2
  EXPECT_THROW(run({zeros({4, 3}), true}, {zeros({6, 4}), false}), ShapeError);     // columns [0, 4) of 3
  EXPECT_THROW(run({zeros({3, 6}), true, 3}, {zeros({6, 3}), false}), ShapeError);  // columns [3, 7) of 6
  EXPECT_THROW(run({zeros({3, 6}), true, -1}, {zeros({6, 3}), false}), ShapeError);
  EXPECT_THROW(run({zeros({5, 3}), false}, {zeros({3, 6}), true}), ShapeError);     // rows
  EXPECT_THROW(run({zeros({2, 3, 4}), true}, {zeros({6, 3}), false}), ShapeError);  // a batch
  EXPECT_THROW(run({zeros({3, 4}), true}, {zeros({3, 6}, DType::f64), true}), DtypeError);
  EXPECT_THROW(sddmm_wide(SddmmOperand{zeros({3, 4}), true}, SddmmOperand{zeros({3, 6}), true}, nullptr), ValueError);
}

}  // namespace
}  // namespace lacuna
