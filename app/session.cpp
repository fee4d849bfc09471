#include "app/session.h"

#include <fmt/format.h>
#include <omp.h>

#include <charconv>
#include <cstdlib>
#include <cstring>

#include "app/data_shape.h"
#include "core/errors.h"

namespace lacuna {

double Session::items_per_step() const {
  const double examples = static_cast<double>(config.training.batch_size * config.training.accumulate);
  return is_text() ? examples * static_cast<double>(shape.sequence_length) : examples;
}

DataShape shape_of(const Dataset& dataset) {
  const ImageExtent image = dataset.image();
  return {dataset.num_classes(), dataset.sequence_length(), image.channels, image.height, image.width};
}

namespace {

// LACUNA_MEMORY_LIMIT: bytes that tensors on the run's device may take together, for machines shared with others.
void apply_memory_limit(Device device) {
  const char* text = std::getenv("LACUNA_MEMORY_LIMIT");
  if (text == nullptr || *text == '\0') return;
  std::size_t bytes = 0;
  const char* end = text + std::strlen(text);
  const auto [stop, error] = std::from_chars(text, end, bytes);
  if (error != std::errc{} || stop != end || bytes == 0)
    throw ConfigError("LACUNA_MEMORY_LIMIT", fmt::format("'{}'; must be a positive count of bytes", text));
  set_memory_limit(device, bytes);
}

Session open_device(const RunConfig& config) {
  Session session;
  session.config = config;
  session.device = parse_device(config.device);
  apply_memory_limit(session.device);
  if (config.threads > 0) omp_set_num_threads(static_cast<int>(config.threads));
  const bool tf32 = config.matmul_precision == "tf32" || config.training.precision == TrainingPrecision::tf32;
  set_matmul_precision(session.device, tf32 ? MatmulPrecision::tf32 : MatmulPrecision::highest);
  return session;
}

/// Where nothing lies at data.path, the reader's error and what to do about it.
DataSplits open_present_data(const DataConfig& config) {
  try {
    return open_data(config);
  } catch (const DataError& error) {
    if (!data_is_absent(config)) throw;
    throw DataError(fmt::format("{}; {}", error.what(), absence_of(config)));
  }
}

void open_model(Session& session) {
  RandomStream init(session.config.seed, 0);
  try {
    session.model = make_model(session.config.model, session.shape, init, session.device);
  } catch (const ValueError& error) {  // such as a product of sizes past what a count can hold
    throw ConfigError(locate(session.config, "model", fmt::format("cannot be built: {}", error.what())));
  }
  session.model->parameters();  // gives every parameter its full name
}

/// The message behind the place of the key that names the file it is about.
std::string locate_checkpoint(const RunConfig& config, const std::string& message) {
  for (const auto& [key, path] : {std::pair("training.init_from", config.training.init_from),
                                  std::pair("pruning.topology_from", config.pruning.topology_from)})
    if (!path.empty() && message.find("'" + path + "'") != std::string::npos)
      return locate(config, key, fmt::format("must be a checkpoint of this network: {}", message));
  return message;
}

}  // namespace

Session open_session(const RunConfig& config, DataUse use) {
  Session session = open_device(config);
  const OpScope scope("open_session");  // named when memory runs out here
  if (use == DataUse::made_up || (use == DataUse::made_up_if_gone && data_is_absent(config.data))) {
    MadeUpData made_up = make_up_data(config);
    session.data = std::move(made_up.data);
    session.data_note = std::move(made_up.note);
  } else {
    session.data = open_present_data(config.data);
  }
  session.shape = shape_of(*session.data.train);
  open_model(session);
  return session;
}

Session open_session(const RunConfig& config, const DataShape& shape) {
  Session session = open_device(config);
  const OpScope scope("open_session");
  session.shape = shape;
  open_model(session);
  return session;
}

TrainerConfig trainer_config(const RunConfig& c) {
  return {c.seed, c.optimizer, c.schedule, c.pruning, c.training, c.data.num_workers, c.data.prefetch, c.observe};
}

ForwardFlops forward_flops(const Session& session) {
  std::vector<LayerPlan> lines;
  const std::int64_t batch = session.config.training.batch_size;
  session.model->plan(session.shape.inputs(batch), "", lines);
  ForwardFlops flops;
  for (const LayerPlan& line : lines) {
    flops.dense += line.dense_flops / static_cast<double>(batch);
    flops.effective += line.flops / static_cast<double>(batch);
    if (!line.weight.empty()) flops.by_weight[line.weight] += line.flops / static_cast<double>(batch);
  }
  return flops;
}

std::unique_ptr<Trainer> make_trainer(Session& session) {
  try {
    return std::make_unique<Trainer>(trainer_config(session.config), *session.model, session.data, session.device);
  } catch (const ConfigKeyError& error) {
    throw ConfigError(locate(session.config, error.key(), error.message()));
  } catch (const CheckpointError& error) {
    throw CheckpointError(locate_checkpoint(session.config, error.what()));
  }
}

int num_slots(const RunConfig& config) {
  return make_optimizer(config.optimizer)->num_slots() + (config.training.ema_decay > 0 ? 1 : 0);
}

TrainingBytes training_bytes(const std::vector<Parameter*>& parameters, const RunConfig& config) {
  const std::unique_ptr<Optimizer> optimizer = make_optimizer(config.optimizer);
  TrainingBytes bytes;
  for (const Parameter* p : parameters) {
    const std::size_t values = p->value().nbytes();
    bytes.weights += values;
    bytes.gradients += values;
    bytes.optimizer += static_cast<std::size_t>(optimizer->state_numel(*p)) * size_of(p->value().dtype());
    if (config.training.ema_decay > 0) bytes.optimizer += values;
    bytes.topology += p->topology_bytes();
  }
  return bytes;
}

}  // namespace lacuna
