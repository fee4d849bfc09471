#include "train/progress.h"

#include <sys/ioctl.h>
#include <unistd.h>

#include <algorithm>
#include <utility>

#include <fmt/format.h>

#include "train/table.h"

namespace lacuna {
namespace {

constexpr double kDecay = 0.95;
constexpr std::chrono::milliseconds kRedrawInterval{100};

/// Columns of the terminal; 0 when unknown. A line longer than that would wrap and could not be redrawn.
std::size_t terminal_width(std::FILE* out) {
  struct winsize size {};
  return ::ioctl(::fileno(out), TIOCGWINSZ, &size) == 0 ? size.ws_col : 0;
}

}  // namespace

std::string progress_line(const ProgressState& state, const std::string& items, std::optional<double> eta_s) {
  std::string line = fmt::format("step {}/{}", state.step, state.total_steps);
  if (state.total_steps > 0) {
    line += fmt::format("  {:.0f} %", 100.0 * static_cast<double>(state.step) / static_cast<double>(state.total_steps));
  }
  line += fmt::format("  loss {:.4f}  lr {:.3g}", state.loss, state.learning_rate);
  if (state.sparsity) line += "  sparsity " + format_percent(*state.sparsity);
  if (state.items_per_second) line += fmt::format("  {} {}/s", format_si(*state.items_per_second), items);
  if (eta_s) line += "  ETA " + format_duration(*eta_s);
  return line;
}

Progress::Progress(std::FILE* out, std::string items, Mode mode)
    : out_(out),
      items_(std::move(items)),
      live_(mode == Mode::live || (mode == Mode::automatic && ::isatty(::fileno(out)) == 1)) {}

Progress::~Progress() { finish(); }

std::optional<double> Progress::estimate_eta(const ProgressState& state, Clock::time_point now) {
  if (last_step_ >= 0 && state.step > last_step_) {
    seconds_ = kDecay * seconds_ + std::chrono::duration<double>(now - last_update_).count();
    steps_ = kDecay * steps_ + static_cast<double>(state.step - last_step_);
  }
  if (last_step_ < 0 || state.step != last_step_) last_update_ = now;
  last_step_ = state.step;
  if (steps_ == 0 || state.total_steps <= 0) return std::nullopt;
  return seconds_ / steps_ * static_cast<double>(state.total_steps - state.step);
}

void Progress::update(const ProgressState& state) {
  const Clock::time_point now = Clock::now();
  const std::optional<double> eta = estimate_eta(state, now);
  const std::string line = progress_line(state, items_, eta);
  if (!live_) {
    std::fprintf(out_, "%s\n", line.c_str());
    std::fflush(out_);
    return;
  }
  if (!drawn_.empty() && state.step < state.total_steps && now - last_draw_ < kRedrawInterval) return;
  last_draw_ = now;
  draw(line);
}

void Progress::draw(const std::string& line) {
  drawn_ = line;
  if (const std::size_t width = terminal_width(out_); width > 1) drawn_.resize(std::min(drawn_.size(), width - 1));
  std::fprintf(out_, "\r%s\x1b[K", drawn_.c_str());  // erases what a longer line left behind
  std::fflush(out_);
}

void Progress::message(const std::string& text) {
  if (drawn_.empty()) {
    std::fprintf(out_, "%s\n", text.c_str());
  } else {
    std::fprintf(out_, "\r\x1b[K%s\n%s", text.c_str(), drawn_.c_str());
  }
  std::fflush(out_);
}

void Progress::finish() {
  if (drawn_.empty()) return;
  std::fputs("\n", out_);
  std::fflush(out_);
  drawn_.clear();
}

}  // namespace lacuna
