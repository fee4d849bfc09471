#include "app/bench/infer.h"

#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cmath>
#include <functional>

#include "app/bench/kernel_table.h"
#include "core/errors.h"
#include "core/visit.h"
#include "kernels/runtime/runtime.h"
#include "train/predictor.h"

namespace lacuna::bench {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

constexpr int kWarmup = 4;          // passes: plans, the libraries' choices, capture
constexpr int kRounds = 3;          // variants take turns
constexpr int kLeastSamples = 5;    // per round
constexpr int kMostSamples = 2000;  // per round

/// One mode of one variant while it is measured.
struct Candidate {
  InferMode result;
  std::function<void()> pass;
  std::vector<double> samples;  // seconds per pass
  std::int64_t calls = 1;
  double once = 0;  // seconds of a pass in warm-up
};

#if LACUNA_HAS_CUDA
/// Passes queued one behind another, each between two events.
void time_on_cuda(Candidate& c, Device device, double seconds) {
  // As many at once as fit the time: of passes of 0.1 s, 20 would take 2 s a round.
  const int at_once = static_cast<int>(std::clamp(seconds / c.once, double{kLeastSamples}, 20.0));
  const CudaStream stream = cuda_stream(device);
  std::vector<std::unique_ptr<runtime::CudaTimer>> timers;
  for (int i = 0; i < at_once; ++i) timers.push_back(std::make_unique<runtime::CudaTimer>(stream));
  const Clock::time_point start = Clock::now();
  for (int taken = 0; taken < kLeastSamples || (taken < kMostSamples && seconds_since(start) < seconds);
       taken += at_once) {
    for (auto& timer : timers) {
      timer->start();
      c.pass();
      timer->stop();
    }
    for (auto& timer : timers) c.samples.push_back(timer->milliseconds() * 1e-3);
  }
}
#endif

void time_on_host(Candidate& c, double seconds) {
  const Clock::time_point start = Clock::now();
  for (int taken = 0; taken < kLeastSamples || (taken < kMostSamples && seconds_since(start) < seconds); ++taken) {
    const Clock::time_point begin = Clock::now();
    for (std::int64_t i = 0; i < c.calls; ++i) c.pass();
    c.samples.push_back(seconds_since(begin) / static_cast<double>(c.calls));
  }
}

void measure_round(Candidate& c, Device device, double seconds) {
  if (!c.result.error.empty()) return;
#if LACUNA_HAS_CUDA
  if (device.is_cuda()) return translate_failures("bench", [&] { time_on_cuda(c, device, seconds); });
#endif
  (void)device;
  time_on_host(c, seconds);
}

/// Runs the pass until it is steady; fills in calls per sample and the peak of one pass.
void warm_up(Candidate& c, Device device, std::size_t resident_bytes) {
  constexpr double kLeastSample = 200e-6;  // well above the host clock's grain
  for (int i = 0; i < kWarmup; ++i) c.pass();
  synchronize(device);
  const std::size_t before = memory_stats(device).live_bytes;
  reset_peak_memory(device);
  const Clock::time_point start = Clock::now();
  c.pass();
  synchronize(device);
  c.once = std::max(seconds_since(start), 1e-8);
  const std::size_t peak = memory_stats(device).peak_bytes;
  c.result.peak_bytes = resident_bytes + (peak > before ? peak - before : 0);
  if (device.is_cpu()) c.calls = std::clamp<std::int64_t>(std::llround(std::ceil(kLeastSample / c.once)), 1, 10000);
  c.result.calls_per_sample = c.calls;
}

void take_turns(std::vector<Candidate>& candidates, Device device, double seconds) {
  for (int round = 0; round < kRounds; ++round)
    for (Candidate& c : candidates) measure_round(c, device, seconds / kRounds);
}

/// Replays launch what eager passes do: the later mode's table replaces the earlier one's.
void list_kernels(Candidate& c, InferVariant& variant, Device device, const InferOptions& options) {
  constexpr std::int64_t kPasses = 50;
  const auto activity = activity_of(device, [&] {
    for (std::int64_t i = 0; i < kPasses; ++i) c.pass();
    synchronize(device);
  });
  if (!activity) return;
  variant.kernels =
      fmt::format("{}, {}: device busy {:.4f} ms per pass\n{}", variant.variant, c.result.mode,
                  activity->busy_seconds * 1e3 / kPasses, kernel_table(*activity, kPasses, options.kernels, "pass"));
}

void finish(Candidate& c, InferVariant& variant) {
  if (c.result.error.empty()) {
    c.result.seconds = spread_of(c.samples);
    c.result.samples = static_cast<std::int64_t>(c.samples.size());
  }
  variant.modes.push_back(std::move(c.result));
}

void count_weights(InferVariant& v, const Shape& inputs) {
  std::int64_t prunable = 0, kept = 0;
  for (const Parameter* p : v.model->parameters()) {
    v.weights += p->shape().numel();
    v.stored_weights += p->nnz();
    v.weight_bytes += p->value().nbytes();
    if (!p->prunable) continue;
    prunable += p->shape().numel();
    kept += p->nnz();
  }
  for (const NamedBuffer& b : v.model->buffers()) v.weight_bytes += b.tensor->nbytes();
  v.sparsity = prunable == 0 ? 0 : 1 - static_cast<double>(kept) / static_cast<double>(prunable);
  std::vector<LayerPlan> lines;
  v.model->plan(inputs, "", lines);
  for (const LayerPlan& line : lines) {
    v.flops += line.flops;
    v.dense_flops += line.dense_flops;
  }
}

std::size_t pattern_bytes(Module& model) {
  std::size_t bytes = 0;
  for (const TopologyPtr& t : model.topologies()) bytes += t->bytes();
  return bytes;
}

void measure_unfolded(std::vector<InferVariant>& variants, const Tensor& inputs, const InferOptions& options) {
  std::vector<Candidate> candidates;
  for (InferVariant& v : variants) {
    Candidate& c = candidates.emplace_back();
    c.result.mode = "unfolded";
    c.pass = [&v, &inputs, &options] {
      ForwardContext context{.bf16 = options.bf16};
      v.model->forward(Var(inputs), context);
    };
    c.pass();
    std::size_t resident = inputs.nbytes() + pattern_bytes(*v.model);
    for (const Parameter* p : v.model->parameters()) resident += p->value().nbytes();
    for (const NamedBuffer& b : v.model->buffers()) resident += b.tensor->nbytes();
    warm_up(c, inputs.device(), resident);
  }
  take_turns(candidates, inputs.device(), options.seconds);
  for (std::size_t i = 0; i < variants.size(); ++i) finish(candidates[i], variants[i]);
}

double largest_difference(const Tensor& a, const Tensor& b) {
  const std::vector<double> x = a.to(kCpu).to(DType::f64).to_vector<double>();
  const std::vector<double> y = b.to(kCpu).to(DType::f64).to_vector<double>();
  double difference = 0, largest = 0;
  for (std::size_t i = 0; i < x.size(); ++i) {
    const double d = std::abs(x[i] - y[i]);
    difference = std::isnan(d) ? INFINITY : std::max(difference, d);
    largest = std::max(largest, std::abs(x[i]));
  }
  return largest == 0 ? INFINITY : difference / largest;  // outputs that are all 0 would agree with anything
}

}  // namespace

InferResult measure_inference(std::vector<InferVariant> variants, const Tensor& inputs, const InferOptions& options) {
  const Device device = inputs.device();
  InferResult result{.variants = std::move(variants), .bound = options.bound};
  if (options.unfolded) measure_unfolded(result.variants, inputs, options);

  std::vector<std::unique_ptr<Predictor>> predictors;
  std::vector<Candidate> candidates;
  std::vector<std::size_t> owner;
  std::vector<Tensor> outputs;
  for (std::size_t i = 0; i < result.variants.size(); ++i) {
    InferVariant& v = result.variants[i];
    v.model->prepare_for_inference();
    count_weights(v, inputs.shape());
    for (const bool graph : {false, true}) {
      if (graph && !device.is_cuda()) continue;
      predictors.push_back(std::make_unique<Predictor>(*v.model, inputs, graph, options.bf16));
      Predictor& predictor = *predictors.back();
      owner.push_back(i);
      Candidate& c = candidates.emplace_back();
      c.result.mode = graph ? "graph" : "eager";
      c.pass = [&predictor] { predictor.run(); };
      c.pass();  // builds what is derived from patterns
      v.pattern_bytes = pattern_bytes(*v.model);
      warm_up(c, device, v.model_bytes() + inputs.nbytes());
      if (!graph) {
        outputs.push_back(predictor.outputs().clone());
        result.output_shape = predictor.outputs().shape();
        continue;
      }
      if (!predictor.step().is_captured()) {
        c.result = {.mode = "graph", .error = predictor.step().refusal()};
        continue;
      }
      c.result.graph_bytes = predictor.step().reserved_bytes();
      c.result.peak_bytes = v.model_bytes() + inputs.nbytes() + *c.result.graph_bytes;
      if (largest_difference(outputs.back(), predictor.outputs()) != 0)
        c.result.error = "the graph's result is not that of eager passes";
    }
  }
  take_turns(candidates, device, options.seconds);
  for (std::size_t i = 0; i < candidates.size() && options.kernels > 0; ++i)
    if (candidates[i].result.error.empty()) list_kernels(candidates[i], result.variants[owner[i]], device, options);
  for (std::size_t i = 0; i < candidates.size(); ++i) finish(candidates[i], result.variants[owner[i]]);
  if (options.compare && outputs.size() == 2) result.agreement = largest_difference(outputs[0], outputs[1]);
  return result;
}

}  // namespace lacuna::bench
