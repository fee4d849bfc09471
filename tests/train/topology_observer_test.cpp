// TopologyObserver over updates made by hand, and through a trainer, a kill and a resume.
#include "train/topology_observer.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/errors.h"
#include "tests/train/small_model.h"
#include "tests/train/temporary_directory.h"

namespace lacuna {
namespace {

TopologyPtr csr(std::int64_t rows, std::int64_t cols, std::vector<std::int32_t> offsets,
                std::vector<std::int32_t> columns) {
  const auto n = static_cast<std::int64_t>(offsets.size()), nnz = static_cast<std::int64_t>(columns.size());
  return Topology::from_csr(rows, cols, Tensor::from(offsets, {n}), Tensor::from(columns, {nnz}));
}

double value(const MetricsRecord& record, const std::string& key) {
  for (const auto& [name, number] : record.values)
    if (name == key) return number;
  ADD_FAILURE() << key << " is missing";
  return NAN;
}

struct Observed : ::testing::Test {
  Observed()
      : weight("w", Tensor::from<float>({1, -2, 3, -4, 5, -6}, {2, 3})), bias("b", Tensor::zeros({2}, DType::f32)) {
    weight.prunable = true;
  }
  std::optional<TopologyUpdate> update(TopologyObserver& observer, const TopologyPtr& next) {
    observer.before();
    weight.retopologize(next);
    observer.after();
    return observer.take();
  }
  Parameter weight, bias;
  std::vector<Parameter*> parameters{&weight, &bias};
  ObserveConfig config{true, true, 2};
};

TEST_F(Observed, EachUpdateIsReportedOnce) {
  TopologyObserver observer(config, parameters);
  const auto first = update(observer, csr(2, 3, {0, 1, 3}, {2, 0, 2}));
  ASSERT_TRUE(first.has_value());
  ASSERT_EQ(first->layers.size(), 1u);
  EXPECT_EQ(first->layers[0].nnz, 3);
  EXPECT_EQ(first->churn.dropped, 0);  // where counting begins
  EXPECT_DOUBLE_EQ(first->itop.value(), 0.5);
  EXPECT_EQ(first->empty.rows, 0);
  EXPECT_EQ(first->empty.columns, 1);
  ASSERT_TRUE(first->layers[0].histogram.has_value());
  EXPECT_FALSE(first->layers[0].histogram->threshold.has_value());  // 5 was dropped, 3 and 4 kept

  EXPECT_FALSE(observer.take().has_value());
  EXPECT_FALSE(update(observer, weight.topology()).has_value());  // the same pattern: no update

  const auto second = update(observer, csr(2, 3, {0, 2, 2}, {0, 2}));
  ASSERT_TRUE(second.has_value());
  EXPECT_EQ(second->churn.dropped, 2);
  EXPECT_EQ(second->churn.grown, 1);
  EXPECT_EQ(second->empty.rows, 1);
  EXPECT_DOUBLE_EQ(second->itop.value(), 4.0 / 6);
  EXPECT_FALSE(second->layers[0].histogram.has_value());  // every second update
  EXPECT_EQ(observer.num_drops(), 2);

  const auto third = update(observer, nullptr);  // back to dense
  EXPECT_EQ(third->churn.grown, 4);
  EXPECT_EQ(third->empty.rows, 0);
  EXPECT_DOUBLE_EQ(third->itop.value(), 1.0);
  const MetricsRecord record = third->record(7);
  EXPECT_EQ(record.step, 7);
  EXPECT_EQ(value(record, "grown/w"), 4);
  EXPECT_EQ(value(record, "sparsity/w"), 0);
  EXPECT_EQ(value(record, "topology_grown"), 4);
  EXPECT_TRUE(record.histograms.empty());  // due, but nothing was dropped

  const auto fourth = update(observer, csr(2, 3, {0, 0, 1}, {1}));
  const MetricsRecord last = fourth->record(8);
  ASSERT_EQ(last.histograms.size(), 2u);
  EXPECT_EQ(last.histograms[0].name, "kept_magnitudes/w");
  EXPECT_EQ(last.histograms[1].name, "dropped_magnitudes/w");
  EXPECT_EQ(observer.num_drops(), 3);
}

TEST_F(Observed, ThresholdOfMagnitudePruning) {
  TopologyObserver observer(config, parameters);
  observer.before();
  observer.after();
  EXPECT_TRUE(observer.take().has_value());  // the dense beginning
  EXPECT_EQ(observer.num_drops(), 0);
  const auto pruned = update(observer, csr(2, 3, {0, 0, 3}, {0, 1, 2}));
  EXPECT_EQ(pruned->churn.dropped, 3);
  EXPECT_DOUBLE_EQ(pruned->layers[0].histogram->threshold.value(), 4);
  EXPECT_EQ(value(pruned->record(1), "threshold/w"), 4);
}

// A new pattern may lie where the old one lay.
TEST_F(Observed, PatternsAreToldApartWhateverTheirAddress) {
  TopologyObserver observer(config, parameters);
  update(observer, csr(2, 3, {0, 1, 2}, {0, 0}));
  for (int i = 0; i < 100; ++i) {
    observer.before();
    weight.assign(Tensor::zeros({2, 3}, DType::f32), nullptr);
    weight.retopologize(csr(2, 3, {0, 1, 2}, {i % 3, (i + 1) % 3}));
    observer.after();
    ASSERT_TRUE(observer.take().has_value()) << i;
  }
}

TEST_F(Observed, GoesOnFromACheckpoint) {
  const TopologyPtr a = csr(2, 3, {0, 1, 3}, {2, 0, 2}), b = csr(2, 3, {0, 2, 2}, {0, 2});
  TopologyObserver whole(config, parameters);
  update(whole, a);
  const std::map<std::string, Tensor> saved = whole.tensors();
  const std::int64_t drops = whole.num_drops();
  const MetricsRecord expected = update(whole, b)->record(2);

  weight.assign(Tensor::zeros({3}, DType::f32), a);
  TopologyObserver resumed(config, parameters);
  resumed.resume(drops, saved);
  EXPECT_EQ(to_json_line(update(resumed, b)->record(2)), to_json_line(expected));
  EXPECT_THROW(TopologyObserver(config, parameters).resume(1, {}), CheckpointError);
  config.itop = false;
  TopologyObserver without(config, parameters);
  without.resume(1, {});
  EXPECT_TRUE(without.tensors().empty());
}

TEST_F(Observed, NothingWhenOff) {
  config = {false, false, 10};
  TopologyObserver observer(config, parameters);
  EXPECT_FALSE(update(observer, csr(2, 3, {0, 1, 2}, {0, 0})).has_value());
}

// The checkpoint carries the bits, and refuses to invent them.
TEST(ObserverState, IsInTheCheckpoint) {
  TemporaryDirectory directory;
  SmallModel model = SmallModel::trained();
  TrainingState state = example_state();
  state.tensors.emplace("itop.weight", Tensor::from<std::uint8_t>({0xAB, 0x0C}, {2}));
  save_checkpoint(directory / "c.safetensors", model.parameters, model.buffers(), state);
  SmallModel other;
  const TrainingState loaded = load_checkpoint(directory / "c.safetensors", other.parameters, other.buffers());
  EXPECT_TRUE(same_bits(model, other));
  ASSERT_EQ(loaded.tensors.size(), 1u);
  EXPECT_TRUE(same_bits(loaded.tensors.at("itop.weight"), state.tensors.at("itop.weight")));
}

}  // namespace
}  // namespace lacuna
