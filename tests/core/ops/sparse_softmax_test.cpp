#include "core/ops/sparse_softmax.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/errors.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

OpCase softmax_case(const TopologyPtr& topology, double scale, std::int64_t batch = 0, double range = 2) {
  OpCase c;
  c.name = "sparse_softmax nnz " + std::to_string(topology->nnz()) + " scale " + std::to_string(scale);
  c.inputs = {random_input(batch > 0 ? Shape{batch, topology->nnz()} : Shape{topology->nnz()}, 1, -range, range)};
  c.run = [=](const std::vector<Var>& v) {
    return sparse_softmax(SparseVar{v[0], beside(topology, v[0])}, scale).values;
  };
  c.reference = [=](const std::vector<Tensor>& t) {
    const std::vector<std::int32_t> offsets = topology->row_offsets().to_vector<std::int32_t>();
    Tensor out = Tensor::empty_like(t[0]);
    for (std::int64_t b = 0; b < std::max<std::int64_t>(batch, 1); ++b) {
      const double* in = t[0].data<double>() + b * topology->nnz();
      double* p = out.data<double>() + b * topology->nnz();
      for (std::size_t r = 0; r + 1 < offsets.size(); ++r) {
        double largest = -1e300, sum = 0;
        for (std::int32_t i = offsets[r]; i < offsets[r + 1]; ++i) largest = std::max(largest, scale * in[i]);
        for (std::int32_t i = offsets[r]; i < offsets[r + 1]; ++i) sum += std::exp(scale * in[i] - largest);
        for (std::int32_t i = offsets[r]; i < offsets[r + 1]; ++i) p[i] = std::exp(scale * in[i] - largest) / sum;
      }
    }
    return out;
  };
  c.bf16_roundings = 1;
  c.bf16_gradient_roundings = 4;  // runs on the rounded result, and its two terms cancel
  return c;
}

TEST(SparseSoftmax, AgreesWithItsDefinition) {
  check(softmax_case(random_topology(4, 7, 0.2, 1), 1));
  check(softmax_case(awkward_topology(13, 37, 2), 0.3));
  check(softmax_case(awkward_topology(9, 20, 3), 2, 3));
  OpCase wide = softmax_case(awkward_topology(5, 1500, 4), 1);
  wide.check_gradient = false;
  check(wide);
}

TEST(SparseSoftmax, StaysFiniteForLargeScores) {
  OpCase c = softmax_case(random_topology(6, 9, 0.3, 1), 1, 0, 200);
  c.check_gradient = false;
  c.f32_tolerance = 1e-4;  // exp magnifies the rounding of scores near 200
  check(c);
}

TEST(SparseSoftmax, AloneInItsRowIsOne) {
  for (const Device device : devices()) {
    const TopologyPtr topology = Topology::from_csr(3, 3, Tensor::from(std::vector<std::int32_t>{0, 1, 1, 2}, {4}),
                                                    Tensor::from(std::vector<std::int32_t>{0, 2}, {2}))
                                     ->to(device);
    const Tensor s = Tensor::from(std::vector<float>{-1e30f, 3e38f}, {2}, device);
    EXPECT_EQ(sparse_softmax(SparseTensor{s, topology}).values.to_vector<float>(), (std::vector<float>{1, 1}));
  }
}

TEST(SparseSoftmax, NanReachesItsRowAlone) {
  const float nan = std::numeric_limits<float>::quiet_NaN();
  for (const Device device : devices()) {
    const TopologyPtr topology = Topology::full(2, 2, device);
    const std::vector<float> p =
        sparse_softmax(SparseTensor{Tensor::from(std::vector<float>{nan, 1, 1, 1}, {4}, device), topology})
            .values.to_vector<float>();
    EXPECT_TRUE(std::isnan(p[0]) && std::isnan(p[1]));
    EXPECT_EQ(p[2], 0.5f);
  }
}

TEST(SparseSoftmax, TakesNoEntriesAndRefusesWrongCounts) {
  for (const Device device : devices()) {
    EXPECT_EQ(
        sparse_softmax(SparseTensor{Tensor::zeros({0}, DType::f32, device), random_topology(3, 4, 1, 1)->to(device)})
            .values.numel(),
        0);
  }
  const TopologyPtr topology = Topology::full(2, 2);
  EXPECT_THROW(sparse_softmax(SparseTensor{Tensor::zeros({3}, DType::f32), topology}), ShapeError);
  EXPECT_THROW(sparse_softmax(SparseTensor{Tensor::zeros({4}, DType::i32), topology}), DtypeError);
  EXPECT_THROW(
      sparse_softmax_backward(SparseTensor{Tensor::zeros({4}, DType::f32), topology}, Tensor::zeros({3}, DType::f32)),
      ShapeError);
}

}  // namespace
}  // namespace lacuna
