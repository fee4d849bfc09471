// A model of one's own, trained sparse: logits = classify(h + contract(relu(expand(h)))), h an image's numbers.
// Its two large weights are pruned to 90 % while it learns; values, gradients and Adam's moments shrink with them.
#include <cstdio>
#include <utility>

#include "core/ops/pointwise.h"
#include "data/synthetic.h"
#include "layers/flatten.h"
#include "layers/linear.h"
#include "layers/multiply.h"
#include "train/trainer.h"

using namespace lacuna;

// Images [channels, batch * pixels] in, logits [classes, batch] out.
class ResidualNet : public Module {
 public:
  ResidualNet(ImageExtent image, std::int64_t width, std::int64_t classes, Init init)
      : pixels_(image.height * image.width), features_(image.numel()) {
    // A parameter of its own: any [outputs, inputs] matrix that goes through multiply() may become sparse.
    expand_ = &add_parameter("expand", init.normal({width, features_}, he_deviation(features_)), /*prunable=*/true);
    // A layer of the library, pruned as well; and one that stays dense.
    contract_ = &add_child<Linear>("contract", width, features_, LinearOptions{}, init);
    classify_ = &add_child<Linear>("classify", features_, classes, LinearOptions{.prunable = false}, init);
  }

  Var forward(const Var& x, ForwardContext& context) override {
    const Var h = flatten(x, pixels_);  // [features, batch]
    const Var wide = multiply(*expand_, h, /*bias=*/{}, Activation::relu, context);
    return classify_->forward(add(h, contract_->forward(wide, context)), context);
  }

  // The same on shapes alone, for `lacuna plan`-like tables.
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override {
    const std::int64_t batch = shape[1] / pixels_;
    const std::string expand = join_path(prefix, "expand");
    lines.push_back(plan_multiply(*expand_, expand, "linear", expand, batch));
    contract_->plan({expand_->shape()[0], batch}, join_path(prefix, "contract"), lines);
    return classify_->plan({features_, batch}, join_path(prefix, "classify"), lines);
  }

 private:
  std::int64_t pixels_, features_;
  Parameter* expand_;
  Linear *contract_, *classify_;
};

int main() try {
  const Device device = parse_device("auto");
  SyntheticImagesOptions images{.num_examples = 16384, .extent = {3, 8, 8}, .noise = 2.5};
  DataSplits data{.train = std::make_shared<SyntheticImages>(images)};
  images.first = std::exchange(images.num_examples, 2048);  // other examples of the same classes
  data.test = std::make_shared<SyntheticImages>(images);

  RandomStream random(/*seed=*/1);
  ResidualNet model(images.extent, /*width=*/512, images.num_classes, Init{random});
  model.to(device);
  TrainerConfig config{.seed = 1, .optimizer = AdamConfig{.lr = 1e-3}, .schedule = CosineScheduleConfig{}};
  config.pruning = {.method = "magnitude", .sparsity = 0.9, .begin_step = 50, .end_step = 200, .frequency = 25};
  config.training = {.steps = 400, .batch_size = 64};
  Trainer trainer(config, model, data, device);
  while (!trainer.finished()) {
    trainer.advance();
    if (trainer.step() % 50 != 0) continue;
    std::size_t bytes = 0;  // weights, Adam's moments and patterns (gradients live only inside a step)
    for (const Parameter* p : trainer.parameters()) bytes += p->state_bytes() + p->topology_bytes();
    std::printf("step %3lld  loss %.4f  sparsity %.4f  bytes %zu\n", static_cast<long long>(trainer.step()),
                trainer.read_metrics().mean_loss, trainer.sparsity(), bytes);
  }
  const Evaluation test = trainer.evaluate(*data.test);
  std::printf("test loss %.4f, accuracy %.4f\n", test.loss, test.accuracy);
} catch (const std::exception& error) {
  std::fprintf(stderr, "%s\n", error.what());
  return 1;
}
