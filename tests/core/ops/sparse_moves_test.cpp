// Ops that move values between patterns and storages: densify, sample, transpose, remap, gather_or_zero.
#include <gtest/gtest.h>

#include <limits>

#include "core/errors.h"
#include "core/ops/densify.h"
#include "core/ops/sparse_transpose.h"
#include "core/ops/topology_ops.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

Shape values_shape(const TopologyPtr& t, std::int64_t batch) {
  return batch > 0 ? Shape{batch, t->nnz()} : Shape{t->nnz()};
}

TEST(Densify, AgreesWithItsDefinition) {
  for (const std::int64_t batch : {0, 3}) {
    for (const TopologyPtr& topology :
         {random_topology(1, 1, 0, 1), awkward_topology(9, 14, 2), random_topology(31, 65, 0.4, 3)}) {
      OpCase c;
      c.name = "densify nnz " + std::to_string(topology->nnz());
      c.inputs = {random_input(values_shape(topology, batch), 1)};
      c.run = [=](const std::vector<Var>& v) { return densify(SparseVar{v[0], beside(topology, v[0])}); };
      c.reference = [=](const std::vector<Tensor>& t) { return naive_dense(t[0], *topology); };
      c.f32_tolerance = 1e-12;  // a copy
      c.bf16_roundings = 1;
      check(c);
    }
  }
}

/// Rows in segments, rows together, rows longer than what a block reads ahead; batches whose values lie anywhere.
TEST(Densify, TakesLongAndManyRows) {
  for (const std::int64_t batch : {0, 2}) {
    for (const TopologyPtr& topology :
         {random_topology(3, 9000, 0.3, 1), random_topology(2, 4096, 0.05, 2), random_topology(133, 97, 0.5, 3),
          random_topology(70, 1, 0.5, 4), random_topology(5, 2504, 0.9, 5), awkward_topology(40, 4100, 6),
          awkward_topology(30, 1024, 7), random_topology(4, 512, 0.5, 8)}) {
      OpCase c;
      c.name = "densify [" + std::to_string(topology->rows()) + ", " + std::to_string(topology->cols()) + "]";
      c.inputs = {random_input(values_shape(topology, batch), 1)};
      c.run = [=](const std::vector<Var>& v) { return densify(SparseVar{v[0], beside(topology, v[0])}); };
      c.reference = [=](const std::vector<Tensor>& t) { return naive_dense(t[0], *topology); };
      c.f32_tolerance = 1e-12;  // a copy
      c.check_gradient = false;
      c.bf16_roundings = 1;
      check(c);
    }
  }
}

TEST(Sample, IsTheInverseOfDensify) {
  for (const std::int64_t batch : {0, 3}) {
    const TopologyPtr topology = awkward_topology(9, 14, 2);
    OpCase c;
    c.name = "sample";
    c.inputs = {random_input(batch > 0 ? Shape{batch, 9, 14} : Shape{9, 14}, 1)};
    c.run = [=](const std::vector<Var>& v) { return sample(v[0], beside(topology, v[0])).values; };
    c.reference = [=](const std::vector<Tensor>& t) {
      const std::vector<std::int32_t> rows = topology->row_indices().to_vector<std::int32_t>();
      const std::vector<std::int32_t> columns = topology->col_indices().to_vector<std::int32_t>();
      Tensor out = Tensor::empty(values_shape(topology, batch), DType::f64);
      for (std::int64_t b = 0; b < std::max<std::int64_t>(batch, 1); ++b) {
        for (std::size_t i = 0; i < rows.size(); ++i) {
          out.data<double>()[b * topology->nnz() + static_cast<std::int64_t>(i)] =
              t[0].data<double>()[(b * 9 + rows[i]) * 14 + columns[i]];
        }
      }
      return out;
    };
    c.f32_tolerance = 1e-12;
    c.bf16_roundings = 1;
    check(c);
  }
  EXPECT_THROW(sample(Tensor::zeros({3, 4}, DType::f32), random_topology(4, 3, 0.5, 1)), ShapeError);
}

TEST(SparseTranspose, AgreesWithTheDenseTranspose) {
  for (const std::int64_t batch : {0, 2}) {
    const TopologyPtr topology = awkward_topology(9, 14, 2);
    OpCase c;
    c.name = "sparse transpose";
    c.inputs = {random_input(values_shape(topology, batch), 1)};
    c.run = [=](const std::vector<Var>& v) { return densify(transpose(SparseVar{v[0], beside(topology, v[0])})); };
    c.reference = [=](const std::vector<Tensor>& t) {
      const Tensor dense = naive_dense(t[0], *topology);
      Tensor out = Tensor::empty(batch > 0 ? Shape{batch, 14, 9} : Shape{14, 9}, DType::f64);
      for (std::int64_t b = 0; b < std::max<std::int64_t>(batch, 1); ++b) {
        for (std::int64_t i = 0; i < 9; ++i) {
          for (std::int64_t j = 0; j < 14; ++j)
            out.data<double>()[(b * 14 + j) * 9 + i] = dense.data<double>()[(b * 9 + i) * 14 + j];
        }
      }
      return out;
    };
    c.f32_tolerance = 1e-12;
    c.bf16_roundings = 1;
    check(c);
  }
}

TEST(Remap, FindsEntriesOfOnePatternInAnother) {
  const TopologyPtr from = awkward_topology(30, 40, 1), to = random_topology(30, 40, 0.5, 9);
  const std::vector<std::int32_t> expected = [&] {
    std::vector<std::int32_t> positions(30 * 40, -1), map;
    const auto rows = from->row_indices().to_vector<std::int32_t>(),
               columns = from->col_indices().to_vector<std::int32_t>();
    for (std::size_t i = 0; i < rows.size(); ++i)
      positions[static_cast<std::size_t>(rows[i] * 40 + columns[i])] = static_cast<std::int32_t>(i);
    const auto to_rows = to->row_indices().to_vector<std::int32_t>(),
               to_columns = to->col_indices().to_vector<std::int32_t>();
    for (std::size_t i = 0; i < to_rows.size(); ++i)
      map.push_back(positions[static_cast<std::size_t>(to_rows[i] * 40 + to_columns[i])]);
    return map;
  }();
  for (const Device device : devices()) {
    EXPECT_EQ(remap(from->to(device), to->to(device)).to_vector<std::int32_t>(), expected);
    // A null source is the full matrix.
    const Tensor dense = random_input({30, 40}, 3).to(DType::f32).to(device);
    const Tensor moved = gather_or_zero(dense.reshape({1200}), remap(nullptr, to->to(device)));
    EXPECT_TRUE(equal_bits(moved, sample(dense, to->to(device)).values));
    // There and back loses exactly the entries that `to` lacks.
    const Tensor values = random_input({from->nnz()}, 4).to(DType::f32).to(device);
    const Tensor there = gather_or_zero(values, remap(from->to(device), to->to(device)));
    const Tensor back = gather_or_zero(there, remap(to->to(device), from->to(device)));
    const std::vector<float> before = values.to_vector<float>(), after = back.to_vector<float>();
    const std::vector<std::int32_t> inside = remap(to, from).to_vector<std::int32_t>();
    for (std::size_t i = 0; i < before.size(); ++i) EXPECT_EQ(after[i], inside[i] < 0 ? 0.0f : before[i]);
  }
  EXPECT_THROW(remap(random_topology(3, 4, 0.5, 1), random_topology(4, 3, 0.5, 1)), ShapeError);
  EXPECT_THROW(remap(nullptr, nullptr), ValueError);
}

TEST(Remap, RefusesPositionsPast32Bits) {
  const TopologyPtr wide =
      Topology::from_csr(2, 2000000000, Tensor::zeros({3}, DType::i32), Tensor::zeros({0}, DType::i32));
  EXPECT_THROW(remap(nullptr, wide), IndexError);
}

TEST(GatherOrZero, TakesABatchAndChecksItsMap) {
  for (const Device device : devices()) {
    const Tensor values = Tensor::from(std::vector<float>{1, 2, 3, 4, 5, 6}, {2, 3}, device);
    const Tensor map = Tensor::from(std::vector<std::int32_t>{2, -1, 0, 0}, {4}, device);
    const Tensor out = gather_or_zero(values, map);
    EXPECT_EQ(out.shape(), (Shape{2, 4}));
    EXPECT_EQ(out.to_vector<float>(), (std::vector<float>{3, 0, 1, 1, 6, 0, 4, 4}));
    EXPECT_EQ(gather_or_zero(Tensor::zeros({0}, DType::f32, device),
                             Tensor::from(std::vector<std::int32_t>{-1, -1}, {2}, device))
                  .to_vector<float>(),
              (std::vector<float>{0, 0}));
    EXPECT_THROW(gather_or_zero(values, Tensor::zeros({4}, DType::f32, device)), DtypeError);
  }
}

}  // namespace
}  // namespace lacuna
