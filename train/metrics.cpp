#include "train/metrics.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>
#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "train/atomic_file.h"

namespace lacuna {
namespace {

using Json = nlohmann::ordered_json;

std::optional<Histogram> parse_histogram(const std::string& name, const Json& json) {
  const auto is_number = [&json](const char* key) { return json.contains(key) && json[key].is_number(); };
  if (!is_number("low") || !is_number("high") || !json.contains("counts") || !json["counts"].is_array())
    return std::nullopt;
  Histogram histogram{name, json["low"].get<double>(), json["high"].get<double>(), {}};
  for (const Json& count : json["counts"]) {
    if (!count.is_number()) return std::nullopt;
    histogram.counts.push_back(count.get<double>());
  }
  return histogram;
}

// Counts read better without ".0"; 2^53 is where doubles stop telling integers apart. JSON has no NaN: it becomes null.
Json to_json(double value) {
  if (value == std::floor(value) && std::abs(value) < 9007199254740992.0) return static_cast<std::int64_t>(value);
  return value;
}

std::optional<MetricsRecord> parse_line(std::string_view line) {
  const Json json = Json::parse(line, nullptr, false);
  if (!json.is_object() || !json.contains("step") || !json["step"].is_number_integer()) return std::nullopt;
  MetricsRecord record;
  record.step = json["step"].get<std::int64_t>();
  for (const auto& [key, value] : json.items()) {
    if (key == "step") continue;
    if (value.is_number()) {
      record.values.emplace_back(key, value.get<double>());
    } else if (value.is_null()) {
      record.values.emplace_back(key, std::numeric_limits<double>::quiet_NaN());
    } else if (auto histogram = value.is_object() ? parse_histogram(key, value) : std::nullopt) {
      record.histograms.push_back(std::move(*histogram));
    } else {
      return std::nullopt;
    }
  }
  return record;
}

/// Removes the records of later steps and returns the keys of those at `resume_step`.
std::set<std::string> keep_until(const std::filesystem::path& jsonl, std::optional<std::int64_t> resume_step) {
  std::set<std::string> keys;
  if (!resume_step || !std::filesystem::exists(jsonl)) return keys;
  std::string kept;
  for (const MetricsRecord& record : read_metrics(jsonl)) {
    if (record.step > *resume_step) continue;
    kept += to_json_line(record);
    if (record.step < *resume_step) continue;
    for (const auto& [key, value] : record.values) keys.insert(key);
  }
  write_file_atomically(jsonl, kept);
  return keys;
}

}  // namespace

MetricsWriter::MetricsWriter(const std::filesystem::path& jsonl, const std::filesystem::path& event_directory,
                             std::optional<std::int64_t> resume_step)
    : resume_step_(resume_step.value_or(-1)), resumed_keys_(keep_until(jsonl, resume_step)), file_(jsonl) {
  if (event_directory.empty()) return;
  if (resume_step) drop_events_after(event_directory, *resume_step);
  events_.emplace(event_directory);
}

void MetricsWriter::write(const MetricsRecord& record) {
  // A run that was killed after its last checkpoint evaluates again, with the same result.
  const auto is_there = [this](const auto& scalar) { return resumed_keys_.count(scalar.first) > 0; };
  if (record.step == resume_step_ && std::all_of(record.values.begin(), record.values.end(), is_there)) return;
  file_.append(to_json_line(record));
  if (events_) events_->write(record.step, record.values, record.histograms);
}

std::string to_json_line(const MetricsRecord& record) {
  Json json{{"step", record.step}};
  for (const auto& [key, value] : record.values) json[key] = to_json(value);
  for (const Histogram& h : record.histograms) {
    Json counts = Json::array();
    for (double count : h.counts) counts.push_back(to_json(count));
    json[h.name] = {{"low", to_json(h.low)}, {"high", to_json(h.high)}, {"counts", std::move(counts)}};
  }
  return json.dump() + "\n";
}

std::vector<MetricsRecord> read_metrics(const std::filesystem::path& jsonl) {
  const std::string text = read_text_file(jsonl);
  std::vector<MetricsRecord> records;
  std::size_t line_number = 1;
  for (std::size_t begin = 0; begin < text.size(); ++line_number) {
    const std::size_t end = text.find('\n', begin);
    if (end == std::string::npos) break;  // torn: every record ends in a line feed
    if (auto record = parse_line(std::string_view(text).substr(begin, end - begin))) {
      records.push_back(std::move(*record));
    } else {
      throw DataError("metrics", fmt::format("{}:{}: not a metrics record", jsonl.string(), line_number));
    }
    begin = end + 1;
  }
  return records;
}

}  // namespace lacuna
