// What reads patterns and weights on the host, with the weights on CUDA: it must see what it sees of the CPU's.
#include <gtest/gtest.h>

#include "tests/train/interop/state_testing.h"
#include "train/topology_observer.h"

namespace lacuna {
namespace {

/// Records of three updates of one weight: to a pattern, to another, and back to dense.
std::string observed(Device device) {
  Parameter weight("w", Tensor::from<float>({1, -2, 3, -4, 5, -6}, {2, 3}, device));
  weight.prunable = true;
  TopologyObserver observer(ObserveConfig{true, true, 1}, {&weight});
  std::string lines;
  const auto update = [&](const TopologyPtr& next) {
    observer.before();
    weight.retopologize(next);
    observer.after();
    lines += to_json_line(observer.take().value().record(1));
  };
  const auto pattern = [&](const std::vector<std::int32_t>& offsets, const std::vector<std::int32_t>& columns) {
    return Topology::from_csr(2, 3, Tensor::from(offsets, {3}, device),
                              Tensor::from(columns, {static_cast<std::int64_t>(columns.size())}, device));
  };
  update(pattern({0, 1, 3}, {2, 0, 2}));
  update(pattern({0, 2, 2}, {0, 2}));
  update(nullptr);
  return lines;
}

TEST(OnCuda, ObserverSeesTheSame) {
  const std::string here = observed(kCpu);
  EXPECT_NE(here.find("dropped_magnitudes/w"), std::string::npos);
  if (devices().size() < 2) GTEST_SKIP() << cuda_unavailable_reason();
  EXPECT_EQ(observed(devices()[1]), here);
}

class InteropOnEveryDevice : public interop::InteropState {
 protected:
  void check(Device device) {
    SmallModel model = interop::prunable_model();
    for (Parameter* p : model.parameters) p->to(device);
    model.running_mean = model.running_mean.to(device);
    const std::pair<interop::Tensors, interop::AssignOptions> kinds[] = {
        {interop::csr_tensors(), {}},
        {interop::pruned_tensors(), {}},
        {interop::dense_tensors(), {.zeros_are_absent = true}}};
    for (const auto& [tensors, options] : kinds) {
      assign_state(interop::load_state(write(tensors)), model.parameters, model.buffers(), options);
      EXPECT_EQ(model.parameters[0]->value().device(), device);
      EXPECT_EQ(model.parameters[0]->topology()->device(), device);
      expect_example_weight(model);
      EXPECT_EQ(model.running_mean.to_vector<float>(), (std::vector<float>{-1, -2, -3}));

      save_checkpoint(directory_ / "c.safetensors", model.parameters, model.buffers(), example_state());
      const interop::State back = interop::load_state(directory_ / "c.safetensors");
      EXPECT_EQ(interop::dense_value(back.tensors.at("weight")).to_vector<float>(),
                interop::dense_tensors().at("weight").to_vector<float>());
    }
  }
};

TEST_F(InteropOnEveryDevice, StatesGoInAndOut) {
  check(kCpu);
  if (devices().size() < 2) GTEST_SKIP() << cuda_unavailable_reason();
  check(devices()[1]);
}

}  // namespace
}  // namespace lacuna
