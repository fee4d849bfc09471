// Predictor: a network that answers. Folded, without tape, at a fixed batch replayed as one CUDA graph.
#pragma once

#include <filesystem>

#include "core/captured_step.h"
#include "layers/module.h"
#include "train/checkpoint.h"

namespace lacuna {

/// Loads a checkpoint's weights (their moving averages where those were kept), patterns and buffers into `model`, without
/// optimizer state. Throws CheckpointError.
TrainingState load_weights(const std::filesystem::path& checkpoint, Module& model);

class Predictor {
 public:
  /// Prepares `model`, on the inputs' device already, for inference, in place; it must outlive the predictor.
  ///   inputs  what the first passes take, on the device; copied. Its shape is the fixed batch
  ///   graph   replay passes as a CUDA graph after two of them; on the CPU they run as ever
  ///   bf16    products and activations in bf16 (docs/precision.md)
  Predictor(Module& model, const Tensor& inputs, bool graph, bool bf16 = false);

  /// Logits of any batch, on the device: [classes, batch] or [vocabulary, batch * t]. Throws as the model's forward.
  Tensor operator()(const Tensor& inputs);

  /// One pass from inputs() to outputs(), without a copy.
  CapturedStep::Ran run();
  /// To be written, with copy_from, before run().
  const Tensor& inputs() const { return inputs_; }
  /// Of the last run(). With a graph, overwritten by the next one.
  const Tensor& outputs() const { return outputs_; }
  /// Whether and why not passes are replayed, and what memory that reserves.
  const CapturedStep& step() const { return step_; }

 private:
  Tensor forward(const Tensor& inputs);

  Module& model_;
  bool bf16_;
  Tensor inputs_;
  Tensor outputs_;
  CapturedStep step_;
};

}  // namespace lacuna
