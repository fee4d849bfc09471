#include "train/phase_timer.h"

#include <chrono>

#include "kernels/runtime/runtime.h"

namespace lacuna {
namespace {

std::int64_t now_ns() {
  return std::chrono::duration_cast<std::chrono::nanoseconds>(std::chrono::steady_clock::now().time_since_epoch())
      .count();
}

}  // namespace

const char* to_string(Phase phase) {
  constexpr std::array<const char*, kNumPhases> kNames{"data", "pruning", "forward", "backward", "optimizer", "graph"};
  return kNames[static_cast<std::size_t>(phase)];
}

#if LACUNA_HAS_CUDA
struct PhaseTimer::Span {
  Span(Phase p, CudaStream stream) : phase(p), timer(stream) {}
  Phase phase;
  runtime::CudaTimer timer;
};
#else
struct PhaseTimer::Span {};
#endif

PhaseTimer::PhaseTimer(Device device) : device_(device) {}
PhaseTimer::~PhaseTimer() = default;

void PhaseTimer::begin(Phase phase) {
  phase_ = phase;
  began_ns_ = now_ns();
#if LACUNA_HAS_CUDA
  // The host's waiting for data is not on the stream: it stays on the clock.
  if (device_.is_cuda() && phase != Phase::data) {
    spans_.push_back(std::make_unique<Span>(phase, cuda_stream(device_)));
    spans_.back()->timer.start();
  }
#endif
}

void PhaseTimer::end() {
#if LACUNA_HAS_CUDA
  if (device_.is_cuda() && phase_ != Phase::data) {
    spans_.back()->timer.stop();
    return;
  }
#endif
  total_ms_[static_cast<std::size_t>(phase_)] += static_cast<double>(now_ns() - began_ns_) * 1e-6;
}

std::array<double, kNumPhases> PhaseTimer::milliseconds() {
#if LACUNA_HAS_CUDA
  for (auto& span : spans_) total_ms_[static_cast<std::size_t>(span->phase)] += span->timer.milliseconds();
  spans_.clear();
#endif
  return total_ms_;
}

void PhaseTimer::reset() {
  spans_.clear();
  total_ms_ = {};
}

}  // namespace lacuna
