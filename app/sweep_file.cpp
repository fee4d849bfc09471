#include "app/sweep_file.h"

#include <fmt/format.h>

#include <algorithm>
#include <map>
#include <optional>
#include <set>

#include "core/errors.h"
#include "train/config/document.h"
#include "train/config/load.h"
#include "train/config/suggest.h"

namespace lacuna {
namespace {

using config::Entry;
using config::Node;
using config::Place;
using config::Problem;

// A value in one line of YAML that reads back as the same node.
std::string inline_yaml(const Node& node) {
  std::string text;
  switch (node.kind) {
    case Node::Kind::null:
      return "null";
    case Node::Kind::scalar:
      if (!node.quoted) return node.text;
      for (const char c : node.text) {
        if (c == '"' || c == '\\') text += '\\';
        text += c;
      }
      return fmt::format("\"{}\"", text);
    case Node::Kind::list:
      for (const Node& item : node.items) text += (text.empty() ? "" : ", ") + inline_yaml(item);
      return fmt::format("[{}]", text);
    case Node::Kind::section:
      for (const Entry& entry : node.entries)
        text += (text.empty() ? "" : ", ") + entry.key + ": " + inline_yaml(entry.node);
      return fmt::format("{{{}}}", text);
  }
  return text;
}

// One "key: value" of the sweep, and where both stand.
struct Setting {
  std::string key, value;
  Place key_place, value_place;
  std::string text() const { return key + "=" + value; }
};
using Settings = std::vector<Setting>;

struct Axis {
  std::string key;
  Settings choices;
};

// Keys that the sweep itself gives each run.
constexpr const char* kOwnKeys[] = {"name", "output_dir"};

class Reader {
 public:
  Reader(const std::string& text, const std::string& file, const std::vector<std::string>& overrides)
      : file_(file), overrides_(overrides), root_(config::parse(text, file)) {}

  Sweep read(const std::string* base_text) {
    if (root_.kind != Node::Kind::section)
      throw ConfigError(fmt::format("{}:1:1: must be a section with 'name', 'base' and 'grid'", file_));
    take_apart();
    config::read(config::value_of(sweep_.config), root_, problems_);
    config::throw_problems(problems_, file_);
    std::string& text = sweep_.base_text;
    try {
      text = base_text ? *base_text : config::read_text(sweep_.config.base);
    } catch (const ConfigError& error) {
      problems_.push_back({root_.find("base")->node.place, error.what()});
      config::throw_problems(problems_, file_);
    }
    base_ = config::parse(text, sweep_.config.base);
    make_runs();
    return std::move(sweep_);
  }

 private:
  void report(const Place& place, std::string message) { problems_.push_back({place, std::move(message)}); }

  // Takes grid and also out of the root, so that what is left is a SweepConfig.
  void take_apart() {
    const std::vector<std::string> known{"name", "base", "output_dir", "grid", "also"};
    Place grid_place = root_.place;
    bool has_grid = false;
    std::vector<Entry> rest;
    for (Entry& entry : root_.entries) {
      if (entry.key == "grid") {
        if (has_grid) report(entry.place, "key 'grid' stands here a second time");
        has_grid = true;
        read_grid(entry.node);
      } else if (entry.key == "also") {
        read_also(entry.node);
      } else if (std::find(known.begin(), known.end(), entry.key) == known.end()) {
        report(entry.place, fmt::format("unknown key '{}'{}", entry.key, config::did_you_mean(entry.key, known)));
      } else {
        rest.push_back(std::move(entry));
      }
    }
    root_.entries = std::move(rest);
    if (!has_grid)
      report(grid_place, "key 'grid' is required: a section of dotted config keys, each with a list of values");
  }

  bool check_key(const std::string& where, const Entry& entry, std::set<std::string>& seen) {
    const std::size_t before = problems_.size();
    if (config::split_path(entry.key).empty())
      report(entry.place, fmt::format("'{}' in '{}' is no dotted key, such as pruning.sparsity", entry.key, where));
    if (!seen.insert(entry.key).second)
      report(entry.place, fmt::format("key '{}' stands in '{}' a second time", entry.key, where));
    for (const char* own : kOwnKeys)
      if (entry.key == own)
        report(entry.place, fmt::format("'{}' in '{}': the sweep gives each run its own", entry.key, where));
    for (const std::string& text : overrides_)
      if (text.substr(0, text.find('=')) == entry.key)
        report(entry.place, fmt::format("'{}' in '{}' is also given on the command line ({})", entry.key, where, text));
    return problems_.size() == before;
  }

  void read_grid(const Node& node) {
    if (node.kind != Node::Kind::section || node.entries.empty()) {
      report(node.place,
             fmt::format("'grid' must be a section of dotted config keys, each with a list of values, got {}",
                         node.kind == Node::Kind::section ? "an empty one" : config::given(node)));
      return;
    }
    std::set<std::string> keys;
    for (const Entry& entry : node.entries) {
      if (!check_key("grid", entry, keys)) continue;
      if (entry.node.kind != Node::Kind::list) {
        report(entry.node.place,
               entry.node.kind == Node::Kind::section
                   ? fmt::format(
                         "'{}' in 'grid' must be a list of values, got a section (write dotted keys: {}.{}: [...])",
                         entry.key, entry.key, entry.node.entries.empty() ? "x" : entry.node.entries[0].key)
                   : fmt::format("'{}' in 'grid' must be a list of values, got {} (write [x])", entry.key,
                                 config::given(entry.node)));
        continue;
      }
      if (entry.node.items.empty()) report(entry.node.place, fmt::format("'{}' in 'grid' has no values", entry.key));
      Axis axis{entry.key, {}};
      for (const Node& item : entry.node.items) {
        Setting setting{entry.key, inline_yaml(item), entry.place, item.place};
        for (const Setting& other : axis.choices)
          if (other.value == setting.value)
            report(item.place, fmt::format("'{}' in 'grid' has the value {} a second time", entry.key, setting.value));
        axis.choices.push_back(std::move(setting));
      }
      grid_.push_back(std::move(axis));
    }
  }

  void read_also(const Node& node) {
    if (node.kind != Node::Kind::list) {
      report(node.place, fmt::format("'also' must be a list of sections, such as [{{pruning.method: none}}], got {}",
                                     config::given(node)));
      return;
    }
    for (const Node& item : node.items) {
      if (item.kind != Node::Kind::section || item.entries.empty()) {
        report(item.place, fmt::format("an entry of 'also' must be a section of dotted config keys and values, got {}",
                                       config::given(item)));
        continue;
      }
      Settings settings;
      std::set<std::string> keys;
      for (const Entry& entry : item.entries)
        if (check_key("also", entry, keys))
          settings.push_back({entry.key, inline_yaml(entry.node), entry.place, entry.node.place});
      also_.push_back(std::move(settings));
    }
  }

  void make_runs() {
    // Nothing on the grid: its axes are multiplied out one after another, the last one fastest.
    std::vector<Settings> runs{{}};
    for (const Axis& axis : grid_) {
      if (runs.size() * axis.choices.size() > kMaxSweepRuns) {
        report(axis.choices.front().key_place, fmt::format("the grid has more than {} runs", kMaxSweepRuns));
        config::throw_problems(problems_, file_);
      }
      std::vector<Settings> next;
      for (const Settings& run : runs) {
        for (const Setting& choice : axis.choices) {
          next.push_back(run);
          next.back().push_back(choice);
        }
      }
      runs = std::move(next);
    }
    const auto seeds = std::find_if(grid_.begin(), grid_.end(), [](const Axis& axis) { return axis.key == "seed"; });
    for (const Settings& extra : also_) {
      const bool own_seed = std::any_of(extra.begin(), extra.end(), [](const Setting& s) { return s.key == "seed"; });
      if (seeds == grid_.end() || own_seed) {
        runs.push_back(extra);
        continue;
      }
      for (const Setting& seed : seeds->choices) {
        runs.push_back(extra);
        runs.back().push_back(seed);
      }
    }
    if (runs.size() > kMaxSweepRuns) {
      report(root_.place, fmt::format("{} runs; a sweep has at most {}", runs.size(), kMaxSweepRuns));
      config::throw_problems(problems_, file_);
    }
    for (const Settings& settings : runs) {
      for (const Setting& s : settings)
        if (std::find(sweep_.keys.begin(), sweep_.keys.end(), s.key) == sweep_.keys.end()) sweep_.keys.push_back(s.key);
    }
    base_problems_ = problems_with({});
    for (const Settings& settings : runs) add_run(settings);
    throw_lines();
  }

  // What is wrong with the base under the command line's overrides and these settings, as text.
  std::vector<Problem> read_base(const Settings& settings, RunConfig& run) const {
    Node root = base_;
    std::vector<std::string> texts = overrides_;
    for (const Setting& s : settings) texts.push_back(s.text());
    std::vector<Problem> problems;
    config::apply_overrides(root, texts, problems);
    config::read(config::value_of(run), root, problems);
    return problems;
  }

  std::set<std::string> problems_with(const Settings& settings) const {
    RunConfig run;
    std::set<std::string> lines;
    for (const Problem& problem : read_base(settings, run))
      lines.insert(config::to_string(problem, sweep_.config.base));
    return lines;
  }

  void add_run(const Settings& settings) {
    SweepRun run;
    const std::vector<Problem> problems = read_base(settings, run.config);
    for (const Problem& problem : problems) blame(problem, settings);
    std::string label = fmt::format("{:03}", sweep_.runs.size() + 1);
    for (const Setting& s : settings) {
      run.settings.emplace_back(s.key, s.value);
      label += "_" + s.key.substr(s.key.rfind('.') + 1) + "-" + s.value;
    }
    for (char& c : label)
      if (!is_run_name(std::string("x") + c)) c = '-';
    run.label = label.substr(0, 100);
    run.config.name = run.label;
    sweep_.runs.push_back(std::move(run));
  }

  // A problem of a run belongs to the setting in the sweep that made it, or to the base, or to both together.
  void blame(const Problem& problem, const Settings& settings) {
    const auto setting = std::find_if(settings.begin(), settings.end(), [&problem](const Setting& s) {
      return !problem.place.override_text.empty() && problem.place.override_text == s.text();
    });
    if (setting != settings.end()) {
      const bool key_is_wrong =
          problem.message.starts_with("unknown key") || problem.message.find("not a section") != std::string::npos;
      const std::string line =
          config::to_string({key_is_wrong ? setting->key_place : setting->value_place, problem.message}, file_);
      if (said_.insert(line).second) lines_.push_back(line);
      return;
    }
    const std::string line = config::to_string(problem, sweep_.config.base);
    if (base_problems_.count(line) > 0) {
      // The base alone is wrong, and this run does not mend it.
      if (said_.insert(line).second) lines_.push_back(line);
      return;
    }
    if (!said_.insert(line).second) return;  // one example of the settings is enough
    std::string with;
    for (const Setting& s : settings) with += (with.empty() ? "" : ", ") + s.text();
    lines_.push_back(config::to_string({settings.front().key_place, fmt::format("with {}: {}", with, line)}, file_));
  }

  void throw_lines() const {
    if (lines_.empty()) return;
    std::string text;
    for (const std::string& line : lines_) text += (text.empty() ? "" : "\n") + line;
    throw ConfigError(text);
  }

  std::string file_;
  std::vector<std::string> overrides_;
  Node root_, base_;
  std::vector<Axis> grid_;
  std::vector<Settings> also_;
  std::vector<Problem> problems_;        // in the sweep file itself
  std::set<std::string> base_problems_;  // of the base without any setting
  std::vector<std::string> lines_;       // of the runs
  std::set<std::string> said_;
  Sweep sweep_;
};

}  // namespace

void validate(const SweepConfig& c, const ReportProblem& problem) {
  if (!is_run_name(c.name))
    problem("name",
            fmt::format(
                "must be at most 100 letters, digits, '_', '.', '-', and begin with a letter, digit or '_', got '{}'",
                c.name));
}

Sweep parse_sweep(const std::string& text, const std::string& file, const std::vector<std::string>& overrides,
                  const std::string* base_text) {
  return Reader(text, file, overrides).read(base_text);
}

}  // namespace lacuna
