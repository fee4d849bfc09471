// .smtx patterns written and read again.
#include "data/smtx_text.h"

#include "data/smtx.h"
#include "tests/data/fixtures.h"

namespace lacuna::test {
namespace {

TopologyPtr pattern(std::int64_t rows, std::int64_t cols, std::vector<std::int32_t> offsets,
                    std::vector<std::int32_t> columns) {
  const auto nnz = static_cast<std::int64_t>(columns.size());
  return Topology::from_csr(rows, cols, Tensor::from(offsets, {rows + 1}), Tensor::from(columns, {nnz}));
}

TEST(SmtxText, SpellsAsTheCollectionDoes) {
  EXPECT_EQ(format_smtx(*pattern(3, 4, {0, 2, 2, 5}, {1, 3, 0, 2, 3})), "3, 4, 5\n0 2 2 5\n1 3 0 2 3\n");
}

TEST(SmtxText, WhatIsWrittenReadsAsTheSamePattern) {
  TempDir directory;
  const std::vector<TopologyPtr> patterns{
      pattern(3, 4, {0, 2, 2, 5}, {1, 3, 0, 2, 3}), pattern(3, 4, {0, 0, 0, 0}, {}), pattern(0, 4, {0}, {}),
      pattern(1, 100000, {0, 2}, {0, 99999}),       Topology::full(17, 5),
  };
  for (const TopologyPtr& written : patterns) {
    write_file(directory / "p.smtx", format_smtx(*written));
    const TopologyPtr read = read_smtx(directory / "p.smtx");
    EXPECT_TRUE(read->same_pattern(*written)) << written->rows() << " x " << written->cols();
    EXPECT_EQ(read->cols(), written->cols());
  }
}

}  // namespace
}  // namespace lacuna::test
