// CapturedStep: a step that is run as written a few times, then recorded once and replayed until what it depends on changes.
#pragma once

#include <functional>
#include <memory>
#include <string>
#include <vector>

#include "core/device.h"

namespace lacuna {

/// Records the device work of a function, and plays it back. On CUDA a graph of the device's stream; in tests a stand-in.
class Recorder {
 public:
  virtual ~Recorder() = default;
  /// Calls step() with its device work recorded instead of run; returns what runs it. Throws whatever step does, and
  /// DeviceError when something in the step cannot be recorded; nothing stays half-recorded then.
  virtual std::function<void()> record(const std::function<void()>& step) = 0;
};

/// CUDA graphs on the device's stream; null on the CPU, where there is nothing to gain.
std::unique_ptr<Recorder> make_recorder(Device device);

/// What the recorded work depends on: addresses of patterns and storage. A change makes the recording worthless.
using StepSignature = std::vector<const void*>;

/// The function given to run() must always mean the same work, read what varies from step to step from device memory at
/// fixed addresses, and change nothing on the host that a second call would not change in the same way.
class CapturedStep {
 public:
  enum class Ran : std::uint8_t {
    eager,     ///< as written: warming up, or without a recorder
    captured,  ///< recorded, then played for the first time
    replayed,
  };

  /// `warmup`: eager runs before the first capture, for what is built once (plans, state, libraries' choices). After a
  /// change of signature one eager run comes before the next capture. `recorder` null: every run is eager.
  explicit CapturedStep(Device device, std::unique_ptr<Recorder> recorder, int warmup = 2);
  ~CapturedStep();
  CapturedStep(const CapturedStep&) = delete;
  CapturedStep& operator=(const CapturedStep&) = delete;

  /// Does the step's work once. Throws whatever `step` throws when run eagerly. When it cannot be recorded, this and all
  /// later runs are eager, and refusal() says why.
  Ran run(const std::function<void()>& step, const StepSignature& signature = {});
  /// Drops the recording and its memory; the next run is eager. For changes that no signature shows.
  void invalidate();

  bool is_captured() const { return replay_ != nullptr; }
  /// Whether the step's work is being recorded or played: what it reads must lie on the device then.
  bool is_recorded_work() const { return recording_ || replay_ != nullptr; }
  int num_captures() const { return num_captures_; }
  const std::string& refusal() const { return refusal_; }
  /// Bytes kept reserved for replays; 0 without a recording.
  std::size_t reserved_bytes() const;

 private:
  void capture(const std::function<void()>& step);

  const Device device_;
  std::unique_ptr<Recorder> recorder_;
  int eager_runs_left_;
  int num_captures_ = 0;
  bool recording_ = false;
  StepSignature signature_;
  struct Recording;
  std::unique_ptr<Recording> replay_;
  std::string refusal_;
};

}  // namespace lacuna
