#include "app/run_config.h"

#include <fmt/format.h>

#include <algorithm>
#include <filesystem>
#include <string_view>

#include "core/errors.h"
#include "pruning/sparsity_schedule.h"
#include "train/config/load.h"

namespace lacuna {
namespace {

bool is_device(std::string_view text) {
  if (text == "auto" || text == "cpu" || text == "cuda") return true;
  if (!text.starts_with("cuda:")) return false;
  const std::string_view index = text.substr(5);
  return !index.empty() && index.size() <= 3 && index.find_first_not_of("0123456789") == std::string_view::npos;
}

/// Images read as sequences, whose length is the image's, whatever data.sequence_length says.
bool is_image_bytes(const std::string& type) { return type == "cifar10_bytes" || type == "image_folder_bytes"; }

/// Whether the data are sequences of tokens; otherwise they are images.
bool is_token_data(const std::string& type) {
  return type == "text" || type == "synthetic_tokens" || is_image_bytes(type);
}

void validate_model_and_data(const RunConfig& c, const ReportProblem& problem) {
  const auto* transformer = std::get_if<TransformerConfig>(&c.model);
  constexpr std::int64_t kMostLayers = 10000;  // without an end, making them would take all memory before it is refused
  if (transformer != nullptr && transformer->layers > kMostLayers)
    problem("model.layers", fmt::format("must be at most {}, got {}", kMostLayers, transformer->layers));
  const bool tokens = is_token_data(c.data.type);
  if ((transformer != nullptr) != tokens) {
    problem("data.type",
            fmt::format("must be {} for this model, got '{}'",
                        tokens ? "a set of images (cifar10, cifar100, idx, image_folder, synthetic)"
                               : "a set of tokens (text, cifar10_bytes, image_folder_bytes, synthetic_tokens)",
                        c.data.type));
    return;
  }
  if (transformer != nullptr && !is_image_bytes(c.data.type) && transformer->sequence_length != 0 &&
      transformer->sequence_length != c.data.sequence_length) {
    problem("model.sequence_length", fmt::format("must equal 'data.sequence_length' ({}), or be 0 to follow it, got {}",
                                                 c.data.sequence_length, transformer->sequence_length));
  }
}

void validate_pruning_length(const PruningConfig& c, const std::string& section, std::int64_t steps,
                             const ReportProblem& problem) {
  if (c.begin_step >= steps) {
    problem(section + "begin_step",
            fmt::format("must be below 'training.steps' ({}), or nothing is ever pruned, got {}", steps, c.begin_step));
  } else if (has_end(c) && c.end_step > steps) {
    problem(section + "end_step",
            fmt::format("must be at most 'training.steps' ({}), or the final sparsity is never reached, got {}", steps,
                        c.end_step));
  }
}

/// Only where the run's length is given in steps: epochs become steps when the data are open.
void validate_lengths(const RunConfig& c, const ReportProblem& problem) {
  constexpr double kMostEpochs = 1e9;  // times the most batches an epoch can have, steps still fit their 64 bits
  if (c.training.epochs > kMostEpochs)
    problem("training.epochs", fmt::format("must be at most {:g}, got {:g}", kMostEpochs, c.training.epochs));
  const std::int64_t steps = c.training.steps;
  if (steps == 0) return;
  if (const auto* cosine = std::get_if<CosineScheduleConfig>(&c.schedule);
      cosine != nullptr && cosine->warmup_steps >= steps) {
    problem("schedule.warmup_steps",
            fmt::format("must be below 'training.steps' ({}), got {}", steps, cosine->warmup_steps));
  }
  if (c.pruning.method == "none") return;
  validate_pruning_length(c.pruning, "pruning.", steps, problem);
  for (std::size_t i = 0; i < c.pruning.groups.size(); ++i)
    validate_pruning_length(for_group(c.pruning, c.pruning.groups[i]), fmt::format("pruning.groups.{}.", i), steps,
                            problem);
}

}  // namespace

bool is_run_name(std::string_view text) {
  constexpr std::string_view kCharacters = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-";
  // A name is a directory's: "." and ".." lead elsewhere, and one that begins with '-' reads as an option.
  return text.find_first_not_of(kCharacters) == std::string_view::npos && !text.empty() && text.front() != '.' &&
         text.front() != '-' && text.size() <= 100;
}

void validate(const RunConfig& c, const ReportProblem& problem) {
  if (!is_run_name(c.name))
    problem("name",
            fmt::format(
                "must be at most 100 letters, digits, '_', '.', '-', and begin with a letter, digit or '_', got '{}'",
                c.name));
  if (!is_device(c.device)) problem("device", fmt::format("must be auto, cpu, cuda or cuda:N, got '{}'", c.device));
  validate_model_and_data(c, problem);
  validate_lengths(c, problem);
}

RunConfig load_run_config(const std::string& path, const std::vector<std::string>& overrides) {
  if (path.find('=') != std::string::npos && !std::filesystem::exists(path))
    throw ConfigError(
        fmt::format("'{}' stands where the config should; must be a YAML file, overrides after it", path));
  const std::string text = config::read_text(path);
  try {
    return parse_run_config(text, path, overrides);
  } catch (const ConfigError& error) {
    const std::string said = error.what();
    if (said.find("unknown key 'grid'") == std::string::npos) throw;
    throw ConfigError(fmt::format("{}\n{}: has a sweep's keys; 'lacuna sweep {}' trains it", said, path, path));
  }
}

RunConfig parse_run_config(const std::string& text, const std::string& name,
                           const std::vector<std::string>& overrides) {
  RunConfig config = config::parse_config<RunConfig>(text, name, overrides);
  config.source = {name, text, overrides};
  return config;
}

std::string locate(const RunConfig& config, const std::string& key, const std::string& message) {
  const std::string said = fmt::format("'{}' {}", key, message);
  if (config.source.text.empty()) return said;
  config::Node root = config::parse(config.source.text, config.source.name);
  std::vector<config::Problem> problems;
  config::apply_overrides(root, config.source.overrides, problems);
  return config::to_string({config::place_of(root, key), said}, config.source.name);
}

std::string write_run_config(const RunConfig& config, bool comments) { return config::write_config(config, comments); }

std::string explain_run_config(const std::string& key) { return config::explain_config<RunConfig>(key); }

}  // namespace lacuna
