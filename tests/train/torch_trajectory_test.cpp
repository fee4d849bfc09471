// The other half of torch_trajectory.py: runs what it asks for, and the agreement of precisions and devices on their own.
#include <gtest/gtest.h>

#include <cmath>
#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/random.h"
#include "tests/train/two_layer_network.h"
#include "train/config/load.h"

namespace lacuna {

struct TrajectoryConfig {
  OptimizerConfig optimizer;
  ScheduleConfig schedule;
};
template <class V>
void describe(TrajectoryConfig& c, V&& v) {
  v("optimizer", c.optimizer, "");
  v("schedule", c.schedule, "");
}

namespace {

using Json = nlohmann::json;

TrajectoryConfig read_config(const Json& json) {
  Json config = Json::object();
  for (const char* key : {"optimizer", "schedule"})
    if (json.contains(key)) config[key] = json.at(key);
  return config::parse_config<TrajectoryConfig>(config.dump(), "case", {});
}

DType dtype_of(const Json& json) { return json.at("dtype") == "f64" ? DType::f64 : DType::f32; }

Tensor floats(const Json& json, const Shape& shape, DType dtype) {
  return Tensor::from(json.get<std::vector<double>>(), shape).to(dtype);
}

Json run_trajectory(const Json& c) {
  const std::int64_t inputs = c.at("inputs"), hidden = c.at("hidden"), classes = c.at("classes"), batch = c.at("batch");
  const DType dtype = dtype_of(c);
  TwoLayerNetwork network(floats(c.at("weight1"), {hidden, inputs}, dtype), floats(c.at("bias1"), {hidden}, dtype),
                          floats(c.at("weight2"), {classes, hidden}, dtype), floats(c.at("bias2"), {classes}, dtype));
  if (c.contains("mask1")) network.make_sparse(0, Tensor::from(c.at("mask1").get<std::vector<std::uint8_t>>(), {hidden, inputs}));
  if (c.contains("mask2")) network.make_sparse(2, Tensor::from(c.at("mask2").get<std::vector<std::uint8_t>>(), {classes, hidden}));
  const auto optimizer = make_optimizer(read_config(c).optimizer);
  GradientGuard guard(c.at("clip_norm").get<double>(), dtype, kCpu);
  Json losses = Json::array();
  for (std::size_t step = 0; step < c.at("x").size(); ++step) {
    const Tensor x = floats(c.at("x")[step], {inputs, batch}, dtype);
    const Tensor y = Tensor::from(c.at("y")[step].get<std::vector<std::int32_t>>(), {batch});
    losses.push_back(network.step(x, y, *optimizer, optimizer->peak_lr(), static_cast<std::int64_t>(step), guard));
  }
  return losses;
}

// Several parameters, gradients that are given: the bare optimizer and the clipping before it.
Json run_update(const Json& c) {
  const DType dtype = dtype_of(c);
  const auto optimizer = make_optimizer(read_config(c).optimizer);
  GradientGuard guard(c.at("clip_norm").get<double>(), dtype, kCpu);
  std::vector<std::unique_ptr<Parameter>> owned;
  std::vector<Parameter*> parameters;
  for (const Json& value : c.at("values")) {
    const auto n = static_cast<std::int64_t>(value.size());
    owned.push_back(std::make_unique<Parameter>("p", floats(value, {n}, dtype)));
    parameters.push_back(owned.back().get());
    parameters.back()->decay = c.at("decay")[owned.size() - 1].get<bool>();
  }
  Json result{{"values", Json::array()}, {"norms", Json::array()}};
  const Tensor loss = Tensor::zeros({}, dtype);
  for (std::size_t step = 0; step < c.at("grads").size(); ++step) {
    for (std::size_t i = 0; i < parameters.size(); ++i)
      parameters[i]->var().set_grad(floats(c.at("grads")[step][i], parameters[i]->shape(), dtype));
    const UpdateInputs inputs{optimizer->peak_lr(), static_cast<std::int64_t>(step), guard.inspect(parameters, loss)};
    for (Parameter* p : parameters) optimizer->update(*p, inputs);
    Json values = Json::array();
    for (Parameter* p : parameters) values.push_back(p->value().to(DType::f64).to_vector<double>());
    result["values"].push_back(values);
    result["norms"].push_back(guard.norm());
  }
  return result;
}

Json run_schedule(const Json& c) {
  const ScheduleConfig schedule = read_config(c).schedule;
  const std::int64_t total = c.at("total_steps");
  Json factors = Json::array();
  for (std::int64_t step = 0; step < total; ++step) factors.push_back(lr_factor(schedule, step, total));
  return factors;
}

// Reads LACUNA_TRAJECTORY_IN, writes LACUNA_TRAJECTORY_OUT.
TEST(TorchTrajectory, DISABLED_Run) {
  const char* in = std::getenv("LACUNA_TRAJECTORY_IN");
  const char* out = std::getenv("LACUNA_TRAJECTORY_OUT");
  ASSERT_TRUE(in && out) << "this test is run by torch_trajectory.py";
  std::ifstream file(in);
  const Json asked = Json::parse(file);
  Json answer;
  for (const Json& c : asked.at("trajectories")) answer["trajectories"].push_back(run_trajectory(c));
  for (const Json& c : asked.at("updates")) answer["updates"].push_back(run_update(c));
  for (const Json& c : asked.at("schedules")) answer["schedules"].push_back(run_schedule(c));
  std::ofstream(out) << answer.dump();
}

// ---- one network in several precisions and on several devices --------------------------------------------------------

std::vector<double> losses_on(Device device, DType dtype, bool sparse, const OptimizerConfig& config) {
  const std::int64_t inputs = 48, hidden = 96, classes = 12, batch = 32;
  RandomStream random(7);
  const auto draw = [&](const Shape& shape, double deviation) { return random_normal(shape, 0, deviation, random.next(), DType::f32, kCpu).to(dtype); };
  const Tensor weight1 = draw({hidden, inputs}, 0.15), bias1 = draw({hidden}, 0.1);
  const Tensor weight2 = draw({classes, hidden}, 0.1), bias2 = draw({classes}, 0.1);
  TwoLayerNetwork network(weight1, bias1, weight2, bias2);
  for (const std::size_t index : {0, 2}) {
    const Shape shape = network.parameters[index]->shape();
    const std::vector<double> chance = random_uniform(shape, 0, 1, random.next(), DType::f64, kCpu).to_vector<double>();
    std::vector<std::uint8_t> mask;
    for (const double u : chance) mask.push_back(u < 0.25);
    if (sparse) network.make_sparse(index, Tensor::from(mask, shape));
  }
  network.to(device);
  const auto optimizer = make_optimizer(config);
  GradientGuard guard(1.0, dtype, device);
  std::vector<double> losses;
  for (std::int64_t step = 0; step < 20; ++step) {
    std::vector<std::int32_t> targets;
    for (std::int64_t i = 0; i < batch; ++i) targets.push_back(static_cast<std::int32_t>(random_word({3, static_cast<std::uint64_t>(step)}, static_cast<std::uint64_t>(i)) % classes));
    const Tensor x = draw({inputs, batch}, 1).to(device);
    losses.push_back(network.step(x, Tensor::from(targets, {batch}).to(device), *optimizer, optimizer->peak_lr(), step, guard));
  }
  return losses;
}

void expect_agreement(const std::vector<double>& a, const std::vector<double>& b, const std::string& what) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i) EXPECT_NEAR(a[i], b[i], 1e-5 * std::abs(b[i])) << what << ", step " << i;
}

std::vector<OptimizerConfig> optimizers() {
  return {SgdConfig{.lr = 0.1, .momentum = 0.9, .nesterov = true, .weight_decay = 1e-3}, AdamConfig{.lr = 2e-3}, AdamWConfig{.lr = 2e-3},
          AdafactorConfig{.lr = 2e-2, .beta1 = 0.9}, AdafactorConfig{.lr = 2e-2, .factored = Factored::none}};
}

TEST(Trajectory, SinglePrecisionFollowsDouble) {
  for (const bool sparse : {false, true})
    for (const OptimizerConfig& config : optimizers())
      expect_agreement(losses_on(kCpu, DType::f32, sparse, config), losses_on(kCpu, DType::f64, sparse, config),
                       std::string(sparse ? "sparse" : "dense") + ", optimizer " + std::to_string(config.index()));
}

TEST(Trajectory, CudaFollowsCpu) {
  if (devices().size() < 2) GTEST_SKIP() << cuda_unavailable_reason();
  for (const bool sparse : {false, true})
    for (const OptimizerConfig& config : optimizers())
      expect_agreement(losses_on(devices()[1], DType::f32, sparse, config), losses_on(kCpu, DType::f32, sparse, config),
                       std::string(sparse ? "sparse" : "dense") + ", optimizer " + std::to_string(config.index()));
}

}  // namespace
}  // namespace lacuna
