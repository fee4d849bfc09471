#include "data/batch_loader.h"

#include <algorithm>
#include <atomic>
#include <chrono>
#include <set>

#include "data/byte_text.h"
#include "data/synthetic.h"
#include "tests/data/fixtures.h"

namespace lacuna::test {
namespace {

/// Example i is the number i; can be slow, and can break.
class Numbers final : public Dataset {
 public:
  explicit Numbers(std::int64_t count, std::int64_t broken = -1) : count_(count), broken_(broken) {}
  DatasetKind kind() const override { return DatasetKind::tokens; }
  std::int64_t num_examples() const override { return count_; }
  std::int64_t num_classes() const override { return 256; }
  std::string description() const override { return "numbers"; }
  Batch batch(std::span<const std::int64_t> indices, const AugmentKey&) const override {
    ++num_built;
    if (slow) std::this_thread::sleep_for(std::chrono::milliseconds(indices[0] % 3));
    if (std::find(indices.begin(), indices.end(), broken_) != indices.end())
      throw DataError("numbers", "broken example");
    std::vector<std::int32_t> values(indices.begin(), indices.end());
    const auto size = static_cast<std::int64_t>(values.size());
    const Tensor tensor = Tensor::from(values, {size});
    return {tensor, tensor, size};
  }
  mutable std::atomic<int> num_built{0};
  bool slow = false;

 private:
  std::int64_t count_;
  std::int64_t broken_;
};

std::vector<std::int32_t> next_values(BatchLoader& loader) { return loader.next().inputs.to_vector<std::int32_t>(); }

TEST(BatchLoader, EachEpochIsItsOwnPermutation) {
  BatchLoader loader(std::make_shared<Numbers>(23), {.batch_size = 4, .seed = 5, .shuffle = true});
  ASSERT_EQ(loader.batches_per_epoch(), 6);
  std::set<std::vector<std::int32_t>> orders;
  for (int epoch = 0; epoch < 5; ++epoch) {
    std::vector<std::int32_t> order;
    for (int i = 0; i < 6; ++i) {
      EXPECT_EQ(loader.epoch(), epoch);
      const auto values = next_values(loader);
      EXPECT_EQ(values.size(), i < 5 ? 4u : 3u);
      order.insert(order.end(), values.begin(), values.end());
    }
    orders.insert(order);
    std::sort(order.begin(), order.end());
    for (std::int32_t i = 0; i < 23; ++i) ASSERT_EQ(order[static_cast<std::size_t>(i)], i);
  }
  EXPECT_EQ(orders.size(), 5u);
}

TEST(BatchLoader, UnshuffledAndDroppingTheLast) {
  BatchLoader loader(std::make_shared<Numbers>(7), {.batch_size = 3, .drop_last = true});
  EXPECT_EQ(loader.batches_per_epoch(), 2);
  EXPECT_EQ(next_values(loader), (std::vector<std::int32_t>{0, 1, 2}));
  EXPECT_EQ(next_values(loader), (std::vector<std::int32_t>{3, 4, 5}));
  EXPECT_EQ(next_values(loader), (std::vector<std::int32_t>{0, 1, 2}));
}

TEST(BatchLoader, WorkersAndQueueDepthChangeNothing) {
  const auto dataset = std::make_shared<Numbers>(50);
  dataset->slow = true;
  std::vector<std::vector<std::int32_t>> expected;
  for (const int workers : {0, 1, 4}) {
    for (const int depth : {1, 3, 16}) {
      BatchLoader loader(dataset,
                         {.batch_size = 7, .seed = 9, .shuffle = true, .num_workers = workers, .queue_depth = depth});
      std::vector<std::vector<std::int32_t>> found;
      for (int step = 0; step < 25; ++step) found.push_back(next_values(loader));
      if (expected.empty()) expected = found;
      EXPECT_EQ(found, expected) << workers << " workers, depth " << depth;
    }
  }
}

TEST(BatchLoader, AugmentedBatchesAreEqualWithOneAndFourWorkersAndAfterResume) {
  TempDir dir;
  const auto text = std::make_shared<ByteText>(Bytes::from(markov_bytes(5000, 32, 1)), 16, Windows::shifted, "markov");
  const LoaderOptions options{.batch_size = 8, .seed = 3, .shuffle = true, .augment = true, .num_workers = 1};
  LoaderOptions many = options;
  many.num_workers = 4;
  BatchLoader one(text, options);
  BatchLoader four(text, many);
  std::vector<Batch> batches;
  const std::int64_t count = 2 * one.batches_per_epoch() + 5;
  for (std::int64_t step = 0; step < count; ++step) {
    batches.push_back(one.next());
    ASSERT_TRUE(equal(batches.back(), four.next())) << step;
  }
  for (const std::int64_t start : {std::int64_t{1}, one.batches_per_epoch(), count - 2}) {
    LoaderOptions resumed = many;
    resumed.start_step = start;
    BatchLoader loader(text, resumed);
    for (std::int64_t step = start; step < count; ++step) {
      EXPECT_EQ(loader.step(), step);
      ASSERT_TRUE(equal(batches[static_cast<std::size_t>(step)], loader.next())) << start << " " << step;
    }
  }
}

TEST(BatchLoader, SeedsDiffer) {
  const auto dataset = std::make_shared<Numbers>(100);
  BatchLoader a(dataset, {.batch_size = 100, .seed = 1, .shuffle = true});
  BatchLoader b(dataset, {.batch_size = 100, .seed = 2, .shuffle = true});
  EXPECT_NE(next_values(a), next_values(b));
}

TEST(BatchLoader, ErrorsArriveInOrderAndStay) {
  for (const int workers : {0, 3}) {
    BatchLoader loader(std::make_shared<Numbers>(40, 9), {.batch_size = 4, .num_workers = workers});
    next_values(loader);
    next_values(loader);
    for (int attempt = 0; attempt < 2; ++attempt) {
      EXPECT_NE(message_of<DataError>([&] { loader.next(); }).find("broken example"), std::string::npos);
    }
    EXPECT_EQ(loader.step(), 2);
  }
}

TEST(BatchLoader, StopsAtItsEnd) {
  const auto dataset = std::make_shared<Numbers>(40);
  BatchLoader loader(dataset, {.batch_size = 4, .start_step = 3, .end_step = 5, .num_workers = 2, .queue_depth = 8});
  next_values(loader);
  next_values(loader);
  EXPECT_THROW(loader.next(), ValueError);
  EXPECT_EQ(dataset->num_built, 2);
}

TEST(BatchLoader, IsDestroyedWhileWorkersAreBusyOrWaiting) {
  for (int round = 0; round < 50; ++round) {
    const auto dataset = std::make_shared<Numbers>(1000);
    dataset->slow = round % 2 == 0;
    BatchLoader loader(dataset, {.batch_size = 2, .shuffle = true, .num_workers = 4, .queue_depth = 3});
    for (int i = 0; i < round % 5; ++i) loader.next();
  }
}

TEST(BatchLoader, BuildsNoMoreThanTheQueueHolds) {
  const auto dataset = std::make_shared<Numbers>(1000);
  BatchLoader loader(dataset, {.batch_size = 2, .num_workers = 4, .queue_depth = 3});
  std::this_thread::sleep_for(std::chrono::milliseconds(50));
  EXPECT_EQ(dataset->num_built, 3);
}

TEST(BatchLoader, MeasuresWaiting) {
  const auto dataset = std::make_shared<Numbers>(1000);
  BatchLoader ready(dataset, {.batch_size = 1, .num_workers = 1, .queue_depth = 2});
  // A batch that lies ready costs no waiting. On a busy machine the worker may need several chances to get ahead.
  bool came_at_once = false;
  for (int attempt = 0; attempt < 500 && !came_at_once; ++attempt) {
    std::this_thread::sleep_for(std::chrono::milliseconds(10));
    const double before = ready.wait_seconds();
    ready.next();
    came_at_once = ready.wait_seconds() == before;
  }
  EXPECT_TRUE(came_at_once);
  dataset->slow = true;
  BatchLoader alone(dataset, {.batch_size = 1, .start_step = 2, .num_workers = 0});
  alone.next();
  EXPECT_GE(alone.wait_seconds(), 0.0015);
}

TEST(BatchLoader, RefusesBadOptions) {
  const auto dataset = std::make_shared<Numbers>(3);
  EXPECT_THROW(BatchLoader(dataset, {.batch_size = 0}), ValueError);
  EXPECT_THROW(BatchLoader(dataset, {.batch_size = 4, .drop_last = true}), ValueError);
  EXPECT_THROW(BatchLoader(dataset, {.queue_depth = 0}), ValueError);
  EXPECT_THROW(BatchLoader(dataset, {.num_workers = -1}), ValueError);
  EXPECT_THROW(BatchLoader(dataset, {.start_step = -1}), ValueError);
}

}  // namespace
}  // namespace lacuna::test
