#include <fmt/format.h>

#include <algorithm>
#include <chrono>
#include <cstdio>
#include <optional>

#include "app/bench/kernel_table.h"
#include "app/commands.h"
#include "app/data_shape.h"
#include "app/session.h"
#include "core/errors.h"
#include "data/made_up.h"
#include "train/table.h"

namespace lacuna {
namespace {

using Clock = std::chrono::steady_clock;

double wall_ms_per_step(Trainer& trainer, Device device, std::int64_t steps, PhaseTimer* timer) {
  synchronize(device);
  const Clock::time_point start = Clock::now();
  for (std::int64_t i = 0; i < steps; ++i) trainer.advance(timer);
  synchronize(device);
  return std::chrono::duration<double, std::milli>(Clock::now() - start).count() / static_cast<double>(steps);
}

// The schedule is replaced: prune once, at the first step, to the wanted sparsity; then only plain steps.
RunConfig at_sparsity(RunConfig config, double sparsity, std::int64_t steps) {
  if (sparsity < 0) sparsity = config.pruning.method == "none" ? 0 : config.pruning.sparsity;
  if (sparsity == 0) config.pruning.method = "none";
  if (sparsity > 0) config.pruning = at_once(config.pruning);
  if (sparsity != config.pruning.sparsity) config.pruning.groups.clear();  // one sparsity for all that is pruned
  config.pruning.sparsity = sparsity;
  config.training.steps = steps;
  config.training.epochs = 0;
  return config;
}

Session open_for(const RunConfig& config, bool made_up_data) {
  if (made_up_data) return open_session(config, DataUse::made_up);
  try {
    return open_session(config);
  } catch (const DataError& error) {
    if (!data_is_absent(config.data)) throw;
    throw DataError(
        fmt::format("{}; --made-up-data times the step on random examples of its shape instead", error.what()));
  }
}

}  // namespace

int bench_step_command(const StepArguments& arguments) {
  constexpr std::int64_t kWarmup = 5;
  const std::int64_t steps = arguments.steps;
  const RunConfig config =
      at_sparsity(load_run_config(arguments.config, arguments.overrides), arguments.sparsity, 3 * steps + kWarmup);
  Session session = open_for(config, arguments.made_up_data);
  if (arguments.resident_batch)
    session.data.train =
        std::make_shared<ResidentBatch>(session.data.train, config.training.batch_size, session.device);
  const std::unique_ptr<Trainer> owned = make_trainer(session);
  Trainer& trainer = *owned;

  wall_ms_per_step(trainer, session.device, kWarmup, nullptr);
  reset_peak_memory(session.device);
  const double wait_before = trainer.data_wait_seconds();
  const double plain_ms =
      wall_ms_per_step(trainer, session.device, steps, nullptr);  // as training runs it: nothing measured inside
  const double wait_ms = (trainer.data_wait_seconds() - wait_before) * 1e3 / static_cast<double>(steps);
  PhaseTimer timer(session.device);
  const double timed_ms = wall_ms_per_step(trainer, session.device, steps, &timer);
  const auto phases = timer.milliseconds();
  const std::optional<runtime::GpuActivity> activity =
      bench::activity_of(session.device, [&] { wall_ms_per_step(trainer, session.device, steps, nullptr); });
  const IntervalMetrics metrics = trainer.read_metrics();
  if (metrics.diverged)
    throw DivergedError("bench", "the loss or a gradient is not finite; these timings would mean nothing");

  fmt::print("{} on {} ({}), sparsity {}, {} steps\n", config.name, to_string(session.device),
             device_name(session.device), format_percent(trainer.sparsity()), steps);
  Table table({{"phase", Align::left}, {"ms per step", Align::right}, {"share", Align::right}});
  double sum = 0;
  for (int p = 0; p < kNumPhases; ++p) {
    const double ms = phases[static_cast<std::size_t>(p)] / static_cast<double>(steps);
    const auto phase = static_cast<Phase>(p);
    const bool graph = phases[static_cast<std::size_t>(Phase::graph)] > 0;  // then in the place of three others
    const bool merged = phase == Phase::forward || phase == Phase::backward || phase == Phase::optimizer;
    if ((phase == Phase::graph) != graph && (phase == Phase::graph || merged)) continue;
    sum += ms;
    table.add_row({to_string(static_cast<Phase>(p)), fmt::format("{:.3f}", ms), format_percent(ms / timed_ms)});
  }
  table.add_row({"between phases", fmt::format("{:.3f}", std::max(timed_ms - sum, 0.0)),
                 format_percent(std::max(1 - sum / timed_ms, 0.0))});
  table.add_rule();
  table.add_row({"step, timed", fmt::format("{:.3f}", timed_ms), ""});
  table.add_row({"step, untimed", fmt::format("{:.3f}", plain_ms), ""});
  fmt::print("{}\n{:.4g} {} per second; waiting for data {:.3f} ms per step; peak memory {}\n", table.text(),
             session.items_per_step() / plain_ms * 1e3, session.items(), wait_ms,
             format_bytes(static_cast<double>(memory_stats(session.device).peak_bytes)));
  if (!session.data_note.empty()) fmt::print("{}\n", session.data_note);
  if (activity) {
    const double busy_ms = activity->busy_seconds * 1e3 / static_cast<double>(steps);
    fmt::print("device busy {:.3f} of {:.3f} ms per step: it waits for the host {} of the time\n", busy_ms, plain_ms,
               format_percent(std::max(0.0, 1 - busy_ms / plain_ms)));
    if (arguments.kernels > 0) fmt::print("{}", bench::kernel_table(*activity, steps, arguments.kernels, "step"));
  } else if (session.device.is_cuda()) {
    fmt::print("device busy time unknown: built without CUPTI, or the driver refuses its records\n");
  }
  return kExitDone;
}

}  // namespace lacuna
