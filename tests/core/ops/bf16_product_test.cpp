// The product that makes its sparse operand dense on the way, as spmm takes it; kernels/bf16_product has tests of its own.
#include "core/ops/bf16_product.h"

#include <gtest/gtest.h>

#include "core/kernel_set.h"
#include "core/ops/spmm.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

TEST(SpmmDensifying, AgreesWithF64BothWays) {
  for (const Device device : devices()) {
    if (!device.is_cuda() || !allowed_kernels(device).bf16_product) continue;
    for (const std::int64_t n : {8, 264}) {
      const TopologyPtr topology = awkward_topology(300, 270, 3)->to(device);
      const SparseTensor a{random_input({topology->nnz()}, 1).to(DType::bf16).to(device), topology};
      const SparseTensor exact{a.values.to(DType::f64).to(kCpu), topology->to(kCpu)};
      const Tensor b = random_input({270, n}, 2).to(DType::bf16).to(device);
      const Tensor d = random_input({300, n}, 3).to(DType::bf16).to(device);
      const Tensor bias = random_input({300}, 4).to(DType::f32).to(device);
      const Tensor out = Tensor::empty({300, n}, DType::bf16, device),
                   turned = Tensor::empty({270, n}, DType::bf16, device);
      ASSERT_TRUE(spmm_densifying(out, a, b, false, bias, Activation::relu));
      ASSERT_TRUE(spmm_densifying(turned, a, d, true));
      const Tensor want = spmm(exact, b.to(DType::f64).to(kCpu), bias.to(DType::f64).to(kCpu), Activation::relu);
      EXPECT_LT(relative_error(out, want), kBf16Rounding);
      EXPECT_LT(relative_error(turned, spmm_transposed(exact, d.to(DType::f64).to(kCpu))), kBf16Rounding);
    }
    return;
  }
  GTEST_SKIP() << "no GPU of compute capability 9.0 on which bf16_product is allowed";
}

TEST(SpmmDensifying, PaysWhereItWasMeasuredTo) {
  EXPECT_TRUE(densifying_pays(4096, 4096, 4096, 4096 * 2048));
  EXPECT_TRUE(densifying_pays(4096, 4096, 4096, 4096 * 205));
  EXPECT_TRUE(densifying_pays(1024, 4096, 12288, 1024 * 205));
  EXPECT_TRUE(densifying_pays(1024, 1024, 12288, 1024 * 51));
  EXPECT_FALSE(densifying_pays(4096, 1024, 12288, 4096 * 51)) << "cuBLASLt's kernel is the faster one";
  EXPECT_FALSE(densifying_pays(2048, 2048, 2048, 2048 * 410)) << "all of A is needed at once";
  EXPECT_FALSE(densifying_pays(512, 512, 256, 512 * 100)) << "two tiles";
  EXPECT_FALSE(densifying_pays(0, 512, 256, 0));
}

TEST(SpmmDensifying, LeavesAloneWhatItCannotTake) {
  for (const Device device : devices()) {
    const TopologyPtr topology = awkward_topology(40, 64, 3)->to(device);
    const SparseTensor a{random_input({topology->nnz()}, 1).to(DType::bf16).to(device), topology};
    const auto of = [&](std::int64_t rows, std::int64_t cols) {
      return Tensor::zeros({rows, cols}, DType::bf16, device);
    };
    EXPECT_FALSE(spmm_densifying(of(40, 12), a, of(64, 12), false)) << "rows of 24 bytes";
    const SparseTensor wide{random_input({topology->nnz()}, 1).to(DType::f32).to(device), topology};
    EXPECT_FALSE(spmm_densifying(Tensor::zeros({40, 16}, DType::f32, device), wide,
                                 Tensor::zeros({64, 16}, DType::f32, device), false));
    if (!device.is_cuda()) continue;
    const KernelSet before = allowed_kernels(device);
    set_allowed_kernels(device, without(before, "bf16_product"));
    EXPECT_FALSE(spmm_densifying(of(40, 16), a, of(64, 16), false));
    set_allowed_kernels(device, before);
  }
}

}  // namespace
}  // namespace lacuna
