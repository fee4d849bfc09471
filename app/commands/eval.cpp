#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "app/checkpoint_source.h"
#include "app/commands.h"
#include "app/session.h"
#include "core/errors.h"
#include "train/checkpoint.h"

namespace lacuna {
namespace {

// Evaluates with the averaged weights where the run kept them, as training does.
void use_averages(const std::vector<Parameter*>& parameters) {
  for (Parameter* p : parameters) {
    const auto ema = p->slots().find("ema");
    if (ema != p->slots().end()) p->value().copy_from(ema->second);
  }
}

}  // namespace

int eval_command(const std::string& run, const std::string& config_path, const std::string& split,
                 const std::vector<std::string>& overrides) {
  const std::filesystem::path checkpoint = find_checkpoint("eval", run);
  const RunConfig config = config_for("eval", checkpoint, config_path, overrides);
  Session session = open_session(config);
  const std::vector<Parameter*> parameters = session.model->parameters();
  const TrainingState state = load_checkpoint(checkpoint, parameters, session.model->buffers());
  use_averages(parameters);
  const std::shared_ptr<Dataset> dataset = split == "train"   ? session.data.train
                                           : split == "valid" ? session.data.valid
                                                              : session.data.test;
  if (!dataset) throw DataError("eval", fmt::format("this config has no {} data; set data.{}_path", split, split));
  const TrainingConfig& t = config.training;
  const Evaluation e =
      evaluate(*session.model, *dataset, t.eval_batch_size > 0 ? t.eval_batch_size : t.batch_size, session.device, 0,
               nullptr, t.precision);
  fmt::print("{}, step {}, {}: ", checkpoint.string(), state.step, dataset->description());
  if (session.is_text())
    fmt::print("{:.4f} bits per byte, loss {:.4f} nats, accuracy {:.2f} %\n", e.bits_per_target(), e.loss,
               100 * e.accuracy);
  else
    fmt::print("accuracy {:.2f} %, loss {:.4f} nats\n", 100 * e.accuracy, e.loss);
  return kExitDone;
}

}  // namespace lacuna
