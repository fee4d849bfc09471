// Timing forward passes of networks that are ready for inference: variants of one network in turns.
#pragma once

#include <cstdint>
#include <memory>
#include <nlohmann/json.hpp>
#include <optional>
#include <string>
#include <vector>

#include "app/bench/statistics.h"
#include "layers/module.h"

namespace lacuna::bench {

/// How a pass was run and what it took. Without numbers when it could not run: `error` says why.
struct InferMode {
  std::string mode;  ///< "eager", "graph" or "unfolded"
  Spread seconds;    ///< of one pass
  std::int64_t samples = 0;
  std::int64_t calls_per_sample = 1;
  std::size_t peak_bytes = 0;
  std::optional<std::size_t> graph_bytes;
  std::string error;
};

/// One network in one storage.
struct InferVariant {
  std::string variant;  ///< "sparse" or "dense"
  std::unique_ptr<Module> model;
  double sparsity = 0;              ///< of the prunable weights
  std::int64_t weights = 0;         ///< numbers, were all dense
  std::int64_t stored_weights = 0;  ///< numbers
  std::size_t weight_bytes = 0;     ///< with buffers
  std::size_t pattern_bytes = 0;
  double flops = 0;  ///< of a pass
  double dense_flops = 0;
  std::vector<InferMode> modes;
  std::string kernels;  ///< a table of the pass's kernels, where one was asked for
  std::size_t model_bytes() const { return weight_bytes + pattern_bytes; }
};

struct InferOptions {
  double seconds = 1;  ///< of timed passes for each variant and mode
  bool unfolded = false;
  double bound = 1e-4;       ///< on `agreement`
  bool compare = false;      ///< the variants compute the same function
  bool bf16 = false;         ///< products and activations in bf16 (docs/precision.md)
  std::int64_t kernels = 0;  ///< most kernels listed of a variant, in the last mode it runs in; on CUDA
};

struct InferResult {
  std::vector<InferVariant> variants;  ///< sparse first, then its twin
  std::optional<double> agreement;     ///< largest difference of their outputs over the largest output
  double bound = 0;
  Shape output_shape;
};

/// Times every mode of every variant on `inputs` (on the models' device) and fills in its numbers. The models are
/// prepared for inference on the way.
InferResult measure_inference(std::vector<InferVariant> variants, const Tensor& inputs, const InferOptions& options);

/// "variants" and "ratios" of docs/inference.md, `items` per pass.
nlohmann::ordered_json variants_json(const InferResult& result, double items);
nlohmann::ordered_json ratios_json(const InferResult& result);

}  // namespace lacuna::bench
