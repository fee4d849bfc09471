// Memory is real: what a 95 % sparse layer under Adam holds, byte for byte, counted in the allocator's live blocks.
#include <gtest/gtest.h>

#include <algorithm>

#include "core/errors.h"
#include "core/ops/pointwise.h"
#include "core/ops/reduce.h"
#include "core/ops/spmm.h"
#include "core/ops/update.h"
#include "core/parameter.h"
#include "core/random.h"
#include "core/topology.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

constexpr std::int64_t kRows = 512, kCols = 768, kColumns = 40;
constexpr std::size_t kDenseBytes = static_cast<std::size_t>(kRows * kCols) * 4;

std::vector<std::size_t> sorted(std::vector<std::size_t> sizes) {
  std::sort(sizes.begin(), sizes.end());
  return sizes;
}

/// The blocks that are live now and were not in `before`, by size.
std::vector<std::size_t> new_blocks(Device device, const std::vector<std::size_t>& before) {
  const std::vector<std::size_t> now = sorted(live_blocks(device)), then = sorted(before);
  std::vector<std::size_t> added;
  std::set_difference(now.begin(), now.end(), then.begin(), then.end(), std::back_inserter(added));
  return added;
}

std::size_t total(const std::vector<std::size_t>& sizes) {
  std::size_t sum = 0;
  for (const std::size_t size : sizes) sum += size;
  return sum;
}

/// One step of Adam on mean((W x + b)^2); leaves the gradient in the parameter.
void step(Parameter& weight, const Tensor& x, std::int64_t number) {
  weight.var().clear_grad();
  const Var y = spmm(weight.sparse(), Var(x, true), Var());
  backward(mean(mul(y, y)));
  for (const char* slot : {"adam_m", "adam_v"})
    if (!weight.slots()[slot].defined()) weight.slots()[slot] = Tensor::zeros_like(weight.value());
  adam_update(weight.value(), weight.grad(), weight.slots()["adam_m"], weight.slots()["adam_v"], {.lr = 1e-3, .step = number}, {});
}

void expect_sparse_memory(Device device) {
  const Tensor x = random_normal({kCols, kColumns}, 0, 1, {1, 0}, DType::f32, device);
  const auto initial = [&] { return random_normal({kRows, kCols}, 0, 0.05, {2, 0}, DType::f32, device); };
  const TopologyPtr pattern_on_cpu = random_topology(kRows, kCols, 0.95, 5);
  const std::size_t nnz = static_cast<std::size_t>(pattern_on_cpu->nnz());
  EXPECT_NEAR(pattern_on_cpu->sparsity(), 0.95, 0.002);
  {  // what a process allocates once (library workspaces) is not the layer's
    Parameter other("other", initial());
    other.retopologize(Topology::from_csr(kRows, kCols, pattern_on_cpu->row_offsets().clone().to(device), pattern_on_cpu->col_indices().clone().to(device)));
    step(other, x, 1);
    synchronize(device);
  }
  const std::vector<std::size_t> before = live_blocks(device);
  Parameter weight("weight", initial());
  EXPECT_EQ(new_blocks(device, before), std::vector<std::size_t>{kDenseBytes}) << "the test sees dense blocks where there are some";
  weight.retopologize(Topology::from_csr(kRows, kCols, pattern_on_cpu->row_offsets().clone().to(device), pattern_on_cpu->col_indices().clone().to(device)));

  std::vector<std::size_t> after_one;
  for (std::int64_t number = 1; number <= 6; ++number) {
    step(weight, x, number);
    const std::vector<std::size_t> held = new_blocks(device, before);
    for (const std::size_t bytes : live_blocks(device)) EXPECT_LT(bytes, kDenseBytes) << "a dense buffer is alive after step " << number;
    if (number == 1) after_one = held;
    EXPECT_EQ(held, after_one) << "memory must not grow, step " << number;
  }

  // 4 bytes per entry each: value, gradient, two moments; column index; the transpose's row index and source. Then the offsets.
  std::vector<std::size_t> expected(4, nnz * 4);
  expected.insert(expected.end(), {nnz * 4, (kRows + 1) * 4});             // indices
  expected.insert(expected.end(), {nnz * 4, nnz * 4, (kCols + 1) * 4});    // the transpose's pattern and permutation
  std::vector<std::size_t> held = after_one, order;
  std::vector<std::size_t> needed = sorted(expected);
  ASSERT_TRUE(std::includes(held.begin(), held.end(), needed.begin(), needed.end())) << total(held) << " bytes are held";
  std::set_difference(held.begin(), held.end(), needed.begin(), needed.end(), std::back_inserter(order));
  // What may stand beside them: row orders (one number a row) and the row of each entry, each at most once.
  std::vector<std::size_t> allowed = sorted({kRows * 4, kCols * 4, nnz * 4});
  EXPECT_TRUE(std::includes(allowed.begin(), allowed.end(), order.begin(), order.end())) << total(order) << " bytes nobody accounts for";
  EXPECT_EQ(weight.state_bytes(), 4 * nnz * 4);
  EXPECT_EQ(total(held), weight.state_bytes() + weight.topology_bytes()) << "the parameter's own account";
  EXPECT_LT(static_cast<double>(total(held)), 0.11 * 4 * kDenseBytes) << "value, gradient and moments dense";
  ::testing::Test::RecordProperty("bytes", static_cast<int>(total(held)));
  ::testing::Test::RecordProperty("bytes_dense", static_cast<int>(4 * kDenseBytes));
}

TEST(Memory, SparseLayerUnderAdam) { expect_sparse_memory(kCpu); }

TEST(Memory, SparseLayerUnderAdamOnCuda) {
  if (devices().size() < 2) GTEST_SKIP() << cuda_unavailable_reason();
  expect_sparse_memory(devices()[1]);
}

TEST(Memory, LimitNamesOpRequestAndFreeBytes) {
  for (const Device device : devices()) {
    const std::size_t in_use = memory_stats(device).live_bytes;
    set_memory_limit(device, in_use + 4096);
    try {
      const OpScope scope("matmul");
      Tensor::empty({1 << 20}, DType::f32, device);
      ADD_FAILURE() << "allocated past the limit";
    } catch (const OutOfMemoryError& error) {
      const std::string message = error.what();
      for (const char* part : {"[matmul]", "4194304 bytes", "4096 free"}) EXPECT_NE(message.find(part), std::string::npos) << message;
    }
    EXPECT_EQ(memory_stats(device).live_bytes, in_use);
    EXPECT_NO_THROW(Tensor::empty({256}, DType::f32, device));
    set_memory_limit(device, 0);
  }
}

}  // namespace
}  // namespace lacuna
