#include <fmt/format.h>

#include <cstdio>
#include <filesystem>
#include <memory>

#include "app/checkpoint_source.h"
#include "app/commands.h"
#include "app/session.h"
#include "core/errors.h"
#include "train/predictor.h"

namespace lacuna {

int eval_command(const EvalArguments& arguments) {
  const std::filesystem::path checkpoint = find_checkpoint("eval", arguments.run);
  const RunConfig config = config_for("eval", checkpoint, arguments.config, arguments.overrides);
  const std::string& split = arguments.split;
  Session session = open_session(config);
  const TrainingState state = load_weights(checkpoint, *session.model);
  const std::shared_ptr<Dataset> dataset = split == "train"   ? session.data.train
                                           : split == "valid" ? session.data.valid
                                                              : session.data.test;
  if (!dataset)
    throw DataError("eval", fmt::format("this config has no {} data; data.{}_fraction or data.{}_path may give some",
                                        split, split, split));
  const TrainingConfig& t = config.training;
  const std::int64_t batch_size = t.eval_batch_size > 0 ? t.eval_batch_size : t.batch_size;
  std::unique_ptr<Predictor> predictor;  // of the first batch's shape
  const auto predict = [&](const Tensor& inputs) {
    if (!predictor)
      predictor =
          std::make_unique<Predictor>(*session.model, inputs, t.cuda_graph, t.precision == TrainingPrecision::bf16);
    return (*predictor)(inputs);
  };
  const Evaluation e = evaluate(predict, *dataset, batch_size, session.device);
  if (predictor && !predictor->step().refusal().empty())
    fmt::print(stderr, "no CUDA graph: {}\n", predictor->step().refusal());
  fmt::print("{}, step {}, {}: ", checkpoint.string(), state.step, dataset->description());
  if (session.is_text())
    fmt::print("{:.4f} bits per byte, loss {:.4f} nats, accuracy {:.2f} %\n", e.bits_per_target(), e.loss,
               100 * e.accuracy);
  else
    fmt::print("accuracy {:.2f} %, loss {:.4f} nats\n", 100 * e.accuracy, e.loss);
  return kExitDone;
}

}  // namespace lacuna
