#include <fmt/format.h>
#include <omp.h>

#include <cstdio>
#include <filesystem>
#include <optional>

#include "app/bench/infer.h"
#include "app/checkpoint_source.h"
#include "app/commands.h"
#include "app/data_shape.h"
#include "app/session.h"
#include "core/errors.h"
#include "train/atomic_file.h"
#include "train/environment.h"
#include "train/predictor.h"
#include "train/table.h"

namespace lacuna {
namespace {

namespace fs = std::filesystem;
using Json = nlohmann::ordered_json;
using bench::InferMode;
using bench::InferVariant;

/// What is measured, before it is.
struct Subject {
  RunConfig config;
  fs::path checkpoint;  // empty: fresh weights
  std::int64_t step = 0;
};

Subject find_subject(const InferArguments& arguments) {
  std::vector<std::string> overrides = arguments.overrides;
  if (!arguments.device.empty()) overrides.push_back("device=" + arguments.device);
  const fs::path path(arguments.source);
  if (!fs::is_directory(path) && path.extension() != ".safetensors")
    return {load_run_config(arguments.source, overrides), {}, 0};
  if (arguments.sparsity >= 0)
    throw ConfigError("--sparsity", fmt::format("with '{}'; a run has its own patterns", arguments.source));
  Subject subject;
  subject.checkpoint = find_checkpoint("bench", arguments.source);
  subject.config = config_for("bench", subject.checkpoint, "", overrides);
  return subject;
}

/// Only shapes count: nothing is opened where the config tells them. Grey or colour, only an idx file itself knows.
Session open_for(const RunConfig& config) {
  const std::optional<DataShape> shape = told_shape(config);
  if (!shape) return open_session(config, DataUse::made_up_if_gone);
  Session session = open_session(config, *shape);
  if (data_is_absent(config.data))
    session.data_note = fmt::format("the config's shapes in place of '{}'", config.data.path);
  return session;
}

void prune_at_once(const Session& session, double sparsity) {
  PruningConfig pruning = session.config.pruning;
  if (sparsity >= 0) {
    if (sparsity == 0) return;
    if (sparsity != pruning.sparsity) pruning.groups.clear();  // one sparsity for all that is pruned
    if (pruning.method == "none") pruning.method = "magnitude";
    pruning.sparsity = sparsity;
  }
  if (pruning.method == "none") return;
  std::map<std::string, TopologyPtr> given;
  if (!pruning.topology_from.empty()) given = load_patterns(pruning.topology_from);
  try {
    Pruner(at_once(pruning), session.model->parameters(), session.config.seed, given).step(0);
  } catch (const ConfigKeyError& error) {
    throw ConfigError(locate(session.config, error.key(), error.message()));
  }
}

bool has_sparse_weights(Module& model) {
  for (const Parameter* p : model.parameters())
    if (p->is_sparse()) return true;
  return false;
}

bool has_sparse_attention(const ModelConfig& config) {
  const auto* transformer = std::get_if<TransformerConfig>(&config);
  return transformer && !std::holds_alternative<DenseAttentionConfig>(transformer->attention) &&
         !std::holds_alternative<DenseMaterialisedConfig>(transformer->attention);
}

std::string choose_twin(const std::string& asked, Module& model, const ModelConfig& config) {
  const bool weights = has_sparse_weights(model), attention = has_sparse_attention(config);
  if (asked == "auto") return weights ? "weights" : attention ? "attention" : "none";
  if ((asked == "weights" && !weights) || (asked == "attention" && !attention) ||
      (asked == "all" && !weights && !attention))
    throw ConfigError("--twin", fmt::format("'{}', but nothing of it is sparse; must be auto or none", asked));
  return asked;
}

/// The same numbers, with weights and attention dense as asked.
std::unique_ptr<Module> make_twin(const Session& session, const std::string& twin) {
  ModelConfig config = session.config.model;
  if (auto* transformer = std::get_if<TransformerConfig>(&config); transformer && twin != "weights")
    transformer->attention = DenseAttentionConfig{};
  RandomStream init(session.config.seed, 0);
  std::unique_ptr<Module> model = make_model(config, session.shape, init, session.device);
  const std::vector<Parameter*> from = session.model->parameters(), to = model->parameters();
  for (std::size_t i = 0; i < to.size(); ++i) {
    if (twin == "attention")
      to[i]->assign(from[i]->value().clone(), from[i]->topology());
    else
      to[i]->assign(from[i]->is_sparse() ? from[i]->dense_value() : from[i]->value().clone(), nullptr);
  }
  const std::vector<NamedBuffer> buffers = session.model->buffers(), copies = model->buffers();
  for (std::size_t i = 0; i < copies.size(); ++i) copies[i].tensor->copy_from(*buffers[i].tensor);
  return model;
}

Tensor random_inputs(const Session& session, std::int64_t batch, std::uint64_t seed) {
  const Shape shape = session.shape.inputs(batch);
  if (!session.is_text()) return random_normal(shape, 0, 1, {seed, 1}, DType::f32, session.device);
  std::vector<std::int32_t> tokens(static_cast<std::size_t>(shape.numel()));
  for (std::size_t i = 0; i < tokens.size(); ++i)
    tokens[i] =
        static_cast<std::int32_t>(random_word({seed, 1}, i) % static_cast<std::uint64_t>(session.shape.num_classes));
  return Tensor::from(tokens, shape, session.device);
}

std::vector<std::int64_t> extents(const Shape& shape) {
  std::vector<std::int64_t> all;
  for (int axis = 0; axis < shape.rank(); ++axis) all.push_back(shape.dim(axis));
  return all;
}

void print(const bench::InferResult& result, double items, const char* unit) {
  Table table({{"network", Align::left},
               {"mode", Align::left},
               {"median ms", Align::right},
               {"p10", Align::right},
               {"p90", Align::right},
               {fmt::format("{}/s", unit), Align::right},
               {"peak", Align::right},
               {"weights", Align::right},
               {"patterns", Align::right}});
  for (const InferVariant& v : result.variants)
    for (const InferMode& m : v.modes) {
      const auto ms = [&](double seconds) { return m.error.empty() ? fmt::format("{:.4f}", seconds * 1e3) : "-"; };
      table.add_row({v.variant, m.mode, ms(m.seconds.median), ms(m.seconds.p10), ms(m.seconds.p90),
                     m.error.empty() ? fmt::format("{:.4g}", items / m.seconds.median) : "-",
                     m.error.empty() ? format_bytes(static_cast<double>(m.peak_bytes)) : "-",
                     format_bytes(static_cast<double>(v.weight_bytes)),
                     format_bytes(static_cast<double>(v.pattern_bytes))});
    }
  fmt::print("{}", table.text());
  for (const Json& ratio : bench::ratios_json(result))
    fmt::print("dense / sparse, {}: time {:.3f}, peak {:.3f}, model bytes {:.3f}\n", ratio["mode"].get<std::string>(),
               ratio["speedup"].get<double>(), ratio["memory"].get<double>(), ratio["model_bytes"].get<double>());
  for (const InferVariant& v : result.variants)
    for (const InferMode& m : v.modes)
      if (!m.error.empty()) fmt::print(stderr, "{}, {}: {}\n", v.variant, m.mode, m.error);
}

}  // namespace

int bench_infer_command(const InferArguments& arguments) {
  const fs::path folder = fs::path(arguments.json).parent_path();
  if (!folder.empty() && !fs::is_directory(folder))  // said before the time is spent
    throw ConfigError("--json", fmt::format("'{}' is not a directory; it must exist", folder.string()));
  Subject subject = find_subject(arguments);
  Session session = open_for(subject.config);
  if (!subject.checkpoint.empty())
    subject.step = load_weights(subject.checkpoint, *session.model).step;
  else
    prune_at_once(session, arguments.sparsity);
  const RunConfig& config = session.config;
  const std::string twin = choose_twin(arguments.twin, *session.model, config.model);

  std::vector<InferVariant> variants(twin == "none" ? 1 : 2);
  const bool anything_sparse = has_sparse_weights(*session.model) || has_sparse_attention(config.model);
  variants[0].variant = anything_sparse ? "sparse" : "dense";
  if (twin != "none") variants[1] = {.variant = "dense", .model = make_twin(session, twin)};
  variants[0].model = std::move(session.model);
  const bool tf32 = matmul_precision(session.device) == MatmulPrecision::tf32;
  const bool bf16 = config.training.precision == TrainingPrecision::bf16;
  const OpScope scope("bench infer");  // named when memory runs out here
  const Tensor inputs = random_inputs(session, arguments.batch, arguments.seed);
  const bench::InferResult result = measure_inference(std::move(variants), inputs,
                                                      {.seconds = arguments.seconds,
                                                       .unfolded = arguments.unfolded,
                                                       .bound = bf16   ? 1e-1
                                                                : tf32 ? 3e-2
                                                                       : 1e-4,
                                                       .compare = twin == "weights",
                                                       .bf16 = bf16,
                                                       .kernels = arguments.kernels});

  const double items = static_cast<double>(arguments.batch * (session.is_text() ? session.shape.sequence_length : 1));
  const bool agree = !result.agreement || *result.agreement <= result.bound;
  fmt::print("{} on {} ({}), {}, batch {}\n", config.name, to_string(session.device), device_name(session.device),
             subject.checkpoint.empty() ? "fresh weights" : subject.checkpoint.string(), arguments.batch);
  if (!session.data_note.empty()) fmt::print("{}, which is not there\n", session.data_note);
  print(result, items, session.items());
  for (const InferVariant& v : result.variants) fmt::print("{}", v.kernels);
  if (!agree)
    fmt::print(stderr, "the twin's outputs differ by {:.3g} of the largest; at most {:.3g} is rounding\n",
               *result.agreement, result.bound);
  if (!arguments.json.empty()) {
    Json json = {
        {"schema", "lacuna.bench_infer"},
        {"version", 1},
        {"environment", describe_environment(session.device, arguments.command_line)},
        {"name", config.name},
        {"source", arguments.source},
        {"weights", subject.checkpoint.empty() ? "random" : "checkpoint"},
        {"checkpoint", subject.checkpoint.empty() ? Json() : Json(subject.checkpoint.string())},
        {"checkpoint_step", subject.checkpoint.empty() ? Json() : Json(subject.step)},
        {"model", std::visit([]<class C>(const C&) { return std::string(C::kType); }, config.model)},
        {"dtype", bf16 ? "bf16" : "f32"},
        {"matmul_precision", tf32 ? "tf32" : "highest"},
        {"threads", session.device.is_cpu() ? Json(omp_get_max_threads()) : Json()},
        {"batch", arguments.batch},
        {"items", session.items()},
        {"items_per_batch", static_cast<std::int64_t>(items)},
        {"input_shape", extents(inputs.shape())},
        {"output_shape", extents(result.output_shape)},
        {"twin", twin},
        {"agreement", result.agreement ? Json{{"relative", *result.agreement}, {"bound", result.bound}} : Json()},
        {"variants", bench::variants_json(result, items)},
        {"ratios", bench::ratios_json(result)}};
    write_file_atomically(arguments.json, json.dump(1) + "\n");
  }
  return agree ? kExitDone : kExitRuntime;
}

}  // namespace lacuna
