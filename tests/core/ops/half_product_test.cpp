// TF32 products by way of scaled f16 copies. The same source runs on the CPU, where the route falls back to the dense one.
#include "core/ops/half_product.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <string>

#include "core/kernel_set.h"
#include "core/ops/kernel_choice.h"
#include "core/ops/sddmm.h"
#include "core/ops/spmm.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

constexpr double kTf32Rounding = 1.0 / 1024;  // of one operand, cut off; f16's, to nearest, is a quarter of it

/// A GPU on which the kernels are allowed, or the CPU.
Device half_device() {
  for (const Device device : devices()) {
    if (device.is_cuda() && allowed_kernels(device).half_product) return device;
  }
  return kCpu;
}

Tensor magnitude(const Tensor& x) {
  std::vector<double> values = x.to(DType::f64).to(kCpu).to_vector<double>();
  for (double& v : values) v = std::abs(v);
  return Tensor::from(values, x.shape());
}

/// Every element within `bound` of the sum of its terms' magnitudes, plus `floor`.
void expect_close(const Tensor& out, const Tensor& want, const Tensor& size, double bound, double floor,
                  const std::string& what) {
  const std::vector<float> got = out.to(kCpu).to_vector<float>();
  const std::vector<double> right = want.to_vector<double>(), sizes = size.to_vector<double>();
  ASSERT_EQ(got.size(), right.size()) << what;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double limit = bound * sizes[i] + floor;
    ASSERT_TRUE(std::abs(got[i] - right[i]) <= limit)
        << what << ", element " << i << ": " << got[i] << ", want " << right[i] << " within " << limit;
  }
}

/// Multiplies row r of x [rows, cols] by 2^exponent(r).
template <class F>
Tensor with_row_scales(const Tensor& x, const F& exponent) {
  std::vector<double> values = x.to_vector<double>();
  const std::int64_t cols = x.dim(1);
  for (std::size_t i = 0; i < values.size(); ++i)
    values[i] = std::ldexp(values[i], exponent(static_cast<std::int64_t>(i) / cols));
  return Tensor::from(values, x.shape());
}

void check_spmm(const TopologyPtr& topology, const Tensor& values, const Tensor& b, const Tensor& bias, Activation kind,
                double floor, const std::string& what) {
  const Tensor want = spmm({values, topology}, b, bias, kind);
  const Tensor size = spmm({magnitude(values), topology}, magnitude(b));
  for (const Device device : devices()) {
    const SparseTensor a{values.to(DType::f32).to(device), topology->to(device)};
    const Tensor right = b.to(DType::f32).to(device);
    const Tensor shift = bias.defined() ? bias.to(DType::f32).to(device) : Tensor{};
    const Tensor out = Tensor::full(want.shape(), std::nan(""), DType::f32, device), again = Tensor::empty_like(out);
    spmm_into(out, a, right, Route::half, shift, kind);
    expect_close(out, want, size, 2 * kTf32Rounding, floor, what + " on " + to_string(device));
    spmm_into(again, a, right, Route::half, shift, kind);
    EXPECT_TRUE(equal_bits(out, again)) << what;
  }
}

TEST(HalfProduct, IsTakenWhereItCanBe) {
  const Device device = half_device();
  if (device.is_cpu()) GTEST_SKIP() << "no GPU on which half_product is allowed";
  const TopologyPtr topology = random_topology(70, 64, 0.5, 3)->to(device);
  const SparseTensor a{random_input({topology->nnz()}, 1).to(DType::f32).to(device), topology};
  const Tensor out = Tensor::empty({70, 40}, DType::f32, device);
  EXPECT_TRUE(spmm_in_half(out, a, random_input({64, 40}, 2).to(DType::f32).to(device), {}, Activation::none));
  const Tensor many = Tensor::empty({2, 70, 40}, DType::f32, device);
  EXPECT_FALSE(spmm_in_half(many, a, random_input({2, 64, 40}, 2).to(DType::f32).to(device), {}, Activation::none));
}

TEST(HalfProduct, SpmmIsAsAccurateAsTf32) {
  for (const auto& [m, k, n] : {std::tuple{40, 64, 32}, {37, 53, 1}, {65, 31, 7}, {3, 130, 260}, {128, 8, 8}}) {
    const TopologyPtr topology = awkward_topology(m, k, 3);
    const Tensor values = random_input({topology->nnz()}, 1), b = random_input({k, n}, 2), bias = random_input({m}, 3);
    check_spmm(topology, values, b, {}, Activation::none, 0, "plain");
    check_spmm(topology, values, b, bias, Activation::none, 1e-6, "bias");
    check_spmm(topology, values, b, bias, Activation::relu, 1e-6, "bias and relu");
  }
  for (const double sparsity : {0.0, 0.8, 0.95, 0.99}) {  // by masks, and without them
    const TopologyPtr topology = random_topology(150, 333, sparsity, 9);
    check_spmm(topology, random_input({topology->nnz()}, 1), random_input({333, 40}, 2), {}, Activation::none, 0,
               "sparsity " + std::to_string(sparsity));
  }
}

TEST(HalfProduct, TakesRowsLongerThanABlockHolds) {
  const TopologyPtr wide = random_topology(5, 9000, 0.5, 4);  // more columns than a tile
  check_spmm(wide, random_input({wide->nnz()}, 1), random_input({9000, 12}, 2), {}, Activation::none, 0,
             "long rows of A");
  const TopologyPtr sparse = random_topology(5, 9000, 0.95, 4);  // without masks, in pieces of a row
  check_spmm(sparse, random_input({sparse->nnz()}, 1), random_input({9000, 12}, 2), {}, Activation::none, 0,
             "few of A");
  const TopologyPtr small = random_topology(9, 6, 0.4, 4);
  for (const std::int64_t n : {2050, 8195, 8196})  // B's rows: two vectors a thread, eight, more than it keeps
    check_spmm(small, random_input({small->nnz()}, 1), random_input({6, n}, 2), {}, Activation::none, 0,
               "long rows of B");
}

TEST(HalfProduct, PowersOfTwoMakeUpForTheRange) {
  const TopologyPtr topology = random_topology(50, 70, 0.5, 5);
  const Tensor values = random_input({topology->nnz()}, 1), b = random_input({70, 24}, 2);
  for (const int shift : {-100, -60, -20, 0, 20, 60, 90}) {
    const auto whole = [&](std::int64_t) { return shift; };
    const Tensor scaled = with_row_scales(values.reshape({1, topology->nnz()}), whole).reshape({topology->nnz()});
    const double floor = 1e-44;  // results may be denormal
    check_spmm(topology, scaled, b, {}, Activation::none, floor, "A times 2^" + std::to_string(shift));
    check_spmm(topology, values, with_row_scales(b, whole), {}, Activation::none, floor,
               "B times 2^" + std::to_string(shift));
  }
  // Rows of B apart by up to 2^24: what is lost is below 2^-40 of the largest product.
  const Tensor uneven = with_row_scales(b, [](std::int64_t r) { return static_cast<int>(r * 7 % 25) - 12; });
  check_spmm(topology, values, uneven, {}, Activation::none, 70 * std::ldexp(1.0, 13 - 40), "uneven rows of B");
}

TEST(HalfProduct, ZerosNansAndInfinitiesStayWhatTheyAre) {
  const TopologyPtr topology = random_topology(20, 30, 0.5, 6);
  const Tensor values = random_input({topology->nnz()}, 1);
  check_spmm(topology, Tensor::zeros({topology->nnz()}, DType::f64), random_input({30, 8}, 2), {}, Activation::none, 0,
             "A = 0");
  check_spmm(topology, values, Tensor::zeros({30, 8}, DType::f64), {}, Activation::none, 0, "B = 0");
  for (const float bad : {std::numeric_limits<float>::quiet_NaN(), std::numeric_limits<float>::infinity()}) {
    std::vector<float> b = random_input({30, 8}, 2).to(DType::f32).to_vector<float>();
    b[11 * 8 + 5] = bad;
    for (const Device device : devices()) {
      const SparseTensor a{values.to(DType::f32).to(device), topology->to(device)};
      const Tensor out = Tensor::empty({20, 8}, DType::f32, device);
      spmm_into(out, a, Tensor::from(b, {30, 8}, device), Route::half);
      const std::vector<float> c = out.to_vector<float>();
      for (std::size_t i = 0; i < c.size(); ++i) EXPECT_EQ(std::isfinite(c[i]), i % 8 != 5) << i;
    }
  }
}

TEST(HalfProduct, TakesEmptyProducts) {
  for (const Device device : devices()) {
    for (const auto& [m, k, n] : {std::tuple{0, 5, 4}, {5, 0, 4}, {5, 3, 0}, {40, 70, 8}}) {
      const TopologyPtr topology = random_topology(m, k, 1.0, 1)->to(device);  // no entries
      const SparseTensor a{Tensor::empty({0}, DType::f32, device), topology};
      const Tensor out = Tensor::full({m, n}, 7, DType::f32, device), bias = Tensor::full({m}, 0.5, DType::f32, device);
      spmm_into(out, a, Tensor::full({k, n}, 3, DType::f32, device), Route::half, bias);
      for (const float x : out.to_vector<float>()) EXPECT_EQ(x, 0.5f);
    }
  }
}

TEST(HalfProduct, SddmmIsAsAccurateAsTf32) {
  const auto run = [](const TopologyPtr& topology, const Tensor& a, const Tensor& b, const std::string& what) {
    const Tensor want = sddmm(a, b, topology, -0.5).values,
                 size = sddmm(magnitude(a), magnitude(b), topology, 0.5).values;
    for (const Device device : devices()) {
      const Tensor x = a.to(DType::f32).to(device), y = b.to(DType::f32).to(device);
      const TopologyPtr there = topology->to(device);
      const Tensor out = Tensor::full(want.shape(), std::nan(""), DType::f32, device), again = Tensor::empty_like(out);
      sddmm_into(out, x, y, there, -0.5, Route::half);
      expect_close(out, want, size, 2 * kTf32Rounding, 1e-44, what + " on " + to_string(device));
      sddmm_into(again, x, y, there, -0.5, Route::half);
      EXPECT_TRUE(equal_bits(out, again)) << what;
    }
  };
  const TopologyPtr topology = awkward_topology(150, 210, 3);
  for (const std::int64_t k : {1, 7, 8, 64, 130, 1000})
    run(topology, random_input({150, k}, 1), random_input({210, k}, 2), "k " + std::to_string(k));
  const auto up = [](std::int64_t r) { return static_cast<int>(r * 7 % 121) - 60; };
  const auto down = [](std::int64_t r) { return static_cast<int>(r * 11 % 101) - 50; };
  run(topology, with_row_scales(random_input({150, 40}, 1), up), with_row_scales(random_input({210, 40}, 2), down),
      "rows of any size");
  run(topology, Tensor::zeros({150, 40}, DType::f64), random_input({210, 40}, 2), "A = 0");
}

TEST(HalfProduct, SddmmIsTakenWhereItCanBe) {
  const Device device = half_device();
  if (device.is_cpu()) GTEST_SKIP() << "no GPU on which half_product is allowed";
  const TopologyPtr topology = random_topology(70, 90, 0.5, 3)->to(device);
  const Tensor values = Tensor::empty({topology->nnz()}, DType::f32, device);
  const Tensor a = random_input({70, 49}, 1).to(DType::f32).to(device);
  EXPECT_TRUE(sddmm_in_half(values, a, random_input({90, 49}, 2).to(DType::f32).to(device), topology, 1));
}

TEST(HalfProduct, IsChosenForLargeTf32ProductsAlone) {
  ProductShape p{.device = {DeviceType::cuda, 0},
                 .precision = MatmulPrecision::tf32,
                 .rows = 4096,
                 .cols = 4096,
                 .nnz = 4096 * 410,
                 .other = 4096};
  EXPECT_EQ(choose_spmm(p).route, Route::half);
  EXPECT_NE(explain_choice("spmm", p).find("scaled f16: sparsity 0.9"), std::string::npos);
  EXPECT_EQ(choose_sddmm(p).route, Route::half);
  p.kernels = without({}, "half_product");
  EXPECT_EQ(choose_spmm(p).route, Route::dense);
  EXPECT_NE(choose_sddmm(p).route, Route::half);
  p.kernels = {};
  p.precision = MatmulPrecision::highest;
  EXPECT_NE(choose_spmm(p).route, Route::half);
  p.precision = MatmulPrecision::tf32;
  p.dtype = DType::bf16;
  EXPECT_NE(choose_spmm(p).route, Route::half);
  p.dtype = DType::f32;
  p.batch = 2;
  EXPECT_NE(choose_spmm(p).route, Route::half);
  p.batch = 1;
  p.rows = 256;  // B's copy costs more than the product saves
  p.nnz = 256 * 410;
  EXPECT_NE(choose_spmm(p).route, Route::half);
}

}  // namespace
}  // namespace lacuna
