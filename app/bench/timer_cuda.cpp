#include <algorithm>
#include <cmath>
#include <memory>
#include <vector>

#include "app/bench/timer.h"
#include "core/memory_pool.h"
#include "core/visit.h"
#include "kernels/runtime/cuda_check.h"

namespace lacuna::bench {

namespace {

constexpr double kLeastBlock = 300e-6;  // seconds; an event's grain and a graph's start stay below 1 %
constexpr int kMostCalls = 400;         // per graph
constexpr int kMostPatterns = 16;       // a problem's copies of its pattern

class Events {
 public:
  explicit Events(std::size_t count) : events_(count) {
    for (cudaEvent_t& e : events_) LACUNA_CUDA_CHECK(cudaEventCreate(&e));
  }
  ~Events() {
    for (const cudaEvent_t e : events_) cudaEventDestroy(e);
  }
  Events(const Events&) = delete;
  Events& operator=(const Events&) = delete;
  void record(int i, cudaStream_t stream) {
    LACUNA_CUDA_CHECK(cudaEventRecord(events_[static_cast<std::size_t>(i)], stream));
  }
  double seconds(int from, int to) {
    float ms = 0;
    LACUNA_CUDA_CHECK(cudaEventSynchronize(events_[static_cast<std::size_t>(to)]));
    LACUNA_CUDA_CHECK(
        cudaEventElapsedTime(&ms, events_[static_cast<std::size_t>(from)], events_[static_cast<std::size_t>(to)]));
    return ms * 1e-3;
  }

 private:
  std::vector<cudaEvent_t> events_;
};

struct DestroyGraph {
  void operator()(cudaGraphExec_t graph) const { cudaGraphExecDestroy(graph); }
};
using Graph = std::unique_ptr<CUgraphExec_st, DestroyGraph>;

/// The calls as one executable graph; null when something in them refuses to be captured.
Graph capture(cudaStream_t stream, const std::function<void(int)>& run, int calls) {
  if (cudaStreamBeginCapture(stream, cudaStreamCaptureModeRelaxed) != cudaSuccess) {
    cudaGetLastError();
    return nullptr;
  }
  bool good = true;
  try {
    for (int i = 0; i < calls; ++i) run(i);
  } catch (...) {  // whatever it was, the stream must not stay in capture; run outside, it will show itself
    good = false;
  }
  cudaGraph_t graph = nullptr;
  good = cudaStreamEndCapture(stream, &graph) == cudaSuccess && good;
  cudaGraphExec_t made = nullptr;
  if (good) good = cudaGraphInstantiate(&made, graph, 0) == cudaSuccess;
  if (graph) cudaGraphDestroy(graph);
  cudaGetLastError();
  return Graph(good ? made : nullptr);
}

class CudaStopwatch : public Stopwatch {
 public:
  CudaStopwatch(Device device, const std::function<void(int)>& run, int rotation)
      : stream_(static_cast<cudaStream_t>(cuda_stream(device).handle)), run_(run), memory_(device) {
    // Derived data of every copy of the pattern must be there before capture, and before the estimate: building waits.
    for (int i = 0; i < std::min(rotation, kMostPatterns); ++i) run_(i);
    Events events(2);
    const int probes = std::clamp(rotation, 2, 4);
    events.record(0, stream_);
    for (int i = 0; i < probes; ++i) run_(i);
    events.record(1, stream_);
    prepare_block(kLeastBlock / std::max(events.seconds(0, 1) / probes, 1e-7), rotation);
    // The estimate holds launch gaps, which a graph has not: its blocks may come out much shorter than planned.
    if (graph_ && block_seconds_ < kLeastBlock / 2 && calls_ < std::max(rotation, kMostCalls))
      prepare_block(calls_ * kLeastBlock / block_seconds_, rotation);
  }
  ~CudaStopwatch() override { cudaStreamSynchronize(stream_); }  // before the graph goes
  CudaStopwatch(const CudaStopwatch&) = delete;
  CudaStopwatch& operator=(const CudaStopwatch&) = delete;

  void measure(const TimingBudget& budget) override {
    translate_failures("bench", [&] {
      const int blocks = std::clamp(static_cast<int>(budget.seconds / budget.rounds / block_seconds_),
                                    budget.least_blocks, budget.most_blocks);
      Events events(static_cast<std::size_t>(blocks) + 1);
      block();  // without a mark of its own: the host gets ahead of the device, and gaps vanish
      events.record(0, stream_);
      for (int i = 0; i < blocks; ++i) {
        block();
        events.record(i + 1, stream_);
      }
      for (int i = 0; i < blocks; ++i) blocks_.push_back(events.seconds(i, i + 1) / calls_);
    });
  }

 private:
  /// A block of about `wanted` calls, whole rotations of them, timed once.
  void prepare_block(double wanted, int rotation) {
    const int calls = static_cast<int>(std::min(std::ceil(wanted), double{kMostCalls}));
    const int rotations = (calls + rotation - 1) / rotation;
    calls_ = std::min(rotations * rotation, std::max(rotation, kMostCalls));
    {
      const MemoryPool::Scope scope(memory_);  // as in a captured step: a graph that allocates keeps its kernels apart
      graph_ = capture(stream_, run_, calls_);
    }
    method_ = graph_ ? "graph" : "stream";
    Events events(2);
    block();
    events.record(0, stream_);
    block();
    events.record(1, stream_);
    block_seconds_ = std::max(events.seconds(0, 1), 1e-7);
  }
  void block() {
    if (graph_) {
      LACUNA_CUDA_CHECK(cudaGraphLaunch(graph_.get(), stream_));
    } else {
      for (int i = 0; i < calls_; ++i) run_(i);
    }
  }

  cudaStream_t stream_;
  const std::function<void(int)>& run_;
  MemoryPool memory_;  // outlives the graph whose kernels name it
  Graph graph_;
  double block_seconds_ = 0;
};

}  // namespace

std::unique_ptr<Stopwatch> make_cuda_stopwatch(Device device, const std::function<void(int)>& run, int rotation) {
  std::unique_ptr<Stopwatch> made;
  translate_failures("bench", [&] { made = std::make_unique<CudaStopwatch>(device, run, rotation); });
  return made;
}

}  // namespace lacuna::bench
