// What a run may say about the loop itself.
#pragma once

#include <cstdint>
#include <string>

#include "core/field.h"

namespace lacuna {

/// Of activations and the operands of products; parameters, their gradients and the optimizer's state are f32 in all.
/// tf32: f32 activations, products in TF32 on CUDA (what matmul_precision: tf32 says alone).
enum class TrainingPrecision : std::uint8_t { f32, tf32, bf16 };
inline EnumNames<TrainingPrecision> enum_names(TrainingPrecision) {
  return {{"f32", TrainingPrecision::f32}, {"tf32", TrainingPrecision::tf32}, {"bf16", TrainingPrecision::bf16}};
}

struct TrainingConfig {
  std::int64_t steps = 0;
  double epochs = 0;
  std::string init_from;
  std::int64_t batch_size = 32;
  std::int64_t accumulate = 1;
  TrainingPrecision precision = TrainingPrecision::f32;
  double clip_norm = 0.0;
  double label_smoothing = 0.0;
  double ema_decay = 0.0;
  bool cuda_graph = false;
  std::int64_t log_every = 50;
  std::int64_t eval_every = 0;
  std::int64_t eval_batches = 0;
  std::int64_t eval_batch_size = 0;
  std::int64_t checkpoint_every = 0;
  std::int64_t keep_checkpoints = 2;
};

template <class V>
void describe(TrainingConfig& c, V&& v) {
  v("steps", c.steps, "Optimizer steps; 0 = take epochs instead", non_negative());
  v("epochs", c.epochs, "Passes over the training set; 0 = take steps instead", non_negative());
  v("init_from", c.init_from,
    "A checkpoint whose weights, patterns and buffers training starts from, dense or sparse; empty = fresh weights");
  v("batch_size", c.batch_size, "Examples (sequences or images) in one forward pass", positive());
  v("accumulate", c.accumulate, "Forward and backward passes per optimizer step; gradients are averaged", positive());
  v("precision", c.precision,
    "Activations and products, in training and evaluation: f32, tf32 (f32 with TF32 products on CUDA) or bf16 beside "
    "f32 "
    "weights");
  v("clip_norm", c.clip_norm, "Largest global gradient norm; 0 = no clipping", non_negative());
  v("label_smoothing", c.label_smoothing, "Share of the target spread over all classes", fraction());
  v("ema_decay", c.ema_decay, "Decay of the weights' moving average, which evaluation then uses; 0 = none", fraction());
  v("cuda_graph", c.cuda_graph,
    "On CUDA, capture the training step as one graph and replay it until a pattern changes; `lacuna eval` its forward "
    "pass. "
    "No GPU has run it yet");
  v("log_every", c.log_every, "Steps between two log records", positive());
  v("eval_every", c.eval_every, "Steps between two evaluations; 0 = only at the end", non_negative());
  v("eval_batches", c.eval_batches, "Batches of an evaluation during training; 0 = the whole set", non_negative());
  v("eval_batch_size", c.eval_batch_size, "Examples per evaluation batch; 0 = batch_size", non_negative());
  v("checkpoint_every", c.checkpoint_every, "Steps between two checkpoints; 0 = only at the end and on a signal",
    non_negative());
  v("keep_checkpoints", c.keep_checkpoints, "Newest checkpoints kept", positive());
}

inline void validate(const TrainingConfig& c, const ReportProblem& problem) {
  if ((c.steps > 0) == (c.epochs > 0)) problem("steps", "must be positive with epochs 0, or 0 with positive epochs");
}

}  // namespace lacuna
