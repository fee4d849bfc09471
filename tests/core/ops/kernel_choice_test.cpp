#include "core/ops/kernel_choice.h"

#include <gtest/gtest.h>

#include "core/errors.h"

namespace lacuna {
namespace {

ProductShape square(Device device, std::int64_t size, double sparsity,
                    MatmulPrecision precision = MatmulPrecision::highest) {
  ProductShape p;
  p.device = device;
  p.precision = precision;
  p.rows = p.cols = p.other = size;
  p.nnz = static_cast<std::int64_t>((1 - sparsity) * static_cast<double>(size * size));
  return p;
}

constexpr Device kCuda{DeviceType::cuda, 0};

TEST(KernelChoice, DenseBelowSomeSparsityAndSparseAbove) {
  for (const std::int64_t size : {256, 1024, 4096}) {
    for (const auto choose : {choose_spmm, choose_sddmm}) {
      EXPECT_EQ(choose(square(kCpu, size, 0.1)).route, Route::dense);
      EXPECT_EQ(choose(square(kCpu, size, 0.9)).route, Route::sparse);
    }
  }
  EXPECT_EQ(choose_spmm(square(kCuda, 4096, 0.0)).route, Route::tensor);  // three products in f16 beat one in f32
  ProductShape no_tensor = square(kCuda, 4096, 0.0);
  no_tensor.kernels.spmm_tensor = false;
  EXPECT_EQ(choose_spmm(no_tensor).route, Route::dense);
  ProductShape few_tiles = square(kCuda, 512, 0.7);
  few_tiles.cols = 2048, few_tiles.nnz *= 4, few_tiles.other = 256;
  EXPECT_EQ(choose_spmm(few_tiles).route, Route::tensor);
  few_tiles.other = 255;
  EXPECT_EQ(choose_spmm(few_tiles).route, Route::tensor);
  EXPECT_EQ(choose_spmm(square(kCuda, 4096, 0.8)).route, Route::tensor);
  EXPECT_EQ(choose_spmm(square(kCuda, 4096, 0.99)).route, Route::sparse);
  EXPECT_EQ(choose_spmm(square(kCuda, 4096, 0.9, MatmulPrecision::tf32)).route, Route::half);
  EXPECT_EQ(choose_sddmm(square(kCuda, 4096, 0.9)).route, Route::tensor);
  EXPECT_EQ(choose_sddmm(square(kCuda, 4096, 0.99)).route, Route::sparse);
  EXPECT_NE(choose_sddmm(square(kCuda, 4096, 0.95, MatmulPrecision::tf32)).route, Route::sparse);
}

/// What was fastest on an H100 by 1.3 times and more, of problems where models have been wrong.
TEST(KernelChoice, SddmmTakesWhatMeasuredBest) {
  const auto problem = [](std::int64_t rows, std::int64_t cols, std::int64_t k, std::int64_t nnz) {
    ProductShape p = square(kCuda, 1, 0);
    p.rows = rows, p.cols = cols, p.other = k, p.nnz = nnz;
    return p;
  };
  EXPECT_EQ(choose_sddmm(problem(64, 64, 3136, 3835)).route, Route::tensor);  // one tile: dense math has few, too
  EXPECT_EQ(choose_sddmm(problem(64, 147, 12544, 4704)).route, Route::tensor);
  EXPECT_EQ(choose_sddmm(problem(2048, 512, 49, 524288)).route, Route::dense);
  EXPECT_EQ(choose_sddmm(problem(2048, 512, 256, 524288)).route, Route::tensor);
  for (const ProductShape& few : {problem(512, 512, 256, 26214), problem(256, 1024, 196, 39693),
                                  problem(512, 2048, 2048, 21606), problem(2048, 512, 49, 104857)}) {
    EXPECT_EQ(choose_sddmm(few).route, Route::sparse);
    EXPECT_TRUE(sddmm_by_groups(few));
    ProductShape bf16 = few;
    bf16.dtype = DType::bf16;
    EXPECT_TRUE(sddmm_by_groups(bf16));
    bf16.device = kCpu;
    EXPECT_FALSE(sddmm_by_groups(bf16));
  }
  EXPECT_FALSE(sddmm_by_groups(problem(512, 2048, 2048, 524288)));
}

TEST(KernelChoice, NeverMakesAHugeScratch) {
  ProductShape attention = square(kCuda, 12288, 0.5, MatmulPrecision::tf32);
  attention.other = 128;
  EXPECT_NE(choose_sddmm(attention).route, Route::dense);
  EXPECT_NE(choose_spmm(attention).route, Route::dense);
  attention = square(kCpu, 4096, 0.1);
  attention.batch = 8;
  EXPECT_EQ(choose_sddmm(attention).route, Route::sparse);
  EXPECT_NE(explain_choice("sddmm", attention).find("scratch"), std::string::npos);
}

TEST(KernelChoice, TakesEdgesAndExplains) {
  EXPECT_EQ(choose_spmm(ProductShape{}).route, Route::sparse);
  EXPECT_EQ(choose_sddmm(ProductShape{}).route, Route::sparse);
  ProductShape f64 = square(kCpu, 512, 0.0);
  f64.dtype = DType::f64;
  EXPECT_EQ(choose_spmm(f64).route, Route::sparse);
  EXPECT_NE(explain_choice("spmm", square(kCpu, 1024, 0.1)).find("densify + matmul: sparsity 0.100"),
            std::string::npos);
  EXPECT_NE(explain_choice("sddmm", square(kCpu, 1024, 0.95)).find("sparse kernel: sparsity 0.950"), std::string::npos);
  EXPECT_THROW(explain_choice("gemm", ProductShape{}), ValueError);
}

}  // namespace
}  // namespace lacuna
