// How calls are timed.
#pragma once

#include <cstddef>
#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "app/bench/statistics.h"
#include "core/device.h"

namespace lacuna::bench {

struct TimingBudget {
  double seconds = 0.01;  ///< of measured calls, per contender and problem; exceeded only by least_blocks
  int rounds = 3;         ///< contenders take turns, so that a clock that drifts or a neighbour's load meets them all
  int least_blocks = 2;   ///< per round
  int most_blocks = 40;
};

struct Timing {
  Spread seconds;  ///< of one call, over the blocks' means
  int blocks = 0;
  int calls = 0;       ///< per block
  std::string method;  ///< "graph", "stream" (a call could not be captured) or "host"
};

/// Times run(0), run(1), ... in blocks of at least a rotation each (CUDA) or 200 us (CPU).
/// CUDA: a block is one replay of a CUDA graph; blocks are queued back to back between events behind one that is not
/// measured, so that launching does not show. CPU: wall clock.
class Stopwatch {
 public:
  virtual ~Stopwatch() = default;
  /// One round: adds blocks.
  virtual void measure(const TimingBudget& budget) = 0;
  Timing timing() const;

 protected:
  std::vector<double> blocks_;  // seconds per call
  int calls_ = 1;
  std::string method_;
};

/// Warms up. `run` must outlive the stopwatch.
std::unique_ptr<Stopwatch> make_stopwatch(Device device, const std::function<void(int call)>& run, int rotation);

/// All rounds of one contender alone.
Timing time_calls(Device device, const std::function<void(int call)>& run, int rotation, const TimingBudget& budget);

/// The last-level cache of the device, in bytes: what rotating operands must exceed.
std::size_t cache_bytes(Device device);

#if LACUNA_HAS_CUDA
std::unique_ptr<Stopwatch> make_cuda_stopwatch(Device device, const std::function<void(int call)>& run, int rotation);
#endif

}  // namespace lacuna::bench
