#include "core/ops/spmm.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/errors.h"
#include "core/ops/pointwise.h"
#include "core/ops/sparse_transpose.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

double activate(double x, Activation kind) {
  if (kind == Activation::relu) return x > 0 ? x : 0;
  if (kind == Activation::gelu) return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  return x;
}

/// inputs: values, b, and the bias when there is one.
Tensor naive_spmm(const std::vector<Tensor>& in, const Topology& topology, Activation kind) {
  const Tensor a = naive_dense(in[0], topology);
  const Tensor& b = in[1];
  const std::int64_t m = topology.rows(), k = topology.cols(), n = b.dim(-1), batch = b.rank() == 3 ? b.dim(0) : 1;
  Tensor out = Tensor::zeros(b.rank() == 3 ? Shape{batch, m, n} : Shape{m, n}, DType::f64);
  for (std::int64_t s = 0; s < batch; ++s) {
    const double* left = a.data<double>() + (a.rank() == 3 ? s * m * k : 0);
    for (std::int64_t i = 0; i < m; ++i) {
      for (std::int64_t j = 0; j < n; ++j) {
        double sum = in.size() > 2 && in[2].defined() ? in[2].data<double>()[i] : 0;
        for (std::int64_t x = 0; x < k; ++x) sum += left[i * k + x] * b.data<double>()[(s * k + x) * n + j];
        out.data<double>()[(s * m + i) * n + j] = activate(sum, kind);
      }
    }
  }
  return out;
}

OpCase spmm_case(const TopologyPtr& topology, std::int64_t n, std::int64_t batch = 0, bool shared = false,
                 bool with_bias = false, Activation kind = Activation::none) {
  OpCase c;
  c.name = "spmm [" + std::to_string(topology->rows()) + ", " + std::to_string(topology->cols()) + "] n " +
           std::to_string(n) + " batch " + std::to_string(batch);
  c.inputs.push_back(random_input(batch > 0 && !shared ? Shape{batch, topology->nnz()} : Shape{topology->nnz()}, 1));
  c.inputs.push_back(random_input(batch > 0 ? Shape{batch, topology->cols(), n} : Shape{topology->cols(), n}, 2));
  if (with_bias) c.inputs.push_back(random_input({topology->rows()}, 3));
  c.run = [=](const std::vector<Var>& v) {
    return spmm(SparseVar{v[0], beside(topology, v[0])}, v[1], v.size() > 2 ? v[2] : Var{}, kind);
  };
  c.reference = [=](const std::vector<Tensor>& t) { return naive_spmm(t, *topology, kind); };
  c.tf32_tolerance = 2e-3;  // the dense route may be taken
  c.bf16_roundings = 3;     // of the product, of it with the bias (apart on CUDA), of gelu (apart when recording)
  c.parameters = {false, false, true};
  return c;
}

TEST(Spmm, AgreesWithItsDefinition) {
  check(spmm_case(random_topology(1, 1, 0.0, 1), 1));
  check(spmm_case(random_topology(5, 7, 0.5, 1), 3));
  check(spmm_case(random_topology(33, 17, 0.7, 2), 9));
  check(spmm_case(random_topology(16, 64, 0.9, 3), 32));
  check(spmm_case(random_topology(40, 24, 0.8, 4), 71));
}

TEST(Spmm, AgreesAtEverySlabWidth) {
  const TopologyPtr topology = awkward_topology(11, 13, 6);
  for (const std::int64_t n : {1, 2, 4, 7, 8, 15, 16, 24, 31, 32, 33, 64, 65, 100}) {
    OpCase c = spmm_case(topology, n);
    c.check_gradient = n < 10;
    check(c);
  }
}

TEST(Spmm, TakesEmptyAndFullRows) {
  OpCase c = spmm_case(awkward_topology(9, 12, 1), 6, 0, false, true);
  check(c);
}

TEST(Spmm, FusesBiasAndActivation) {
  for (const Activation kind : {Activation::none, Activation::relu, Activation::gelu}) {
    check(spmm_case(awkward_topology(9, 12, 1), 10, 0, false, true, kind));
    check(spmm_case(random_topology(9, 12, 0.3, 2), 10, 0, false, false, kind));
  }
}

TEST(Spmm, TakesABatch) {
  check(spmm_case(awkward_topology(7, 9, 1), 5, 3));
  check(spmm_case(awkward_topology(7, 9, 1), 8, 4, true));
  check(spmm_case(awkward_topology(7, 9, 1), 40, 3, true, true, Activation::relu));
  check(spmm_case(random_topology(7, 9, 0.3, 1), 5, 2, false, true, Activation::gelu));
}

TEST(Spmm, TakesZeroExtents) {
  const auto run = [](std::int64_t m, std::int64_t k, std::int64_t n) {
    const TopologyPtr topology = random_topology(m, k, 1.0, 1);  // no entries
    for (const Device device : devices()) {
      const Tensor bias = Tensor::full({m}, 0.5, DType::f32, device);
      const SparseTensor a{Tensor::empty({0}, DType::f32, device), topology->to(device)};
      const Tensor c =
          spmm(a, Tensor::full({k, n}, std::numeric_limits<double>::quiet_NaN(), DType::f32, device), bias);
      EXPECT_EQ(c.shape(), (Shape{m, n}));
      for (const float x : c.to_vector<float>()) EXPECT_EQ(x, 0.5f);  // absent entries never touch B
    }
  };
  run(0, 5, 3);
  run(5, 0, 3);
  run(5, 3, 0);
  run(4, 6, 9);
}

TEST(Spmm, LetsNanThroughWhereItIsUsedAndOnlyThere) {
  const double nan = std::numeric_limits<double>::quiet_NaN();
  for (const Device device : devices()) {
    const TopologyPtr topology = Topology::from_csr(2, 3, Tensor::from(std::vector<std::int32_t>{0, 1, 2}, {3}),
                                                    Tensor::from(std::vector<std::int32_t>{0, 2}, {2}))
                                     ->to(device);
    Tensor b = Tensor::from(
        std::vector<float>{1, 2, static_cast<float>(nan), static_cast<float>(nan), static_cast<float>(nan), 3}, {3, 2},
        device);
    const Tensor a = Tensor::from(std::vector<float>{2, 4}, {2}, device);
    const Tensor out = Tensor::empty({2, 2}, DType::f32, device);
    spmm_into(out, SparseTensor{a, topology}, b, Route::sparse, {}, Activation::relu);
    const std::vector<float> c = out.to_vector<float>();
    EXPECT_EQ(c[0], 2);
    EXPECT_EQ(c[1], 4);
    EXPECT_TRUE(std::isnan(c[2]));
    EXPECT_EQ(c[3], 12);
  }
}

TEST(Spmm, BothRoutesAgree) {
  for (const Device device : devices()) {
    const TopologyPtr topology = awkward_topology(45, 67, 2)->to(device);
    for (const bool batched : {false, true}) {
      const Tensor values =
          random_input(batched ? Shape{3, topology->nnz()} : Shape{topology->nnz()}, 1).to(DType::f32).to(device);
      const Tensor b = random_input(batched ? Shape{3, 67, 29} : Shape{67, 29}, 2).to(DType::f32).to(device);
      const Tensor bias = batched ? Tensor{} : random_input({45}, 3).to(DType::f32).to(device);
      const Activation kind = batched ? Activation::none : Activation::gelu;
      const SparseTensor a{values, topology};
      Tensor sparse = Tensor::empty(batched ? Shape{3, 45, 29} : Shape{45, 29}, DType::f32, device);
      Tensor dense = Tensor::empty_like(sparse);
      spmm_into(sparse, a, b, Route::sparse, bias, kind);
      spmm_into(dense, a, b, Route::dense, bias, kind);
      EXPECT_LT(relative_error(dense, sparse), 1e-6);
      Tensor tensor = Tensor::empty_like(sparse);  // the sparse kernel where there are no tensor cores
      spmm_into(tensor, a, b, Route::tensor, bias, kind);
      EXPECT_LT(relative_error(tensor, sparse), 1e-6);
      EXPECT_GT(nonzero_fraction(sparse), 0.5);
    }
  }
}

TEST(Spmm, LargerProblemsAgreeBetweenRoutes) {
  for (const Device device : devices()) {
    for (const double sparsity : {0.5, 0.9, 0.98}) {
      const TopologyPtr topology = random_topology(300, 513, sparsity, 7)->to(device);
      const SparseTensor a{random_input({topology->nnz()}, 1).to(DType::f32).to(device), topology};
      const Tensor b = random_input({513, 260}, 2).to(DType::f32).to(device);
      Tensor sparse = Tensor::empty({300, 260}, DType::f32, device);
      Tensor dense = Tensor::empty_like(sparse);
      spmm_into(sparse, a, b, Route::sparse);
      spmm_into(dense, a, b, Route::dense);
      EXPECT_LT(relative_error(sparse, dense), 1e-6);
      Tensor tensor = Tensor::empty_like(sparse);
      spmm_into(tensor, a, b, Route::tensor);
      EXPECT_LT(relative_error(tensor, sparse), 1e-6);
    }
  }
}

TEST(Spmm, RefusesWhatDoesNotFit) {
  const TopologyPtr topology = random_topology(4, 6, 0.5, 1);
  const SparseTensor a{Tensor::zeros({topology->nnz()}, DType::f32), topology};
  EXPECT_THROW(spmm(a, Tensor::zeros({5, 2}, DType::f32)), ShapeError);
  EXPECT_THROW(spmm(a, Tensor::zeros({6}, DType::f32)), ShapeError);
  EXPECT_THROW(spmm(a, Tensor::zeros({6, 2}, DType::f64)), DtypeError);
  EXPECT_THROW(spmm(a, Tensor::zeros({6, 2}, DType::f32), Tensor::zeros({3}, DType::f32)), ShapeError);
  EXPECT_THROW(
      spmm(SparseTensor{Tensor::zeros({topology->nnz() + 1}, DType::f32), topology}, Tensor::zeros({6, 2}, DType::f32)),
      ShapeError);
  EXPECT_THROW(
      spmm(SparseTensor{Tensor::zeros({2, topology->nnz()}, DType::f32), topology}, Tensor::zeros({6, 2}, DType::f32)),
      ShapeError);
  EXPECT_THROW(spmm(SparseTensor{Tensor::zeros({2, topology->nnz()}, DType::f32), topology},
                    Tensor::zeros({3, 6, 2}, DType::f32)),
               ShapeError);
  EXPECT_THROW(spmm(SparseTensor{a.values, nullptr}, Tensor::zeros({6, 2}, DType::f32)), ValueError);
  const SparseTensor integers{Tensor::zeros({topology->nnz()}, DType::i32), topology};
  EXPECT_THROW(spmm(integers, Tensor::zeros({6, 2}, DType::i32)), DtypeError);
}

TEST(Spmm, TheGradientOfBIsTheTransposedProductOnEveryRoute) {
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const double sparsity : {0.1, 0.9}) {  // the dense route takes the first, everywhere
        const TopologyPtr topology = random_topology(200, 304, sparsity, 1)->to(device);
        const Tensor values = random_input({topology->nnz()}, 1).to(dtype).to(device);
        const Tensor dc = random_input({200, 160}, 2).to(dtype).to(device);
        const Var b(random_input({304, 160}, 3).to(dtype).to(device), true);
        backward(spmm(SparseVar{Var(values, true), topology}, b), dc);
        const Tensor expected = Tensor::empty({304, 160}, dtype, device);
        spmm_into(expected, transpose(SparseTensor{values, topology}), dc, Route::sparse);
        EXPECT_LT(relative_error(b.grad(), expected), dtype == DType::bf16 ? 4e-3 : 1e-6);
        EXPECT_GT(nonzero_fraction(expected), 0.5);
      }
    }
  }
}

TEST(Spmm, KeepsNoDenseCopyOfTheWeight) {
  const TopologyPtr topology = random_topology(200, 300, 0.1, 1);  // f32 takes the dense route here
  const SparseVar a{Var(random_input({topology->nnz()}, 1).to(DType::f32), true), topology};
  const Var b(random_input({300, 160}, 2).to(DType::f32), true);
  ASSERT_EQ(choose_spmm(spmm_problem(data(a), b.data())).route, Route::dense);
  const Var c = spmm(a, b);
  backward(c, Tensor::full({200, 160}, 1, DType::f32));
  for (const std::size_t bytes : live_blocks(kCpu)) EXPECT_LT(bytes, 200u * 300 * 4);
}

}  // namespace
}  // namespace lacuna
