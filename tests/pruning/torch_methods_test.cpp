// The other half of torch_methods.py: trains a two-layer network on the sparse kernels under each method it asks for.
#include <gtest/gtest.h>

#include <cstdlib>
#include <fstream>
#include <nlohmann/json.hpp>

#include "core/ops/pointwise.h"
#include "pruning/pruner.h"
#include "pruning/sparsity_schedule.h"
#include "tests/train/two_layer_network.h"
#include "train/config/load.h"

namespace lacuna {

struct MethodCase {
  OptimizerConfig optimizer;
  PruningConfig pruning;
};
template <class V>
void describe(MethodCase& c, V&& v) {
  v("optimizer", c.optimizer, "");
  v("pruning", c.pruning, "");
}

namespace {

using Json = nlohmann::json;

constexpr std::uint64_t kSeed = 5;

Tensor numbers(const Json& json, const Shape& shape) { return Tensor::from(json.get<std::vector<double>>(), shape); }

/// The random numbers that the update at `step` will use, by target: they go to PyTorch as data.
Json draws_of(const TwoLayerNetwork& network, const std::string& method, std::int64_t step) {
  RandomStream random = pruning_randomness(kSeed, step);
  Json draws = Json::array();
  for (const std::size_t i : {0, 2}) {
    const Parameter& p = *network.parameters[i];
    const Shape shape = method == "random" ? Shape{p.nnz()} : p.shape();
    draws.push_back(random_uniform(shape, 0, 1, random.next(), DType::f64, kCpu).to_vector<double>());
  }
  return draws;
}

Json mask_of(const Parameter& p) {
  const Tensor ones = Tensor::full({p.nnz()}, 1, DType::f64);
  const Tensor mask = p.is_sparse() ? densify(SparseTensor{ones, p.topology()}) : ones;
  std::string text;
  for (const double x : mask.to_vector<double>()) text += x != 0 ? '1' : '0';
  return text;
}

Json run(const Json& c) {
  const std::int64_t inputs = c.at("inputs"), hidden = c.at("hidden"), classes = c.at("classes"), batch = c.at("batch");
  TwoLayerNetwork network(numbers(c.at("weight1"), {hidden, inputs}), numbers(c.at("bias1"), {hidden}),
                          numbers(c.at("weight2"), {classes, hidden}), numbers(c.at("bias2"), {classes}));
  for (const std::size_t i : {0, 2}) network.parameters[i]->prunable = true;
  const Json keys{{"optimizer", c.at("optimizer")}, {"pruning", c.at("pruning")}};
  const MethodCase config = config::parse_config<MethodCase>(keys.dump(), "case", {});
  Pruner pruner(config.pruning, network.parameters, kSeed);
  const auto optimizer = make_optimizer(config.optimizer);
  GradientGuard guard(0, DType::f64, kCpu);
  const auto backward_pass = [&](std::size_t step, double factor) {
    const Tensor x = numbers(c.at("x")[step], {inputs, batch});
    const Tensor y = Tensor::from(c.at("y")[step].get<std::vector<std::int32_t>>(), {batch});
    const ForwardContext context{.training = true};
    const auto& p = network.parameters;
    const Var h = multiply(*p[0], Var(x), context.use(*p[1]), Activation::relu, context);
    const Var loss = cross_entropy(multiply(*p[2], h, context.use(*p[3]), Activation::none, context), y);
    backward(scale(loss, factor));
    return loss.data();
  };
  Json result{{"losses", Json::array()}, {"masks", Json::array()}, {"draws", Json::object()}};
  for (std::size_t step = 0; step < c.at("steps").get<std::size_t>(); ++step) {
    const auto t = static_cast<std::int64_t>(step);
    if (pruning_due(config.pruning, t))
      result["draws"][std::to_string(t)] = draws_of(network, config.pruning.method, t);
    const std::int64_t score_batches = pruner.score_batches(t);
    for (std::int64_t i = 0; i < score_batches; ++i)
      backward_pass(step + static_cast<std::size_t>(i), 1.0 / static_cast<double>(score_batches));
    pruner.step(t);
    for (Parameter* p : network.parameters) p->var().clear_grad();
    const Tensor loss = backward_pass(step, 1);
    const UpdateInputs update{optimizer->peak_lr(), t, guard.inspect(network.parameters, loss)};
    if (!pruner.after_backward(t))
      for (Parameter* p : network.parameters) optimizer->update(*p, update);
    for (Parameter* p : network.parameters) p->var().clear_grad();
    result["losses"].push_back(loss.item());
    result["masks"].push_back({mask_of(*network.parameters[0]), mask_of(*network.parameters[2])});
  }
  return result;
}

// Reads LACUNA_METHODS_IN, writes LACUNA_METHODS_OUT.
TEST(TorchMethods, DISABLED_Run) {
  const char* in = std::getenv("LACUNA_METHODS_IN");
  const char* out = std::getenv("LACUNA_METHODS_OUT");
  ASSERT_TRUE(in && out) << "this test is run by torch_methods.py";
  std::ifstream file(in);
  Json answer = Json::array();
  for (const Json& c : Json::parse(file)) answer.push_back(run(c));
  std::ofstream(out) << answer.dump();
}

}  // namespace
}  // namespace lacuna
