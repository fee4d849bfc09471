#include <fmt/format.h>
#include <unistd.h>

#include <filesystem>

#include "app/checkpoint_source.h"
#include "app/commands.h"
#include "app/interop/map_arguments.h"
#include "app/interop/new_file.h"
#include "app/interop/onnx_model.h"
#include "app/interop/torch_layout.h"
#include "core/errors.h"
#include "data/smtx_text.h"
#include "train/interop/state.h"

namespace lacuna {

namespace {

namespace fs = std::filesystem;
using interop::State;
using interop::StateFormat;

void print_notes(const State& state) {
  for (const std::string& note : state.notes) fmt::print("{}\n", note);
}

void export_torch(const ExportArguments& arguments, const RunConfig& config, State state, StateFormat format) {
  to_torch_layout(state, config.model);
  interop::NameMap map = read_map(arguments.map);
  state = renamed_to_file(std::move(state), map);
  write_safetensors(arguments.out, encode_state(state, format), without_overwriting());
  std::size_t sparse = 0;
  for (const auto& [name, tensor] : state.tensors) sparse += tensor.is_sparse() ? 1 : 0;
  print_notes(state);
  fmt::print("{}: {} tensors, {} of them sparse in Lacuna\n", arguments.out, state.tensors.size(), sparse);
}

/// A directory under construction, removed unless it was handed over.
struct TemporaryDirectory {
  fs::path path;
  explicit TemporaryDirectory(fs::path p) : path(std::move(p)) {
    fs::remove_all(path);  // left by a dead process that had our id
    fs::create_directory(path);
  }
  TemporaryDirectory(const TemporaryDirectory&) = delete;
  TemporaryDirectory& operator=(const TemporaryDirectory&) = delete;
  ~TemporaryDirectory() {
    std::error_code ignored;
    if (!path.empty()) fs::remove_all(path, ignored);
  }
};

void export_smtx(const ExportArguments& arguments, State state) {
  std::erase_if(state.tensors, [](const auto& entry) { return !entry.second.is_sparse(); });
  if (state.tensors.empty())
    throw CheckpointError("export",
                          fmt::format("'{}': every weight is dense; patterns come from sparse ones", state.source));
  interop::NameMap map = read_map(arguments.map);
  state = renamed_to_file(std::move(state), map);
  const fs::path out(arguments.out);
  TemporaryDirectory directory(out.string() + ".tmp-" + std::to_string(::getpid()));
  for (const auto& [name, tensor] : state.tensors) {
    if (name.find('/') != std::string::npos)
      throw ConfigError("export", fmt::format("'{}' cannot name a file; map it to a name without '/'", name));
    write_file_atomically(directory.path / (name + ".smtx"), format_smtx(*tensor.topology));
  }
  rename_to_new(directory.path, out);
  directory.path.clear();
  fmt::print("{}: {} patterns\n", out.string(), state.tensors.size());
}

}  // namespace

int export_command(const ExportArguments& given) {
  ExportArguments arguments = given;
  if (arguments.format == "smtx" && arguments.out.size() > 1 && arguments.out.ends_with('/')) arguments.out.pop_back();
  require_new("export", arguments.out);
  if (arguments.format == "onnx" && !(arguments.map.rules.empty() && arguments.map.files.empty()))
    throw ConfigError("export",
                      "--map and --map-file rename tensors of torch and smtx files; an ONNX graph has its own names");
  const fs::path checkpoint = find_checkpoint("export", arguments.run);
  const RunConfig config = config_for("export", checkpoint, arguments.config);
  State state = interop::load_state(checkpoint, arguments.last ? interop::Averages::ignored : interop::Averages::taken);
  if (arguments.format == "torch-sparse") export_torch(arguments, config, std::move(state), StateFormat::torch_sparse);
  if (arguments.format == "torch-prune") export_torch(arguments, config, std::move(state), StateFormat::torch_prune);
  if (arguments.format == "torch-dense") export_torch(arguments, config, std::move(state), StateFormat::torch_dense);
  if (arguments.format == "smtx") export_smtx(arguments, std::move(state));
  if (arguments.format == "onnx") {
    const std::string model = onnx_model(config, state);
    write_file_atomically(arguments.out, {{model.data(), model.size()}}, without_overwriting());
    print_notes(state);
    fmt::print("{}: {} bytes\n", arguments.out, model.size());
  }
  return kExitDone;
}

}  // namespace lacuna
