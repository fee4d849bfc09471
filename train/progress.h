// What a run shows while it runs: one live line on a terminal, plain lines elsewhere.
#pragma once

#include <chrono>
#include <cstdint>
#include <cstdio>
#include <optional>
#include <string>

namespace lacuna {

struct ProgressState {
  std::int64_t step = 0;
  std::int64_t total_steps = 0;
  double loss = 0;
  double learning_rate = 0;
  std::optional<double> sparsity;          ///< left out when absent
  std::optional<double> items_per_second;  ///< in the unit given to Progress
};

/// "step 120/1000  12 %  loss 2.3456  lr 0.001  sparsity 45.2 %  12.3 k tokens/s  ETA 1:02".
std::string progress_line(const ProgressState& state, const std::string& items, std::optional<double> eta_s);

/// The step rate behind the ETA is an average over the run that forgets (time constant of about 20 updates), so a pause
/// for evaluation shows and fades.
class Progress {
 public:
  enum class Mode : std::uint8_t { automatic, live, plain };

  /// `items` is what throughput counts ("tokens", "images"). `automatic`: live when `out` is a terminal.
  Progress(std::FILE* out, std::string items, Mode mode = Mode::automatic);
  ~Progress();  ///< ends a live line
  Progress(const Progress&) = delete;
  Progress& operator=(const Progress&) = delete;

  bool is_live() const { return live_; }
  /// Redraws the live line, at most ten times a second (the last step always); elsewhere prints a line.
  void update(const ProgressState& state);
  /// Prints a line of its own; a live line is drawn again below it.
  void message(const std::string& text);
  /// Ends the live line, so that others may print.
  void finish();

 private:
  using Clock = std::chrono::steady_clock;
  std::optional<double> estimate_eta(const ProgressState& state, Clock::time_point now);
  void draw(const std::string& line);

  std::FILE* out_;
  std::string items_;
  bool live_ = false;
  std::string drawn_;  // the live line as it stands; empty when there is none
  Clock::time_point last_draw_;
  Clock::time_point last_update_;
  std::int64_t last_step_ = -1;
  double seconds_ = 0;  // decayed sums whose ratio is the time per step
  double steps_ = 0;
};

}  // namespace lacuna
