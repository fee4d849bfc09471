#include "core/topology.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

using Ints = std::vector<std::int32_t>;

Tensor ints(const Ints& values) { return Tensor::from(values, {static_cast<std::int64_t>(values.size())}); }
TopologyPtr csr(std::int64_t rows, std::int64_t cols, const Ints& offsets, const Ints& columns) {
  return Topology::from_csr(rows, cols, ints(offsets), ints(columns));
}
Ints offsets_of(const Topology& t) { return t.row_offsets().to_vector<std::int32_t>(); }
Ints columns_of(const Topology& t) { return t.col_indices().to_vector<std::int32_t>(); }

std::vector<Device> all_devices() { return devices(); }

TEST(Topology, KeepsWhatItIsGiven) {
  const TopologyPtr t = csr(3, 4, {0, 2, 2, 5}, {0, 3, 1, 2, 3});
  EXPECT_EQ(t->rows(), 3);
  EXPECT_EQ(t->cols(), 4);
  EXPECT_EQ(t->nnz(), 5);
  EXPECT_DOUBLE_EQ(t->sparsity(), 1 - 5.0 / 12);
  EXPECT_EQ(t->max_row_length(), 3);
  EXPECT_EQ(t->row_indices().to_vector<std::int32_t>(), (Ints{0, 0, 2, 2, 2}));
  EXPECT_EQ(t->row_order().to_vector<std::int32_t>(), (Ints{2, 0, 1}));
}

TEST(Topology, RefusesWhatIsNotCsr) {
  EXPECT_THROW(csr(2, 3, {0, 1}, {0}), ShapeError);         // an offset short
  EXPECT_THROW(csr(2, 3, {1, 1, 1}, {0}), IndexError);      // does not start at 0
  EXPECT_THROW(csr(2, 3, {0, 2, 1}, {0, 1}), IndexError);   // falls
  EXPECT_THROW(csr(2, 3, {0, 1, 1}, {0, 1}), IndexError);   // does not end at nnz
  EXPECT_THROW(csr(2, 3, {0, 5, 2}, {0, 1}), IndexError);   // past nnz on the way
  EXPECT_THROW(csr(2, 3, {0, 1, 2}, {0, 3}), IndexError);   // column out of range
  EXPECT_THROW(csr(2, 3, {0, 1, 2}, {0, -1}), IndexError);  // negative
  EXPECT_THROW(csr(2, 3, {0, 2, 2}, {1, 0}), IndexError);   // unsorted
  EXPECT_THROW(csr(2, 3, {0, 2, 2}, {1, 1}), IndexError);   // twice
  EXPECT_THROW(csr(-1, 3, {0}, {}), ShapeError);
  EXPECT_NO_THROW(csr(2, 3, {0, 1, 2}, {2, 0}));  // columns may fall from row to row
  EXPECT_THROW(Topology::from_csr(1, 1, Tensor::zeros({2}, DType::i64), ints({})), DtypeError);
  EXPECT_THROW(Topology::from_csr(1, 1, ints({0, 0}), Tensor::zeros({0}, DType::f32)), DtypeError);
}

TEST(Topology, NamesRowAndEntryOfTheFirstFault) {
  try {
    csr(2, 3, {0, 1, 3}, {0, 2, 7});
    FAIL() << "column 7 of 3 was taken";
  } catch (const IndexError& error) {
    EXPECT_NE(std::string(error.what()).find("column 7 in row 1 (entry 2)"), std::string::npos) << error.what();
  }
}

TEST(Topology, RefusesCountsPast32Bits) {
  EXPECT_THROW(Topology::full(65536, 32768), IndexError);  // 2^31 entries
  EXPECT_THROW(csr(0, std::int64_t{1} << 31, {0}, {}), IndexError);
  EXPECT_THROW(Topology::full(std::int64_t{1} << 31, 0), IndexError);
}

TEST(Topology, TakesEmptyMatrices) {
  for (const auto& [rows, cols] : {std::pair{0, 0}, {0, 5}, {5, 0}}) {
    const TopologyPtr t = Topology::full(rows, cols);
    EXPECT_EQ(t->nnz(), 0);
    EXPECT_EQ(t->sparsity(), 0);
    EXPECT_EQ(t->transposed().topology->rows(), cols);
    EXPECT_EQ(t->row_order().numel(), rows);
    EXPECT_EQ(t->row_indices().numel(), 0);
    EXPECT_EQ(t->max_row_length(), 0);
    EXPECT_EQ(Topology::from_mask(Tensor::zeros({rows, cols}, DType::u8))->nnz(), 0);
  }
  const TopologyPtr none = csr(3, 4, {0, 0, 0, 0}, {});
  EXPECT_DOUBLE_EQ(none->sparsity(), 1);
  EXPECT_EQ(offsets_of(*none->transposed().topology), (Ints{0, 0, 0, 0, 0}));
}

TEST(Topology, BuildsFromAMaskAndASubset) {
  const std::vector<std::uint8_t> bytes{0, 7, 0, 0, 0, 0, 1, 1, 255};
  for (const Device device : all_devices()) {
    const TopologyPtr t = Topology::from_mask(Tensor::from(bytes, {3, 3}, device));
    EXPECT_EQ(t->device(), device);
    EXPECT_EQ(offsets_of(*t), (Ints{0, 1, 1, 4}));
    EXPECT_EQ(columns_of(*t), (Ints{1, 0, 1, 2}));
    const TopologyPtr s = t->subset(Tensor::from(std::vector<std::uint8_t>{0, 1, 0, 3}, {4}, device));
    EXPECT_EQ(offsets_of(*s), (Ints{0, 0, 0, 2}));
    EXPECT_EQ(columns_of(*s), (Ints{0, 2}));
    EXPECT_THROW(t->subset(Tensor::zeros({3}, DType::u8, device)), ShapeError);
    EXPECT_THROW(t->subset(Tensor::zeros({4}, DType::i32, device)), DtypeError);
  }
  EXPECT_THROW(Topology::from_mask(Tensor::zeros({3}, DType::u8)), ShapeError);
  EXPECT_THROW(Topology::from_mask(Tensor::zeros({3, 3}, DType::f32)), DtypeError);
}

TEST(Topology, EveryDeviceBuildsWhatTheCpuBuilds) {
  for (const auto& [rows, cols] : {std::pair{1, 1}, {37, 53}, {3, 1000}, {700, 5}, {513, 257}}) {
    std::vector<std::uint8_t> mask(static_cast<std::size_t>(rows * cols));
    std::mt19937 generator(3);
    for (auto& byte : mask) byte = generator() % 4 == 0;
    const TopologyPtr cpu = Topology::from_mask(Tensor::from(mask, {rows, cols}));
    std::vector<std::uint8_t> keep(static_cast<std::size_t>(cpu->nnz()));
    for (auto& byte : keep) byte = generator() % 2;
    for (const Device device : all_devices()) {
      const TopologyPtr t = Topology::from_mask(Tensor::from(mask, {rows, cols}, device));
      EXPECT_TRUE(t->same_pattern(*cpu));
      EXPECT_TRUE(t->transposed().topology->same_pattern(*cpu->transposed().topology));
      EXPECT_EQ(t->transposed().permutation.to_vector<std::int32_t>(),
                cpu->transposed().permutation.to_vector<std::int32_t>());
      EXPECT_EQ(t->row_order().to_vector<std::int32_t>(), cpu->row_order().to_vector<std::int32_t>());
      EXPECT_EQ(t->row_shares().to_vector<std::int32_t>(), cpu->row_shares().to_vector<std::int32_t>());
      EXPECT_TRUE(t->settled());  // from the order on
      EXPECT_EQ(t->row_indices().to_vector<std::int32_t>(), cpu->row_indices().to_vector<std::int32_t>());
      EXPECT_TRUE(t->subset(Tensor::from(keep, {cpu->nnz()}, device))
                      ->same_pattern(*cpu->subset(Tensor::from(keep, {cpu->nnz()}))));
      EXPECT_TRUE(cpu->to(device)->same_pattern(*cpu));
    }
  }
}

TEST(Topology, RowSharesBoundEighthsOfTheColumns) {
  const TopologyPtr t = awkward_topology(13, 21, 5);
  const Ints bounds = t->row_shares().to_vector<std::int32_t>(), columns = columns_of(*t);
  const Ints offsets = t->row_offsets().to_vector<std::int32_t>();
  ASSERT_EQ(bounds.size(), std::size_t{13 * 9});
  for (std::size_t r = 0; r < 13; ++r) {
    EXPECT_EQ(bounds[r * 9], offsets[r]);
    EXPECT_EQ(bounds[r * 9 + 8], offsets[r + 1]);
    for (std::size_t s = 0; s < 8; ++s) {
      for (auto i = bounds[r * 9 + s]; i < bounds[r * 9 + s + 1]; ++i)
        EXPECT_EQ(columns[static_cast<std::size_t>(i)] / 3, static_cast<std::int32_t>(s));  // ceil(21 / 8) = 3
    }
  }
}

TEST(Topology, TransposeTwiceIsTheSamePattern) {
  const TopologyPtr t = awkward_topology(19, 31, 5);
  const TransposedTopology& turned = t->transposed();
  EXPECT_EQ(turned.topology->rows(), 31);
  EXPECT_TRUE(turned.topology->transposed().topology->same_pattern(*t));
  EXPECT_FALSE(turned.topology->same_pattern(*t));
  const Ints rows = t->row_indices().to_vector<std::int32_t>(), columns = columns_of(*t);
  const Ints turned_rows = turned.topology->row_indices().to_vector<std::int32_t>(),
             turned_columns = columns_of(*turned.topology);
  const Ints permutation = turned.permutation.to_vector<std::int32_t>();
  for (std::size_t i = 0; i < permutation.size(); ++i) {
    EXPECT_EQ(turned_rows[i], columns[static_cast<std::size_t>(permutation[i])]);
    EXPECT_EQ(turned_columns[i], rows[static_cast<std::size_t>(permutation[i])]);
  }
}

TEST(Topology, CachesDerivedDataAndCountsItsBytes) {
  const TopologyPtr t = random_topology(20, 30, 0.5, 1);
  const std::size_t bare = t->bytes();
  EXPECT_EQ(bare, 4 * (21 + static_cast<std::size_t>(t->nnz())));
  const TransposedTopology* first = &t->transposed();
  EXPECT_EQ(first, &t->transposed());
  EXPECT_EQ(t->bytes(), bare + 4 * (31 + 2 * static_cast<std::size_t>(t->nnz())));
  EXPECT_EQ(t->row_order().raw(), t->row_order().raw());
  EXPECT_EQ(t->to(kCpu), t);
}

}  // namespace
}  // namespace lacuna
