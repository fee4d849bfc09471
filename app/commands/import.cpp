#include <fmt/format.h>

#include <algorithm>
#include <filesystem>

#include "app/commands.h"
#include "app/interop/map_arguments.h"
#include "app/interop/new_file.h"
#include "app/session.h"
#include "core/errors.h"
#include "data/smtx.h"
#include "train/checkpoint.h"
#include "train/config/suggest.h"
#include "train/interop/state.h"

namespace lacuna {

namespace {

namespace fs = std::filesystem;

bool is_smtx(const fs::path& path) { return path.extension() == ".smtx"; }

std::vector<fs::path> smtx_files(const fs::path& path) {
  if (!fs::is_directory(path)) return {path};
  std::vector<fs::path> files;
  for (const fs::directory_entry& entry : fs::directory_iterator(path)) {
    if (is_smtx(entry.path())) files.push_back(entry.path());
  }
  if (files.empty())
    throw DataError("import", fmt::format("'{}': holds no .smtx files; must be a .safetensors file, a .smtx file or a "
                                          "directory of those",
                                          path.string()));
  std::sort(files.begin(), files.end());
  return files;
}

/// Puts each file's pattern under the initial weights of the parameter that it is named after.
void import_patterns(const fs::path& path, interop::NameMap map, const std::vector<Parameter*>& parameters) {
  std::vector<std::string> prunable, names;
  for (const Parameter* p : parameters)
    if (p->prunable) prunable.push_back(p->name());
  for (const fs::path& file : smtx_files(path)) {
    names.push_back(file.stem().string());
    const auto mapped = map.find(names.back(), interop::MapSide::file);
    const std::string name = mapped ? mapped->name : names.back();
    if (name.empty()) continue;
    const auto it = std::find_if(parameters.begin(), parameters.end(),
                                 [&](const Parameter* p) { return p->prunable && p->name() == name; });
    if (it == parameters.end())
      throw DataError("import",
                      fmt::format("'{}': the model has no weight '{}' that may be sparse{}; name the file after "
                                  "one, or say --map '{}=NAME'",
                                  file.string(), name, config::did_you_mean(name, prunable), names.back()));
    if ((*it)->is_sparse())
      throw DataError("import", fmt::format("'{}': a second pattern for '{}'; must be one", file.string(), name));
    TopologyPtr pattern = read_smtx(file);
    if (mapped && mapped->transpose) pattern = pattern->transposed().topology;
    if (Shape{pattern->rows(), pattern->cols()} != (*it)->shape())
      throw DataError("import", fmt::format("'{}': the pattern is [{}, {}], the model's '{}' is {}; they must agree (a "
                                            "transposed one: --map '{}={}^T')",
                                            file.string(), pattern->rows(), pattern->cols(), name,
                                            to_string((*it)->shape()), names.back(), name));
    (*it)->retopologize(pattern->to((*it)->value().device()));
  }
  map.require_used(names, interop::MapSide::file);
  fmt::print("patterns of {} weights; their values are the config's initial weights\n", names.size());
}

void import_weights(const ImportArguments& arguments, interop::NameMap map, Module& model) {
  const interop::State state =
      renamed_to_lacuna(interop::load_state(arguments.file, interop::Averages::taken, &map), map);
  const interop::AssignSummary summary = interop::assign_state(state, model.parameters(), model.buffers(),
                                                               {.zeros_are_absent = arguments.zeros_are_absent});
  for (const std::string& note : summary.notes) fmt::print("{}\n", note);
  fmt::print("{} parameters dense, {} sparse, {} buffers\n", summary.dense, summary.sparse, summary.buffers);
}

}  // namespace

int import_command(const ImportArguments& arguments) {
  require_new("import", arguments.out);
  interop::NameMap map = read_map(arguments.map);
  if (!fs::exists(arguments.file)) throw DataError("import", fmt::format("'{}': no such file", arguments.file));
  const bool patterns = fs::is_directory(arguments.file) || is_smtx(arguments.file);
  if (patterns && arguments.zeros_are_absent)
    throw ConfigError("import", "--zeros-absent is about dense weights; .smtx files hold patterns alone");
  const RunConfig config = load_run_config(arguments.config);
  Session session = open_session(config);
  if (patterns) {
    import_patterns(arguments.file, std::move(map), session.model->parameters());
  } else {
    import_weights(arguments, std::move(map), *session.model);
  }
  TrainingState state;
  state.seed = config.seed;
  state.extra["config"] = write_run_config(config);
  save_checkpoint(arguments.out, session.model->parameters(), session.model->buffers(), state, without_overwriting());
  fmt::print("{}\n", arguments.out);
  return kExitDone;
}

}  // namespace lacuna
