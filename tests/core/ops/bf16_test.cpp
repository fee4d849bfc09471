// What is particular to bf16 operands: which dtypes go together, the routes of the sparse products, the embedding.
#include <gtest/gtest.h>

#include "core/errors.h"
#include "core/ops/batch_norm.h"
#include "core/ops/cast.h"
#include "core/ops/embedding.h"
#include "core/ops/kernel_choice.h"
#include "core/ops/layer_norm.h"
#include "core/ops/matmul.h"
#include "core/ops/sddmm.h"
#include "core/ops/spmm.h"
#include "core/ops/tensor_core.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

Tensor bf16_input(const Shape& shape, std::uint64_t seed, Device device) {
  return random_input(shape, seed).to(DType::bf16).to(device);
}

TEST(Bf16, DtypesThatDoNotGoTogether) {
  for (const Device device : devices()) {
    const Tensor w = bf16_input({4, 3}, 1, device), x = bf16_input({3, 5}, 2, device);
    const Tensor wide = random_input({4, 3}, 1).to(DType::f32).to(device);
    const Tensor bias = Tensor::zeros({4}, DType::f32, device), gain = Tensor::full({3}, 1, DType::f32, device);
    EXPECT_THROW(matmul(wide, x), DtypeError);
    EXPECT_THROW(linear(wide, x), DtypeError);
    EXPECT_THROW(linear(w, x, bias.to(DType::bf16)), DtypeError);
    EXPECT_NO_THROW(linear(w, x, bias));
    EXPECT_THROW(layer_norm(x, gain.to(DType::bf16), gain), DtypeError);
    EXPECT_THROW(layer_norm(x, gain, gain.to(DType::bf16)), DtypeError);
    EXPECT_THROW(batch_norm(x, gain, gain, gain.to(DType::bf16), gain, false), DtypeError);
    const TopologyPtr topology = random_topology(4, 3, 0.5, 1)->to(device);
    const SparseTensor a{Tensor::zeros({topology->nnz()}, DType::f32, device), topology};
    EXPECT_THROW(spmm(a, x), DtypeError);
    EXPECT_THROW(sddmm_into(Tensor::empty({topology->nnz()}, DType::bf16, device), wide,
                            Tensor::zeros({3, 3}, DType::f32, device), topology, 1, Route::sparse),
                 DtypeError);
  }
}

TEST(Bf16, MatmulIsSummedInF32) {
  // 1 + 2047 * 2^-9: a sum that is kept in bf16 would stay at 1.
  const std::int64_t k = 2048;
  for (const Device device : devices()) {
    std::vector<float> terms(k, 1.0f / 512);
    terms[0] = 1;
    const Tensor a = cast(Tensor::from(terms, {1, k}, device), DType::bf16);
    const Tensor b = Tensor::full({k, 1}, 1, DType::bf16, device);
    EXPECT_EQ(matmul(a, b).item(), 5.0);
    EXPECT_EQ(matmul_wide(a, b).item(), 1 + 2047.0 / 512);
    EXPECT_EQ(matmul_wide(a, b).dtype(), DType::f32);
  }
}

TEST(Bf16, EmbeddingRoundsAnF32Table) {
  for (const Device device : devices()) {
    const std::vector<std::int32_t> tokens = {2, 0, 2, 1, 2};
    const Tensor ids = Tensor::from(tokens, {5}, device);
    const Var table(random_input({3, 40}, 1).to(DType::f32).to(device), true);
    const Var out = embedding(table, ids, DType::bf16);
    EXPECT_TRUE(equal_bits(out.data(), cast(embedding(table.data(), ids), DType::bf16)));
    const Tensor seed = bf16_input({40, 5}, 2, device);
    backward(out, seed);
    const Var plain(table.data(), true);
    backward(embedding(plain, ids), cast(seed, DType::f32));
    EXPECT_TRUE(equal_bits(table.grad(), plain.grad())) << "summed in f32";
    EXPECT_THROW(embedding(cast(table.data(), DType::bf16), ids, DType::bf16), DtypeError);
  }
}

TEST(Bf16, RoutesOfSpmmAgree) {
  for (const Device device : devices()) {
    for (const std::int64_t n : {1, 8, 33, 64}) {
      const TopologyPtr topology = awkward_topology(40, 64, 3)->to(device);
      const SparseTensor a{bf16_input({topology->nnz()}, 1, device), topology};
      const Tensor b = bf16_input({64, n}, 2, device), bias = random_input({40}, 3).to(DType::f32).to(device);
      const SparseTensor exact{a.values.to(DType::f64).to(kCpu), topology->to(kCpu)};
      const Tensor want = spmm(exact, b.to(DType::f64).to(kCpu), bias.to(DType::f64).to(kCpu), Activation::relu);
      for (const Route route : {Route::sparse, Route::tensor, Route::dense}) {
        const Tensor out = Tensor::empty({40, n}, DType::bf16, device);
        spmm_into(out, a, b, route, bias, Activation::relu);
        EXPECT_LT(relative_error(out, want), 2 * kBf16Rounding) << n << " route " << static_cast<int>(route);
      }
    }
  }
}

TEST(Bf16, RoutesOfSddmmAgreeAndLeaveF32WhereAsked) {
  for (const Device device : devices()) {
    for (const std::int64_t k : {3, 16, 72}) {  // 16 and 72: rows on 16 bytes, as the tensor cores want them
      for (const std::int64_t batch : {0, 2}) {
        const TopologyPtr topology = awkward_topology(70, 90, 3)->to(device);
        const auto shape = [&](std::int64_t rows) { return batch > 0 ? Shape{batch, rows, k} : Shape{rows, k}; };
        const Tensor a = bf16_input(shape(70), 1, device), b = bf16_input(shape(90), 2, device);
        const Tensor want =
            sddmm(a.to(DType::f64).to(kCpu), b.to(DType::f64).to(kCpu), topology->to(kCpu), -0.5).values;
        for (const Route route : {Route::sparse, Route::tensor, Route::dense}) {
          const Tensor wide = Tensor::empty(want.shape(), DType::f32, device);
          const Tensor narrow = Tensor::empty(want.shape(), DType::bf16, device);
          sddmm_into(wide, a, b, topology, -0.5, route);
          sddmm_into(narrow, a, b, topology, -0.5, route);
          EXPECT_LT(relative_error(wide, want), 1e-5) << k << " route " << static_cast<int>(route);
          EXPECT_LT(relative_error(narrow, want), 1.01 * kBf16Rounding) << k << " route " << static_cast<int>(route);
        }
      }
    }
  }
}

TEST(Bf16, ChoiceOfKernels) {
  ProductShape p{.dtype = DType::bf16, .rows = 4096, .cols = 4096, .nnz = 4096 * 2048, .other = 4096};
  ProductShape wide = p;
  wide.dtype = DType::f32;
  EXPECT_EQ(choose_spmm(p).route, choose_spmm(wide).route) << "on the CPU both convert";
  EXPECT_EQ(choose_sddmm(p).route, choose_sddmm(wide).route);
  p.device = {DeviceType::cuda, 0};
  EXPECT_EQ(choose_spmm(p).route, Route::dense);
  EXPECT_LT(choose_sddmm(p).tensor_seconds, 1) << "there is a bf16 kernel";
  p.rows = p.cols = 8192;
  p.nnz = 8192 * 8;  // nearly nothing
  EXPECT_NE(choose_spmm(p).route, Route::dense);
  p.kernels = without({}, "spmm_tensor,sddmm_tensor");
  EXPECT_NE(choose_spmm(p).route, Route::tensor);
  EXPECT_NE(choose_sddmm(p).route, Route::tensor);
  p = {.device = {DeviceType::cuda, 0},
       .dtype = DType::bf16,
       .rows = 4096,
       .cols = 4096,
       .nnz = 4096 * 400,
       .other = 12};
  EXPECT_GT(choose_sddmm(p).tensor_seconds, 1) << "rows of 24 bytes";
}

// The bf16 tiles are really taken where they can be.
TEST(Bf16, SddmmOnTensorCores) {
  for (const Device device : devices()) {
    if (!device.is_cuda() || !allowed_kernels(device).sddmm_tensor) continue;
    const TopologyPtr topology = awkward_topology(70, 90, 3)->to(device);
    const Tensor a = bf16_input({70, 64}, 1, device), b = bf16_input({90, 64}, 2, device);
    for (const DType dtype : {DType::f32, DType::bf16})
      EXPECT_TRUE(sddmm_on_tensor_cores(Tensor::empty({topology->nnz()}, dtype, device), a, b, topology, 1));
    return;
  }
  GTEST_SKIP() << "no GPU of compute capability 9.0 on which sddmm_tensor is allowed";
}

}  // namespace
}  // namespace lacuna
