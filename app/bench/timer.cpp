#include "app/bench/timer.h"

#include <unistd.h>

#include <algorithm>
#include <chrono>
#include <cmath>

#include "app/bench/limits.h"

namespace lacuna::bench {

namespace {

using Clock = std::chrono::steady_clock;

double seconds_since(Clock::time_point start) { return std::chrono::duration<double>(Clock::now() - start).count(); }

class HostStopwatch : public Stopwatch {
 public:
  explicit HostStopwatch(const std::function<void(int)>& run) : run_(run) {
    constexpr double kLeastBlock = 200e-6;  // well above the clock's grain and one team's start
    method_ = "host";
    run_(0);
    const Clock::time_point start = Clock::now();
    run_(1);
    const double estimate = std::max(seconds_since(start), 1e-8);
    calls_ = std::clamp(static_cast<int>(std::ceil(kLeastBlock / estimate)), 1, 10000);
  }
  void measure(const TimingBudget& budget) override {
    run_(next_++);  // the caches of a contender's turn are its own again
    const Clock::time_point begin = Clock::now();
    for (int block = 0; block < budget.least_blocks ||
                        (block < budget.most_blocks && seconds_since(begin) < budget.seconds / budget.rounds);
         ++block) {
      const Clock::time_point start = Clock::now();
      for (int i = 0; i < calls_; ++i) run_(next_++);
      blocks_.push_back(seconds_since(start) / calls_);
    }
  }

 private:
  const std::function<void(int)>& run_;
  int next_ = 2;
};

}  // namespace

Timing Stopwatch::timing() const { return {spread_of(blocks_), static_cast<int>(blocks_.size()), calls_, method_}; }

std::unique_ptr<Stopwatch> make_stopwatch([[maybe_unused]] Device device, const std::function<void(int)>& run,
                                          [[maybe_unused]] int rotation) {
#if LACUNA_HAS_CUDA
  if (device.is_cuda()) return make_cuda_stopwatch(device, run, rotation);
#endif
  return std::make_unique<HostStopwatch>(run);
}

Timing time_calls(Device device, const std::function<void(int)>& run, int rotation, const TimingBudget& budget) {
  const auto watch = make_stopwatch(device, run, rotation);
  for (int round = 0; round < budget.rounds; ++round) watch->measure(budget);
  return watch->timing();
}

std::size_t cache_bytes(Device device) {
  if (device.is_cuda()) return device_limits(device).cache_bytes;
  // Shared machines report the whole socket's L3; beyond 32 MB rotating would cost more memory than it tells.
  const long l3 = ::sysconf(_SC_LEVEL3_CACHE_SIZE);
  return static_cast<std::size_t>(std::clamp(l3, 8l << 20, 32l << 20));
}

}  // namespace lacuna::bench
