#include "app/session.h"

#include <omp.h>

#include <fmt/format.h>

#include "train/table.h"

namespace lacuna {

double Session::items_per_step() const {
  const double examples = static_cast<double>(config.training.batch_size * config.training.accumulate);
  return is_text() ? examples * static_cast<double>(shape.sequence_length) : examples;
}

DataShape shape_of(const Dataset& dataset) {
  const ImageExtent image = dataset.image();
  return {dataset.num_classes(), dataset.sequence_length(), image.channels, image.height, image.width};
}

Session open_session(const RunConfig& config) {
  Session session;
  session.config = config;
  session.device = parse_device(config.device);
  if (config.threads > 0) omp_set_num_threads(static_cast<int>(config.threads));
  set_matmul_precision(session.device, config.matmul_precision == "tf32" ? MatmulPrecision::tf32 : MatmulPrecision::highest);
  session.data = open_data(config.data);
  session.shape = shape_of(*session.data.train);
  RandomStream init(config.seed, 0);
  session.model = make_model(config.model, session.shape, init, session.device);
  session.model->parameters();  // gives every parameter its full name
  return session;
}

TrainerConfig trainer_config(const RunConfig& c) {
  return {c.seed, c.optimizer, c.schedule, c.pruning, c.training, c.data.num_workers, c.data.prefetch};
}

std::string layer_table(const std::vector<Parameter*>& parameters) {
  Table table({{"parameter", Align::left}, {"shape", Align::right}, {"stored", Align::right}, {"sparsity", Align::right}, {"bytes", Align::right}});
  std::int64_t stored = 0, full = 0, small_stored = 0, num_small = 0;
  std::size_t bytes = 0, small_bytes = 0;
  for (const Parameter* p : parameters) {
    stored += p->nnz();
    full += p->shape().numel();
    const std::size_t own = p->value().nbytes() + p->topology_bytes();
    bytes += own;
    if (p->shape().rank() < 2) {  // biases, gains: one line for all
      small_stored += p->nnz();
      small_bytes += own;
      ++num_small;
      continue;
    }
    table.add_row({p->name(), to_string(p->shape()), format_count(p->nnz()), p->is_sparse() ? format_percent(p->sparsity()) : "dense",
                   format_bytes(static_cast<double>(own))});
  }
  if (num_small > 0)
    table.add_row({fmt::format("({} biases and gains)", num_small), "", format_count(small_stored), "dense", format_bytes(static_cast<double>(small_bytes))});
  table.add_rule();
  table.add_row({"total", format_count(full), format_count(stored), format_percent(1.0 - static_cast<double>(stored) / static_cast<double>(full)),
                 format_bytes(static_cast<double>(bytes))});
  return table.text();
}

TrainingBytes training_bytes(const std::vector<Parameter*>& parameters, const RunConfig& config) {
  const int num_slots = make_optimizer(config.optimizer)->num_slots() + (config.training.ema_decay > 0 ? 1 : 0);
  TrainingBytes bytes;
  for (const Parameter* p : parameters) {
    const std::size_t values = p->value().nbytes();
    bytes.weights += values;
    bytes.gradients += values;
    bytes.optimizer += values * static_cast<std::size_t>(num_slots);
    bytes.topology += p->topology_bytes();
  }
  return bytes;
}

}  // namespace lacuna
