// What every command begins with: a checked config, its data sets, and the model they need.
#pragma once

#include <memory>
#include <string>
#include <vector>

#include "app/run_config.h"
#include "data/data_config.h"
#include "layers/module.h"
#include "models/factory.h"
#include "train/run.h"
#include "train/trainer.h"

namespace lacuna {

struct Session {
  RunConfig config;
  Device device = kCpu;
  DataSplits data;
  std::string data_note;  ///< what stands in place of the data set; "" for the data set itself
  DataShape shape;
  std::unique_ptr<Module> model;

  bool is_text() const { return shape.is_tokens(); }
  const char* items() const { return is_text() ? "tokens" : "images"; }
  /// Tokens or images of one optimizer step.
  double items_per_step() const;
};

/// What open_session does about the data set.
enum class DataUse {
  opened,           ///< it must be there: for whatever trains or evaluates
  made_up_if_gone,  ///< random examples of its shape where nothing lies at data.path (app/data_shape.h)
  made_up,          ///< random examples of its shape, also where it is there
};

/// Opens device, data and model; sets threads and matmul precision. Throws ConfigError, DataError, DeviceError.
Session open_session(const RunConfig& config, DataUse use = DataUse::opened);
/// The same without data: the model must fit `shape`.
Session open_session(const RunConfig& config, const DataShape& shape);

DataShape shape_of(const Dataset& dataset);
TrainerConfig trainer_config(const RunConfig& config);

/// The session's trainer. What only model and data can refuse is refused with the place of its key. Throws as Trainer.
std::unique_ptr<Trainer> make_trainer(Session& session);
/// By the model's plan, with its patterns as they are.
ForwardFlops forward_flops(const Session& session);

/// Bytes of weights, gradients, optimizer state and patterns while training `parameters` as they are now.
struct TrainingBytes {
  std::size_t weights = 0;
  std::size_t gradients = 0;
  std::size_t optimizer = 0;
  std::size_t topology = 0;
  std::size_t total() const { return weights + gradients + optimizer + topology; }
};
/// Arrays beside a parameter's value and gradient: the optimizer's slots, and the moving average if there is one.
int num_slots(const RunConfig& config);
TrainingBytes training_bytes(const std::vector<Parameter*>& parameters, const RunConfig& config);

}  // namespace lacuna
