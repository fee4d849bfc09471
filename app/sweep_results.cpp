#include "app/sweep_results.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <iterator>

#include "core/errors.h"
#include "train/metrics.h"
#include "train/run_directory.h"
#include "train/table.h"

namespace lacuna {
namespace {

using Json = nlohmann::ordered_json;

struct NumberName {
  const char* key;
  double SweepNumbers::*member;
};
constexpr NumberName kNumbers[] = {
    {"accuracy", &SweepNumbers::accuracy},
    {"bits_per_byte", &SweepNumbers::bits_per_byte},
    {"loss_nats", &SweepNumbers::loss_nats},
    {"sparsity", &SweepNumbers::sparsity},
    {"forward_flops_per_example", &SweepNumbers::forward_flops_per_example},
    {"dense_forward_flops_per_example", &SweepNumbers::dense_forward_flops_per_example},
    {"state_bytes", &SweepNumbers::state_bytes},
    {"peak_bytes", &SweepNumbers::peak_bytes},
    {"step_time_ms", &SweepNumbers::step_time_ms},
    {"training_s", &SweepNumbers::training_s},
};

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }

std::string csv_number(double value) { return std::isfinite(value) ? fmt::format("{:.9g}", value) : ""; }

std::string csv_text(const std::string& text) {
  if (text.find_first_of(",\"\r\n") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  quoted += '"';
  return quoted;
}

std::string setting(const std::vector<std::pair<std::string, std::string>>& settings, const std::string& key) {
  for (const auto& [name, value] : settings)
    if (name == key) return value;
  return "";
}

// "12.34 +- 0.05", without what there is not.
std::string plus_minus(const MeanAndDeviation& m, double scale, int decimals, const char* unit) {
  if (!std::isfinite(m.mean)) return "-";
  std::string text = fmt::format("{:.{}f}", scale * m.mean, decimals);
  if (std::isfinite(m.deviation)) text += fmt::format(" +- {:.{}f}", scale * m.deviation, decimals);
  return text + unit;
}

/// The median of the last quarter of what the log points measured. From the file, so that a run that was killed and went
/// on is judged alike.
double settled_step_ms(const std::filesystem::path& metrics) {
  std::vector<double> times;
  for (const MetricsRecord& record : read_metrics(metrics))
    for (const auto& [key, value] : record.values)
      if (key == "step_time_ms" && std::isfinite(value)) times.push_back(value);
  if (times.empty()) return NAN;
  times.erase(times.begin(), times.begin() + static_cast<std::ptrdiff_t>(times.size() * 3 / 4));
  const auto middle = times.begin() + static_cast<std::ptrdiff_t>(times.size() / 2);
  std::nth_element(times.begin(), middle, times.end());
  return *middle;
}

}  // namespace

SweepNumbers numbers_of(const TrainingRunResult& result) {
  SweepNumbers n;
  if (result.test) {
    n.accuracy = result.test->accuracy;
    n.loss_nats = result.test->loss;
    if (result.is_text) n.bits_per_byte = result.test->bits_per_target();
  }
  n.sparsity = result.sparsity;
  n.forward_flops_per_example = result.flops.effective;
  n.dense_forward_flops_per_example = result.flops.dense;
  n.state_bytes = static_cast<double>(result.bytes.total());
  n.peak_bytes = static_cast<double>(result.peak_bytes);
  n.step_time_ms = settled_step_ms(RunDirectory{result.directory}.metrics());
  n.training_s = result.training_s;
  return n;
}

Json to_json(const SweepResult& result) {
  Json json{{"status", result.status}, {"directory", result.directory.string()}};
  if (!result.error.empty()) json["error"] = result.error;
  for (const NumberName& n : kNumbers) json[n.key] = number(result.numbers.*n.member);
  return json;
}

SweepResult result_from_json(const std::string& text, const std::filesystem::path& file) {
  const Json json = Json::parse(text, nullptr, false);
  const auto is_text = [&json](const char* key) { return json.contains(key) && json[key].is_string(); };
  if (!json.is_object() || !is_text("status") || !is_text("directory") || json["status"] != "finished")
    throw DataError("sweep",
                    fmt::format("'{}': not a finished run's result; remove it to run that one anew", file.string()));
  SweepResult result{"finished", "", json["directory"].get<std::string>(), {}};
  for (const NumberName& n : kNumbers)
    if (json.contains(n.key) && json[n.key].is_number()) result.numbers.*n.member = json[n.key].get<double>();
  return result;
}

MeanAndDeviation mean_and_deviation(const std::vector<double>& values) {
  MeanAndDeviation m;
  if (values.empty()) return m;
  const auto n = static_cast<double>(values.size());
  m.mean = 0;
  for (double v : values) m.mean += v / n;
  if (values.size() < 2) return m;
  double squares = 0;
  for (double v : values) squares += (v - m.mean) * (v - m.mean);
  m.deviation = std::sqrt(squares / (n - 1));
  return m;
}

MeanAndDeviation SweepGroup::over(double SweepNumbers::*member) const {
  std::vector<double> values;
  for (const SweepNumbers& numbers : finished)
    if (std::isfinite(numbers.*member)) values.push_back(numbers.*member);
  return mean_and_deviation(values);
}

MeanAndDeviation SweepGroup::flops_share() const {
  std::vector<double> values;
  for (const SweepNumbers& n : finished)
    if (n.dense_forward_flops_per_example > 0)
      values.push_back(n.forward_flops_per_example / n.dense_forward_flops_per_example);
  return mean_and_deviation(values);
}

std::vector<SweepGroup> group_runs(const Sweep& sweep, const std::vector<SweepResult>& results) {
  std::vector<SweepGroup> groups;
  for (std::size_t i = 0; i < sweep.runs.size(); ++i) {
    auto settings = sweep.runs[i].settings;
    std::erase_if(settings, [](const auto& s) { return s.first == "seed"; });
    auto group =
        std::find_if(groups.begin(), groups.end(), [&](const SweepGroup& g) { return g.settings == settings; });
    if (group == groups.end()) group = groups.insert(groups.end(), {settings, 0, {}});
    ++group->num_runs;
    if (results[i].status == "finished") group->finished.push_back(results[i].numbers);
  }
  return groups;
}

bool judged_by_bits(const std::vector<SweepGroup>& groups) {
  return std::any_of(groups.begin(), groups.end(),
                     [](const SweepGroup& g) { return std::isfinite(g.over(&SweepNumbers::bits_per_byte).mean); });
}

std::string sweep_table(const Sweep& sweep, const std::vector<SweepGroup>& groups) {
  std::vector<Table::Column> columns;
  std::vector<std::string> keys;
  for (const std::string& key : sweep.keys)
    if (key != "seed") keys.push_back(key);
  for (const std::string& key : keys) columns.push_back({key, Align::left});
  const bool bits = judged_by_bits(groups);
  for (const char* title :
       {"runs", bits ? "bits per byte" : "accuracy", "sparsity", "FLOPs of dense", "bytes", "step time"})
    columns.push_back({title, Align::right});
  Table table(columns);
  for (const SweepGroup& g : groups) {
    std::vector<std::string> cells;
    for (const std::string& key : keys) cells.push_back(setting(g.settings, key));
    cells.push_back(g.finished.size() == g.num_runs ? std::to_string(g.num_runs)
                                                    : fmt::format("{} of {}", g.finished.size(), g.num_runs));
    cells.push_back(bits ? plus_minus(g.over(&SweepNumbers::bits_per_byte), 1, 4, "")
                         : plus_minus(g.over(&SweepNumbers::accuracy), 100, 2, " %"));
    const double bytes = g.over(&SweepNumbers::state_bytes).mean;
    const auto percent = [](double share) { return std::isfinite(share) ? format_percent(share) : "-"; };
    cells.push_back(percent(g.over(&SweepNumbers::sparsity).mean));
    cells.push_back(percent(g.flops_share().mean));
    cells.push_back(std::isfinite(bytes) ? format_bytes(bytes) : "-");
    cells.push_back(plus_minus(g.over(&SweepNumbers::step_time_ms), 1, 2, " ms"));
    table.add_row(std::move(cells));
  }
  return table.text();
}

std::string sweep_csv(const Sweep& sweep, const std::vector<SweepGroup>& groups) {
  std::vector<std::string> cells;
  for (const std::string& key : sweep.keys)
    if (key != "seed") cells.push_back(csv_text(key));
  cells.insert(cells.end(), {"num_runs", "num_finished"});
  for (const NumberName& n : kNumbers)
    cells.insert(cells.end(), {fmt::format("{}_mean", n.key), fmt::format("{}_std", n.key)});
  std::string csv = fmt::format("{}\n", fmt::join(cells, ","));
  for (const SweepGroup& g : groups) {
    cells.clear();
    for (const std::string& key : sweep.keys)
      if (key != "seed") cells.push_back(csv_text(setting(g.settings, key)));
    cells.insert(cells.end(), {std::to_string(g.num_runs), std::to_string(g.finished.size())});
    for (const NumberName& n : kNumbers) {
      const MeanAndDeviation m = g.over(n.member);
      cells.insert(cells.end(), {csv_number(m.mean), csv_number(m.deviation)});
    }
    fmt::format_to(std::back_inserter(csv), "{}\n", fmt::join(cells, ","));
  }
  return csv;
}

std::string sweep_runs_csv(const Sweep& sweep, const std::vector<SweepResult>& results) {
  std::vector<std::string> cells{"run"};
  for (const std::string& key : sweep.keys) cells.push_back(csv_text(key));
  cells.push_back("status");
  for (const NumberName& n : kNumbers) cells.emplace_back(n.key);
  std::string csv = fmt::format("{}\n", fmt::join(cells, ","));
  for (std::size_t i = 0; i < results.size(); ++i) {
    cells = {sweep.runs[i].label};
    for (const std::string& key : sweep.keys) cells.push_back(csv_text(setting(sweep.runs[i].settings, key)));
    cells.push_back(results[i].status);
    for (const NumberName& n : kNumbers) cells.push_back(csv_number(results[i].numbers.*n.member));
    fmt::format_to(std::back_inserter(csv), "{}\n", fmt::join(cells, ","));
  }
  return csv;
}

Json sweep_json(const Sweep& sweep, const std::vector<SweepResult>& results) {
  const auto settings_json = [](const auto& settings) {
    Json json = Json::object();
    for (const auto& [key, value] : settings) json[key] = value;
    return json;
  };
  Json groups = Json::array(), runs = Json::array();
  for (const SweepGroup& g : group_runs(sweep, results)) {
    Json json{{"settings", settings_json(g.settings)}, {"num_runs", g.num_runs}, {"num_finished", g.finished.size()}};
    for (const NumberName& n : kNumbers) {
      const MeanAndDeviation m = g.over(n.member);
      json[n.key] = {{"mean", number(m.mean)}, {"std", number(m.deviation)}};
    }
    groups.push_back(std::move(json));
  }
  for (std::size_t i = 0; i < results.size(); ++i) {
    Json json{{"run", sweep.runs[i].label}, {"settings", settings_json(sweep.runs[i].settings)}};
    json.update(to_json(results[i]));
    runs.push_back(std::move(json));
  }
  return {{"name", sweep.config.name},
          {"base", sweep.config.base},
          {"groups", std::move(groups)},
          {"runs", std::move(runs)}};
}

}  // namespace lacuna
