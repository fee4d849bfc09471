// The results of `bench infer` as docs/inference.md has them.
#include "app/bench/infer.h"

namespace lacuna::bench {

namespace {

using Json = nlohmann::ordered_json;

Json mode_json(const InferMode& m, double items) {
  const bool ran = m.error.empty();
  const auto number = [&](auto value) { return ran ? Json(value) : Json(); };
  Json latency;
  if (ran) {
    latency = {{"median", m.seconds.median * 1e3}, {"p10", m.seconds.p10 * 1e3}, {"p90", m.seconds.p90 * 1e3}};
  }
  return {{"mode", m.mode},
          {"latency_ms", latency},
          {"throughput_items_per_s", number(items / m.seconds.median)},
          {"peak_bytes", number(m.peak_bytes)},
          {"graph_bytes", m.graph_bytes ? Json(*m.graph_bytes) : Json()},
          {"samples", number(m.samples)},
          {"calls_per_sample", number(m.calls_per_sample)},
          {"error", ran ? Json() : Json(m.error)}};
}

const InferMode* ran(const InferVariant& variant, const std::string& mode) {
  for (const InferMode& m : variant.modes)
    if (m.mode == mode && m.error.empty()) return &m;
  return nullptr;
}

}  // namespace

Json variants_json(const InferResult& result, double items) {
  Json all = Json::array();
  for (const InferVariant& v : result.variants) {
    Json modes = Json::array();
    for (const InferMode& m : v.modes) modes.push_back(mode_json(m, items));
    all.push_back({{"variant", v.variant},
                   {"sparsity", v.sparsity},
                   {"weights", v.weights},
                   {"stored_weights", v.stored_weights},
                   {"weight_bytes", v.weight_bytes},
                   {"pattern_bytes", v.pattern_bytes},
                   {"model_bytes", v.model_bytes()},
                   {"forward_flops", v.flops},
                   {"dense_forward_flops", v.dense_flops},
                   {"modes", modes}});
  }
  return all;
}

Json ratios_json(const InferResult& result) {
  Json all = Json::array();
  if (result.variants.size() != 2) return all;
  const InferVariant &sparse = result.variants[0], &dense = result.variants[1];
  const auto ratio = [](auto above, auto below) { return static_cast<double>(above) / static_cast<double>(below); };
  for (const InferMode& m : sparse.modes) {
    const InferMode *a = ran(sparse, m.mode), *b = ran(dense, m.mode);
    if (!a || !b) continue;
    all.push_back({{"mode", m.mode},
                   {"speedup", ratio(b->seconds.median, a->seconds.median)},
                   {"memory", ratio(b->peak_bytes, a->peak_bytes)},
                   {"model_bytes", ratio(dense.model_bytes(), sparse.model_bytes())}});
  }
  return all;
}

}  // namespace lacuna::bench
