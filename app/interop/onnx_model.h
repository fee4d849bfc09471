// A trained network as an ONNX graph, every weight dense.
#pragma once

#include <string>

#include "app/run_config.h"
#include "train/interop/state.h"

namespace lacuna {

/// The bytes of an ONNX file that computes what the config's model computes in evaluation, batch first:
///   mlp           images f32 [batch, channels * height * width], channel by channel (a flattened NCHW image)
///                 -> logits [batch, classes]
///   mobilenet_v1  images f32 [batch, channels, height, width] -> logits [batch, classes]
///   transformer   tokens i64 [batch, t] -> logits [batch, t, vocabulary]; attention masked to its pattern
/// `state` has Lacuna's names and shapes (a checkpoint's). Throws CheckpointError when weights are missing or do not
/// fit the config, DataError past ONNX's 2 GiB, and from attention pattern files.
std::string onnx_model(const RunConfig& config, const interop::State& state);

}  // namespace lacuna
