#include "core/ops/sddmm.h"

#include <gtest/gtest.h>

#include <limits>

#include "core/errors.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

OpCase sddmm_case(const TopologyPtr& topology, std::int64_t k, std::int64_t batch = 0, double scale = 1) {
  const std::int64_t m = topology->rows(), n = topology->cols();
  OpCase c;
  c.name = "sddmm [" + std::to_string(m) + ", " + std::to_string(n) + "] k " + std::to_string(k) + " batch " +
           std::to_string(batch);
  c.inputs = {random_input(batch > 0 ? Shape{batch, m, k} : Shape{m, k}, 1),
              random_input(batch > 0 ? Shape{batch, n, k} : Shape{n, k}, 2)};
  c.run = [=](const std::vector<Var>& v) { return sddmm(v[0], v[1], beside(topology, v[0]), scale).values; };
  c.reference = [=](const std::vector<Tensor>& t) {
    const std::int64_t matrices = batch > 0 ? batch : 1;
    Tensor out = Tensor::empty(batch > 0 ? Shape{batch, topology->nnz()} : Shape{topology->nnz()}, DType::f64);
    const std::vector<std::int32_t> rows = topology->row_indices().to_vector<std::int32_t>();
    const std::vector<std::int32_t> columns = topology->col_indices().to_vector<std::int32_t>();
    for (std::int64_t b = 0; b < matrices; ++b) {
      for (std::size_t i = 0; i < rows.size(); ++i) {
        double sum = 0;
        for (std::int64_t x = 0; x < k; ++x) {
          sum += t[0].data<double>()[(b * m + rows[i]) * k + x] * t[1].data<double>()[(b * n + columns[i]) * k + x];
        }
        out.data<double>()[b * topology->nnz() + static_cast<std::int64_t>(i)] = scale * sum;
      }
    }
    return out;
  };
  c.tf32_tolerance = 5e-3;
  return c;
}

TEST(Sddmm, AgreesWithItsDefinition) {
  check(sddmm_case(random_topology(1, 1, 0.0, 1), 1));
  check(sddmm_case(random_topology(5, 7, 0.5, 1), 3, 0, 0.25));
  check(sddmm_case(random_topology(33, 17, 0.7, 2), 9));
  check(sddmm_case(awkward_topology(12, 20, 3), 16));
  check(sddmm_case(random_topology(20, 31, 0.9, 4), 40, 0, -3));
}

TEST(Sddmm, AgreesAtEveryLength) {
  const TopologyPtr topology = awkward_topology(11, 13, 6);
  for (const std::int64_t k : {1, 4, 7, 8, 15, 16, 31, 32, 33, 63, 64, 65, 128, 200}) {
    OpCase c = sddmm_case(topology, k);
    c.check_gradient = k < 10;
    check(c);
  }
}

TEST(Sddmm, TakesABatch) {
  check(sddmm_case(awkward_topology(7, 9, 1), 5, 3));
  check(sddmm_case(awkward_topology(7, 9, 1), 16, 4, 0.5));
  check(sddmm_case(awkward_topology(7, 9, 1), 70, 3));
}

TEST(Sddmm, TakesZeroExtents) {
  for (const Device device : devices()) {
    EXPECT_EQ(sddmm(Tensor::zeros({0, 4}, DType::f32, device), Tensor::zeros({5, 4}, DType::f32, device),
                    Topology::full(0, 5, device))
                  .values.numel(),
              0);
    EXPECT_EQ(sddmm(Tensor::zeros({3, 4}, DType::f32, device), Tensor::zeros({5, 4}, DType::f32, device),
                    random_topology(3, 5, 1, 1)->to(device))
                  .values.numel(),
              0);
    // A sum over nothing is 0, and is written.
    poison_free_memory(device, {4 * 6});
    for (const float x : sddmm(Tensor::zeros({2, 0}, DType::f32, device), Tensor::zeros({3, 0}, DType::f32, device),
                               Topology::full(2, 3, device))
                             .values.to_vector<float>()) {
      EXPECT_EQ(x, 0);
    }
  }
}

TEST(Sddmm, NeverReadsRowsBesideThePattern) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Device device : devices()) {
    const TopologyPtr topology = Topology::from_csr(2, 3, Tensor::from(std::vector<std::int32_t>{0, 1, 1}, {3}),
                                                    Tensor::from(std::vector<std::int32_t>{1}, {1}))
                                     ->to(device);
    const Tensor a = Tensor::from(std::vector<float>{1, 2, nan, nan}, {2, 2}, device);
    const Tensor b = Tensor::from(std::vector<float>{nan, nan, 3, 4, nan, nan}, {3, 2}, device);
    EXPECT_EQ(sddmm(a, b, topology).values.to_vector<float>(), std::vector<float>{11});
  }
}

TEST(Sddmm, BothRoutesAgree) {
  for (const Device device : devices()) {
    const TopologyPtr topology = awkward_topology(145, 67, 2)->to(device);
    for (const bool batched : {false, true}) {
      const Tensor a = random_input(batched ? Shape{3, 145, 200} : Shape{145, 200}, 1).to(DType::f32).to(device);
      const Tensor b = random_input(batched ? Shape{3, 67, 200} : Shape{67, 200}, 2).to(DType::f32).to(device);
      Tensor sparse = Tensor::empty(batched ? Shape{3, topology->nnz()} : Shape{topology->nnz()}, DType::f32, device);
      Tensor dense = Tensor::empty_like(sparse);
      sddmm_into(sparse, a, b, topology, 0.5, Route::sparse);
      sddmm_into(dense, a, b, topology, 0.5, Route::dense);
      EXPECT_LT(relative_error(dense, sparse), 1e-6);
      Tensor tensor = Tensor::empty_like(sparse);  // the sparse kernel where there are no tensor cores
      sddmm_into(tensor, a, b, topology, 0.5, Route::tensor);
      EXPECT_LT(relative_error(tensor, sparse), 1e-6);
      EXPECT_GT(nonzero_fraction(sparse), 0.9);
    }
  }
}

TEST(Sddmm, RefusesWhatDoesNotFit) {
  const TopologyPtr topology = random_topology(4, 6, 0.5, 1);
  const auto zeros = [](const Shape& shape, DType dtype = DType::f32) { return Tensor::zeros(shape, dtype); };
  EXPECT_THROW(sddmm(zeros({4, 3}), zeros({6, 2}), topology), ShapeError);
  EXPECT_THROW(sddmm(zeros({3, 3}), zeros({6, 3}), topology), ShapeError);
  EXPECT_THROW(sddmm(zeros({4, 3}), zeros({5, 3}), topology), ShapeError);
  EXPECT_THROW(sddmm(zeros({2, 4, 3}), zeros({6, 3}), topology), ShapeError);
  EXPECT_THROW(sddmm(zeros({2, 4, 3}), zeros({3, 6, 3}), topology), ShapeError);
  EXPECT_THROW(sddmm(zeros({4, 3}), zeros({6, 3}, DType::f64), topology), DtypeError);
  EXPECT_THROW(sddmm(zeros({4, 3}), zeros({6, 3}), nullptr), ValueError);
}

}  // namespace
}  // namespace lacuna
