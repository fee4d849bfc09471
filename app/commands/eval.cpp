#include <fmt/format.h>

#include <cstdio>
#include <filesystem>

#include "app/commands.h"
#include "app/session.h"
#include "core/errors.h"
#include "train/checkpoint.h"
#include "train/checkpoint_directory.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;

// The file itself, or the newest checkpoint that verifies in a run directory.
fs::path find_checkpoint(const std::string& text) {
  const fs::path path(text);
  if (fs::exists(fs::symlink_status(path)) && !fs::is_directory(path)) return path;
  const fs::path directory = fs::is_directory(path / "checkpoints") ? path / "checkpoints" : path;
  const LatestCheckpoint latest = find_latest(directory);
  for (const std::string& problem : latest.problems) fmt::print(stderr, "passed over: {}\n", problem);
  if (!latest.file)
    throw CheckpointError(
        "eval", fmt::format("'{}': no checkpoint that verifies; must be a .safetensors file or a run directory", text));
  return latest.file->path;
}

// Evaluates with the averaged weights where the run kept them, as training does.
void use_averages(const std::vector<Parameter*>& parameters) {
  for (Parameter* p : parameters) {
    const auto ema = p->slots().find("ema");
    if (ema != p->slots().end()) p->value().copy_from(ema->second);
  }
}

}  // namespace

int eval_command(const std::string& run, const std::string& config_path, const std::string& split) {
  const fs::path checkpoint = find_checkpoint(run);
  RunConfig config;
  if (!config_path.empty()) {
    config = load_run_config(config_path, {});
  } else {
    const TrainingState state = verify_checkpoint(checkpoint);
    const auto text = state.extra.find("config");
    if (text == state.extra.end() || !text->is_string())
      throw CheckpointError("eval", fmt::format("'{}': holds no config; name one with --config", checkpoint.string()));
    config = parse_run_config(text->get<std::string>(), checkpoint.string() + " (its config)", {});
  }
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
      evaluate(*session.model, *dataset, t.eval_batch_size > 0 ? t.eval_batch_size : t.batch_size, session.device);
  fmt::print("{}, step {}, {}: ", checkpoint.string(), state.step, dataset->description());
  if (session.is_text())
    fmt::print("{:.4f} bits per byte, loss {:.4f} nats, accuracy {:.2f} %\n", e.bits_per_target(), e.loss,
               100 * e.accuracy);
  else
    fmt::print("accuracy {:.2f} %, loss {:.4f} nats\n", 100 * e.accuracy, e.loss);
  return kExitDone;
}

}  // namespace lacuna
