// That the tensor-core routes are really taken where they can be, and refuse what they cannot take; and the switches of
// core/kernel_set.h. Values against f64 are tests/kernels' and those of the op's own tests.
#include "core/ops/tensor_core.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "core/kernel_set.h"
#include "core/ops/kernel_choice.h"
#include "core/ops/sddmm.h"
#include "core/ops/spmm.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

TEST(KernelSet, NamesAreReadAndWritten) {
  EXPECT_EQ(names_off(KernelSet{}), "");
  EXPECT_EQ(without({}, ""), KernelSet{});
  const KernelSet two = without({}, " sddmm_tensor,,spmm_panel ");
  EXPECT_FALSE(two.spmm_panel);
  EXPECT_TRUE(two.spmm_tensor);
  EXPECT_FALSE(two.sddmm_tensor);
  EXPECT_EQ(names_off(two), "spmm_panel,sddmm_tensor");
  EXPECT_EQ(without({}, names_off(two)), two);
  EXPECT_THROW(without({}, "spmm_tensors"), ValueError);
}

TEST(KernelSet, WhatIsOffIsNeverChosen) {
  ProductShape p{.device = {DeviceType::cuda, 0}, .rows = 4096, .cols = 4096, .nnz = 4096 * 819, .other = 4096};
  ASSERT_EQ(choose_spmm(p).route, Route::tensor);
  ASSERT_EQ(choose_sddmm(p).route, Route::tensor);
  p.kernels = without({}, "spmm_tensor");
  EXPECT_NE(choose_spmm(p).route, Route::tensor);
  EXPECT_EQ(choose_sddmm(p).route, Route::tensor);
  p.kernels = without({}, "sddmm_tensor");
  EXPECT_EQ(choose_spmm(p).route, Route::tensor);
  EXPECT_NE(choose_sddmm(p).route, Route::tensor);
  // The panel kernel is no route of its own: without it the sparse route is predicted to take longer.
  p = {.device = {DeviceType::cuda, 0}, .rows = 2048, .cols = 512, .nnz = 2048 * 51, .other = 2048};
  const double with_panels = choose_spmm(p).sparse_seconds;
  p.kernels.spmm_panel = false;
  EXPECT_GT(choose_spmm(p).sparse_seconds, with_panels);
}

TEST(KernelSet, FewEntriesAndShortSumsGoByGroups) {
  ProductShape p{.device = {DeviceType::cuda, 0}, .rows = 2048, .cols = 512, .nnz = 2048 * 10, .other = 256};
  EXPECT_TRUE(sddmm_by_groups(p));
  const double with_groups = choose_sddmm(p).sparse_seconds;
  p.kernels = without({}, "sddmm_groups");
  EXPECT_FALSE(sddmm_by_groups(p));
  EXPECT_GT(choose_sddmm(p).sparse_seconds, with_groups);
  p.kernels = {};
  p.nnz = 2048 * 256, p.other = 2048;
  EXPECT_FALSE(sddmm_by_groups(p));
  p.device = kCpu;
  p.nnz = 2048 * 10, p.other = 256;
  EXPECT_FALSE(sddmm_by_groups(p));
}

/// The first Hopper GPU, or the CPU.
Device hopper() {
  for (const Device device : devices()) {
    if (device.is_cuda() && allowed_kernels(device).spmm_tensor) return device;
  }
  return kCpu;
}

TEST(TensorCores, AreUsedWhereTheyCanBe) {
  const Device device = hopper();
  if (device.is_cpu()) GTEST_SKIP() << "no GPU of compute capability 9.0 on which spmm_tensor is allowed";
  const TopologyPtr topology = random_topology(200, 260, 0.8, 3)->to(device);
  const SparseTensor a{random_input({topology->nnz()}, 1).to(DType::f32).to(device), topology};
  for (const std::int64_t n : {4, 64, 132}) {
    const Tensor b = random_input({260, n}, 2).to(DType::f32).to(device);
    const Tensor out = Tensor::empty({200, n}, DType::f32, device), expected = Tensor::empty_like(out);
    EXPECT_TRUE(spmm_on_tensor_cores(out, a, b, {}, Activation::none)) << n;
    spmm_into(expected, a, b, Route::sparse);
    EXPECT_LT(relative_error(out, expected), 1e-6) << n;
    const Tensor one = Tensor::empty({1, 200, n}, DType::f32, device);  // a batch of one is one matrix
    EXPECT_TRUE(spmm_on_tensor_cores(one, a, b.reshape({1, 260, n}), {}, Activation::none)) << n;
    EXPECT_LT(relative_error(one.reshape({200, n}), expected), 1e-6) << n;
  }
  const Tensor x = random_input({200, 36}, 4).to(DType::f32).to(device);
  const Tensor y = random_input({260, 36}, 5).to(DType::f32).to(device);
  const Tensor values = Tensor::empty({topology->nnz()}, DType::f32, device), expected = Tensor::empty_like(values);
  EXPECT_TRUE(sddmm_on_tensor_cores(values, x, y, topology, -0.5));
  sddmm_into(expected, x, y, topology, -0.5, Route::sparse);
  EXPECT_LT(relative_error(values, expected), 1e-6);
}

TEST(TensorCores, RefuseWhatTheyCannotTakeAndTheOpGoesOn) {
  for (const Device device : devices()) {
    const TopologyPtr topology = random_topology(64, 96, 0.5, 3)->to(device);
    const SparseTensor a{random_input({topology->nnz()}, 1).to(DType::f32).to(device), topology};
    const Tensor b = random_input({3, 96, 32}, 2).to(DType::f32).to(device);  // a batch
    const Tensor out = Tensor::empty({3, 64, 32}, DType::f32, device), expected = Tensor::empty_like(out);
    EXPECT_FALSE(spmm_on_tensor_cores(out, a, b, {}, Activation::none));
    spmm_into(out, a, b, Route::tensor);
    spmm_into(expected, a, b, Route::sparse);
    EXPECT_TRUE(equal_bits(out, expected));
    const Tensor x = random_input({64, 30}, 4).to(DType::f32).to(device);
    const Tensor y = random_input({96, 30}, 5).to(DType::f32).to(device);
    EXPECT_FALSE(sddmm_on_tensor_cores(Tensor::empty({topology->nnz()}, DType::f32, device), x, y, topology, 1));
  }
}

TEST(TensorCores, TakeRowsOff16Bytes) {
  for (const Device device : devices()) {
    const TopologyPtr topology = random_topology(64, 96, 0.5, 3)->to(device);
    const SparseTensor a{random_input({topology->nnz()}, 1).to(DType::f32).to(device), topology};
    const Tensor shifted = random_input({96 * 32 + 1, 1}, 2).to(DType::f32).to(device);
    for (const Tensor& b :
         {random_input({96, 30}, 2).to(DType::f32).to(device), shifted.slice(1, 96 * 32 + 1).reshape({96, 32})}) {
      const Tensor out = Tensor::empty({64, b.dim(1)}, DType::f32, device), expected = Tensor::empty_like(out);
      spmm_into(out, a, b, Route::tensor);
      spmm_into(expected, a, b, Route::sparse);
      EXPECT_LT(relative_error(out, expected), 1e-6);
    }
  }
}

TEST(TensorCores, TakeEmptyProducts) {
  for (const Device device : devices()) {
    for (const auto& [m, k, n] : {std::tuple{0, 5, 4}, {5, 0, 4}, {5, 3, 0}, {40, 70, 8}}) {
      const TopologyPtr topology = random_topology(m, k, 1.0, 1)->to(device);  // no entries
      const SparseTensor a{Tensor::empty({0}, DType::f32, device), topology};
      const Tensor out = Tensor::full({m, n}, 7, DType::f32, device), bias = Tensor::full({m}, 0.5, DType::f32, device);
      spmm_into(out, a, Tensor::full({k, n}, 3, DType::f32, device), Route::tensor, bias);
      for (const float x : out.to_vector<float>()) EXPECT_EQ(x, 0.5f);
      sddmm_into(Tensor::empty({0}, DType::f32, device), Tensor::full({m, n}, 3, DType::f32, device),
                 Tensor::full({k, n}, 3, DType::f32, device), topology, 1, Route::tensor);
    }
  }
}

TEST(TensorCores, PlansAreKeptWithThePattern) {
  const Device device = hopper();
  if (device.is_cpu()) GTEST_SKIP() << "no GPU of compute capability 9.0 on which spmm_tensor is allowed";
  const TopologyPtr topology = random_topology(200, 260, 0.8, 3)->to(device);
  const std::size_t before = topology->bytes();
  void* plan = topology->sddmm_plan().raw();
  EXPECT_GT(topology->bytes(), before);
  EXPECT_EQ(topology->sddmm_plan().raw(), plan);
  EXPECT_THROW(random_topology(4, 4, 0.5, 1)->sddmm_plan(), BackendError);
}

}  // namespace
}  // namespace lacuna
