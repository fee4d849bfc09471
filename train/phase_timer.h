// Where a training step's time goes.
#pragma once

#include <array>
#include <cstdint>
#include <memory>
#include <vector>

#include "core/device.h"

namespace lacuna {

/// `graph`: forward, backward and optimizer together, where they are one CUDA graph.
enum class Phase : std::uint8_t { data, pruning, forward, backward, optimizer, graph };
inline constexpr int kNumPhases = 6;
const char* to_string(Phase phase);

/// Sums the time of each phase over steps. On the CPU by the clock; on CUDA by events on the stream, which are read only
/// by milliseconds(), so measuring does not make the host wait.
class PhaseTimer {
 public:
  explicit PhaseTimer(Device device);
  ~PhaseTimer();
  PhaseTimer(const PhaseTimer&) = delete;
  PhaseTimer& operator=(const PhaseTimer&) = delete;

  void begin(Phase phase);
  void end();
  /// Per phase, in total since reset(). Waits for the device.
  std::array<double, kNumPhases> milliseconds();
  void reset();

 private:
  struct Span;
  Device device_;
  std::vector<std::unique_ptr<Span>> spans_;
  std::array<double, kNumPhases> total_ms_{};
  Phase phase_ = Phase::data;
  std::int64_t began_ns_ = 0;
};

}  // namespace lacuna
