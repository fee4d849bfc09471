#include "train/predictor.h"

namespace lacuna {

TrainingState load_weights(const std::filesystem::path& checkpoint, Module& model) {
  const std::vector<Parameter*> parameters = model.parameters();
  TrainingState state = load_checkpoint(checkpoint, parameters, model.buffers());
  for (Parameter* p : parameters) {
    const auto ema = p->slots().find("ema");
    if (ema != p->slots().end()) p->value().copy_from(ema->second);
    p->slots().clear();
  }
  return state;
}

Predictor::Predictor(Module& model, const Tensor& inputs, bool graph, bool bf16)
    : model_(model),
      bf16_(bf16),
      inputs_(inputs.clone()),
      step_(inputs.device(), graph ? make_recorder(inputs.device()) : nullptr) {
  model_.prepare_for_inference();
}

Tensor Predictor::forward(const Tensor& inputs) {
  ForwardContext context{.bf16 = bf16_};
  return model_.forward(Var(inputs), context).data();
}

CapturedStep::Ran Predictor::run() {
  if (!step_.is_captured()) outputs_ = Tensor();  // its memory may serve this pass
  return step_.run([this] { outputs_ = forward(inputs_); });
}

Tensor Predictor::operator()(const Tensor& inputs) {
  if (!(inputs.shape() == inputs_.shape())) return forward(inputs);
  inputs_.copy_from(inputs);
  run();
  return outputs_;
}

}  // namespace lacuna
