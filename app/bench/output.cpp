#include "app/bench/output.h"

#include <fmt/format.h>

#include <cmath>

namespace lacuna::bench {

namespace {

using Json = nlohmann::ordered_json;

Json number(double value) { return std::isfinite(value) ? Json(value) : Json(nullptr); }
Json fraction(double amount, double seconds, double limit) {
  return seconds > 0 && limit > 0 && amount > 0 ? number(amount / seconds / limit) : Json(nullptr);
}

/// One measurement as ordered (column, value); CSV and JSON share it.
Json columns(const Measurement& m, const DeviceLimits& limits) {
  const bool timed = m.status == Status::ok;
  const double seconds = timed ? m.seconds() : 0;
  const auto micro = [&](double s) { return timed ? number(s * 1e6) : Json(nullptr); };
  const auto checked = [&](Json value) { return m.checked && m.status != Status::error ? value : Json(nullptr); };
  const bool own_work = m.kind != Kind::dense;  // limits are read against useful work only
  return {
      {"op", to_string(m.op)},
      {"dtype", to_string(m.precision)},
      {"family", m.family},
      {"matrix", m.matrix},
      {"source", m.source},
      {"m", m.m},
      {"k", m.k},
      {"nnz", m.nnz},
      {"n", m.n},
      {"batch", m.batch},
      {"sparsity", number(m.sparsity)},
      {"row_cov", number(m.row_cov)},
      {"contender", m.contender},
      {"kind", to_string(m.kind)},
      {"status", to_string(m.status)},
      {"median_us", micro(m.timing.seconds.median)},
      {"p10_us", micro(m.timing.seconds.p10)},
      {"p90_us", micro(m.timing.seconds.p90)},
      {"blocks", m.timing.blocks},
      {"calls_per_block", m.timing.calls},
      {"rotation", m.rotation},
      {"timed_by", m.timing.method},
      {"gflops", fraction(m.work() * 1e-9, seconds, 1)},
      {"share_of_peak", fraction(m.work(), seconds, limits.peak(m.precision))},
      {"share_of_l1", own_work ? fraction(m.gathered_bytes, seconds, limits.l1_bytes_per_second) : Json(nullptr)},
      {"share_of_copy", own_work ? fraction(m.least_bytes, seconds, limits.copy_bytes_per_second) : Json(nullptr)},
      {"max_error", checked(number(m.check.max_error))},
      {"bound", checked(number(m.check.bound))},
      {"checked_rows", checked(m.check.checked_rows)},
      {"total_rows", checked(m.check.total_rows)},
      {"repeats", m.kind == Kind::ours ? checked(m.repeats) : Json(nullptr)},
      {"note", m.note},
  };
}

std::string csv_cell(const Json& value) {
  if (value.is_null()) return "";
  if (value.is_number_float()) return fmt::format("{:.6g}", value.get<double>());
  if (!value.is_string()) return value.dump();
  const auto text = value.get<std::string>();
  if (text.find_first_of(",\"\n\r") == std::string::npos) return text;
  std::string quoted = "\"";
  for (const char c : text) quoted += c == '"' ? std::string("\"\"") : std::string(1, c);
  return quoted + "\"";
}

Json comparison_json(const Comparison& c) {
  Json bins = Json::array(), families = Json::object();
  for (const SparsityBin& b : c.bins) {
    bins.push_back({{"sparsity", b.label},
                    {"mean_sparsity", number(b.sparsity)},
                    {"count", b.count},
                    {"geometric_mean", number(b.geometric_mean)},
                    {"slower_share", number(b.slower)}});
  }
  for (const auto& [family, mean] : c.families) families[family] = number(mean);
  return {{"op", to_string(c.op)},
          {"dtype", to_string(c.precision)},
          {"ours", c.ours},
          {"baseline", c.baseline},
          {"count", c.ratios.size()},
          {"geometric_mean", number(c.geometric_mean)},
          {"min", number(c.lowest)},
          {"p10", number(c.p10)},
          {"median", number(c.median)},
          {"p90", number(c.p90)},
          {"max", number(c.highest)},
          {"slower_share", number(c.slower)},
          {"overtakes_at_sparsity", number(c.overtakes_at)},
          {"by_sparsity", bins},
          {"by_family", families}};
}

}  // namespace

std::string to_csv(const std::vector<Measurement>& measurements, const DeviceLimits& limits) {
  std::string csv;
  const Json header = columns(Measurement{}, limits);
  for (const auto& [name, value] : header.items()) csv.append(csv.empty() ? "" : ",").append(name);
  csv += "\n";
  for (const Measurement& m : measurements) {
    std::string line;
    const Json cells = columns(m, limits);
    for (const auto& [name, value] : cells.items()) line.append(line.empty() ? "" : ",").append(csv_cell(value));
    csv += line + "\n";
  }
  return csv;
}

Json to_json(const std::vector<Measurement>& measurements, const Summary& summary, const DeviceLimits& limits,
             const Json& environment, const Json& options) {
  Json results = Json::array(), comparisons = Json::array(), crossings = Json::array(), efficiencies = Json::array();
  for (const Measurement& m : measurements) results.push_back(columns(m, limits));
  for (const Comparison& c : summary.comparisons) comparisons.push_back(comparison_json(c));
  for (const Crossing& c : summary.crossings) {
    crossings.push_back({{"op", to_string(c.op)},
                         {"dtype", to_string(c.precision)},
                         {"ours", c.ours},
                         {"baseline", c.baseline},
                         {"shape", c.shape},
                         {"overtakes_at_sparsity", number(c.sparsity)}});
  }
  const auto known = [](double value) { return value > 0 ? number(value) : Json(nullptr); };
  for (const Efficiency& e : summary.efficiencies) {
    efficiencies.push_back({{"op", to_string(e.op)},
                            {"dtype", to_string(e.precision)},
                            {"ours", e.ours},
                            {"count", e.count},
                            {"best_gflops", known(e.best_flops * 1e-9)},
                            {"median_gflops", known(e.median_flops * 1e-9)},
                            {"best_share_of_peak", known(e.best_peak)},
                            {"median_share_of_peak", known(e.median_peak)},
                            {"best_share_of_l1", known(e.best_l1)},
                            {"median_share_of_l1", known(e.median_l1)},
                            {"best_share_of_copy", known(e.best_copy)},
                            {"median_share_of_copy", known(e.median_copy)}});
  }
  return {{"schema", kJsonSchema},
          {"environment", environment},
          {"options", options},
          {"limits",
           {{"device", limits.name},
            {"compute_capability", limits.compute_capability},
            {"multiprocessors", limits.multiprocessors},
            {"clock_hz", known(limits.clock_hz)},
            {"cache_bytes", limits.cache_bytes},
            {"f32_flops", known(limits.f32_flops)},
            {"tf32_flops", known(limits.tf32_flops)},
            {"bf16_flops", known(limits.bf16_flops)},
            {"l1_bytes_per_second", known(limits.l1_bytes_per_second)},
            {"copy_bytes_per_second_measured", known(limits.copy_bytes_per_second)}}},
          {"results", results},
          {"summary",
           {{"problems", summary.problems},
            {"failed", summary.failed},
            {"errors", summary.errors},
            {"comparisons", comparisons},
            {"crossings", crossings},
            {"efficiencies", efficiencies}}}};
}

}  // namespace lacuna::bench
