#include "app/bench/summary.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <map>
#include <set>
#include <tuple>

namespace lacuna::bench {

namespace {

constexpr std::pair<double, const char*> kBins[] = {{0.55, "0.5"},  {0.65, "0.6"},   {0.75, "0.7"}, {0.85, "0.8"},
                                                    {0.925, "0.9"}, {0.965, "0.95"}, {2.0, "0.98"}};

using Group = std::vector<const Measurement*>;  // of one problem

std::map<std::string, Group> by_problem(const std::vector<Measurement>& all) {
  std::map<std::string, Group> groups;
  for (const Measurement& m : all) groups[m.problem()].push_back(&m);
  return groups;
}

bool timed(const Measurement& m) { return m.status == Status::ok && m.seconds() > 0; }

void fill(Comparison& c) {
  std::sort(c.ratios.begin(), c.ratios.end(), [](const Ratio& a, const Ratio& b) { return a.value < b.value; });
  std::vector<double> values;
  std::map<std::string, std::vector<double>> families;
  std::map<std::string, std::pair<std::vector<double>, double>> bins;  // ratios, sum of sparsities
  for (const Ratio& r : c.ratios) {
    values.push_back(r.value);
    families[r.ours->family].push_back(r.value);
    auto& [in_bin, sum] = bins[sparsity_label(r.ours->sparsity)];
    in_bin.push_back(r.value);
    sum += r.ours->sparsity;
  }
  const auto share_slower = [](const std::vector<double>& v) {
    return static_cast<double>(std::count_if(v.begin(), v.end(), [](double x) { return x < 1; })) /
           static_cast<double>(v.size());
  };
  c.geometric_mean = geometric_mean(values);
  c.lowest = values.front();
  c.highest = values.back();
  c.p10 = quantile(values, 0.1);
  c.median = quantile(values, 0.5);
  c.p90 = quantile(values, 0.9);
  c.slower = share_slower(values);
  std::vector<double> x, y;
  for (const auto& [label, bin] : bins) {  // labels sort as their numbers do
    const auto count = static_cast<double>(bin.first.size());
    c.bins.push_back({label, bin.second / count, static_cast<int>(bin.first.size()), geometric_mean(bin.first),
                      share_slower(bin.first)});
    x.push_back(c.bins.back().sparsity);
    y.push_back(c.bins.back().geometric_mean);
  }
  c.overtakes_at = crosses_one(x, y);
  for (const auto& [family, ratios] : families) c.families.emplace_back(family, geometric_mean(ratios));
}

std::vector<Comparison> compare(const std::map<std::string, Group>& groups, const std::vector<Measurement>& all) {
  using Key = std::tuple<Op, Precision, std::string, std::string>;
  std::vector<Key> order;
  std::map<Key, Comparison> found;
  const auto add = [&](const Measurement& ours, const Measurement& other, const std::string& name) {
    const Key key{ours.op, ours.precision, ours.contender, name};
    auto [it, is_new] = found.try_emplace(key);
    Comparison& c = it->second;
    if (is_new) {
      order.push_back(key);
      c.op = ours.op;
      c.precision = ours.precision;
      c.ours = ours.contender;
      c.baseline = name;
      c.baseline_is_dense = other.kind == Kind::dense;
    }
    c.ratios.push_back({other.seconds() / ours.seconds(), &ours, &other});
  };
  std::vector<std::string> problems;  // in the order of measuring, so that tables follow it
  std::set<std::string> seen;
  for (const Measurement& m : all)
    if (seen.insert(m.problem()).second) problems.push_back(m.problem());
  for (const std::string& name : problems) {
    const Group& group = groups.at(name);
    for (const Measurement* ours : group) {
      if (ours->kind != Kind::ours || !timed(*ours)) continue;
      const Measurement* best = nullptr;
      for (const Measurement* other : group)
        if (other->kind == Kind::sparse && timed(*other) && (!best || other->seconds() < best->seconds())) best = other;
      if (best) add(*ours, *best, kBestSparse);
      for (const Measurement* other : group)
        if (other->kind != Kind::ours && timed(*other)) add(*ours, *other, other->contender);
      // What dense math of a coarser precision would take for the same work, where it was measured too.
      for (const Precision coarser : kAllPrecisions) {
        if (coarser <= ours->precision) continue;
        const auto coarse = groups.find(problem_name(ours->op, coarser, ours->matrix, ours->n, ours->batch));
        if (coarse == groups.end()) continue;
        for (const Measurement* other : coarse->second) {
          if (other->kind == Kind::dense && timed(*other))
            add(*ours, *other, fmt::format("{} ({})", other->contender, to_string(coarser)));
        }
      }
    }
  }
  std::vector<Comparison> list;
  for (const Key& key : order) {
    fill(found[key]);
    list.push_back(std::move(found[key]));
  }
  std::stable_sort(list.begin(), list.end(), [](const Comparison& a, const Comparison& b) {
    return std::tie(a.op, a.precision, a.ours) < std::tie(b.op, b.precision, b.ours);
  });
  return list;
}

std::vector<Crossing> find_crossings(const std::vector<Comparison>& comparisons) {
  std::vector<Crossing> crossings;
  for (const Comparison& c : comparisons) {
    if (!c.baseline_is_dense) continue;
    std::map<std::string, std::map<double, std::vector<double>>> shapes;
    for (const Ratio& r : c.ratios) {
      const Measurement& o = *r.ours;
      std::string shape = fmt::format("{} {} x {} x {}", o.family, o.m, o.k, o.n);
      if (o.batch != 1) shape += fmt::format(", batch {}", o.batch);
      shapes[shape][std::round(o.sparsity * 1000) / 1000].push_back(r.value);
    }
    for (const auto& [shape, curve] : shapes) {
      if (curve.size() < 3) continue;
      std::vector<double> x, y;
      for (const auto& [sparsity, ratios] : curve) {
        x.push_back(sparsity);
        y.push_back(geometric_mean(ratios));
      }
      crossings.push_back({c.op, c.precision, c.ours, c.baseline, shape, crosses_one(x, y)});
    }
  }
  return crossings;
}

std::vector<Efficiency> efficiencies(const std::vector<Measurement>& all, const DeviceLimits& limits) {
  std::map<std::tuple<Op, Precision, std::string>, std::vector<const Measurement*>> groups;
  for (const Measurement& m : all)
    if (m.kind == Kind::ours && timed(m)) groups[{m.op, m.precision, m.contender}].push_back(&m);
  std::vector<Efficiency> list;
  for (const auto& [key, group] : groups) {
    Efficiency e{std::get<0>(key), std::get<1>(key), std::get<2>(key), static_cast<int>(group.size())};
    const auto fraction = [&](auto amount, double limit, double& best, double& median) {
      if (!(limit > 0)) return;
      std::vector<double> values;
      for (const Measurement* m : group) values.push_back(amount(*m) / m->seconds() / limit);
      best = *std::max_element(values.begin(), values.end());
      median = quantile(values, 0.5);
    };
    const auto flops = [](const Measurement& m) { return m.flops; };
    fraction(flops, 1, e.best_flops, e.median_flops);
    fraction(flops, limits.peak(e.precision), e.best_peak, e.median_peak);
    fraction([](const Measurement& m) { return m.gathered_bytes; }, limits.l1_bytes_per_second, e.best_l1, e.median_l1);
    fraction([](const Measurement& m) { return m.least_bytes; }, limits.copy_bytes_per_second, e.best_copy,
             e.median_copy);
    list.push_back(e);
  }
  return list;
}

}  // namespace

std::string sparsity_label(double sparsity) {
  for (const auto& [below, label] : kBins)
    if (sparsity < below) return label;
  return std::end(kBins)[-1].second;
}

Summary summarize(const std::vector<Measurement>& measurements, const DeviceLimits& limits) {
  Summary s;
  const auto groups = by_problem(measurements);
  s.problems = static_cast<int>(groups.size());
  for (const Measurement& m : measurements) {
    s.failed += m.status == Status::failed;
    s.errors += m.status == Status::error;
  }
  s.comparisons = compare(groups, measurements);
  s.crossings = find_crossings(s.comparisons);
  s.efficiencies = efficiencies(measurements, limits);
  return s;
}

}  // namespace lacuna::bench
