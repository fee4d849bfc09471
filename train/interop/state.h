// Network weights from and to safetensors files of other frameworks, chiefly PyTorch: docs/interop.md.
#pragma once

#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include "core/parameter.h"
#include "layers/module.h"
#include "train/interop/name_map.h"
#include "train/interop/state_tensor.h"
#include "train/safetensors.h"

namespace lacuna::interop {

/// Named weights and buffers of a network, on the CPU, f32.
struct State {
  std::string source;  ///< the file, for messages
  std::map<std::string, StateTensor> tensors;
  std::vector<std::string> notes;  ///< what was converted or left out on the way, for the user
};

enum class Averages : std::uint8_t {
  taken,    ///< of a Lacuna checkpoint that keeps moving averages, these: the weights that are evaluated
  ignored,  ///< the weights that training was at
};

/// Reads a safetensors file, telling by names what it holds:
///   X.crow_indices, X.col_indices, X.values   torch.sparse_csr, i32 or i64 indices; also a Lacuna checkpoint, whose
///                                             optimizer state is left out
///   X_orig, X_mask                            torch.nn.utils.prune: where the mask is 1, absent elsewhere
///   X                                         dense
/// f64, bf16 and f16 become f32, which `notes` state; num_batches_tracked is left out, and what `map` leaves out is not
/// looked at. Throws CheckpointError naming file
/// and tensor: damage, missing parts, patterns that are no CSR, other dtypes, values that are not finite.
State load_state(const std::filesystem::path& path, Averages averages = Averages::taken, NameMap* map = nullptr);

/// The same tensors under Lacuna's names, turned where the map says so. Throws ConfigError for a rule that matches
/// nothing, CheckpointError when two tensors get one name or one that is no matrix is to be transposed.
State renamed_to_lacuna(State state, NameMap& map);
/// The other way, for writing: names that no rule matches become torch_name(). query, key and value of attention are
/// stacked where the map has a rule for their `in_proj_weight` or `in_proj_bias`.
State renamed_to_file(State state, NameMap& map);

struct AssignOptions {
  bool zeros_are_absent = false;  ///< dense weights that may be pruned are stored without their exact zeros
};

struct AssignSummary {
  std::int64_t dense = 0;   ///< parameters stored dense
  std::int64_t sparse = 0;  ///< parameters stored on a pattern
  std::int64_t buffers = 0;
  std::vector<std::string> notes;
};

/// Puts a state into a model, every parameter and buffer of it, nothing left over. Names are Lacuna's, or torch_name() of
/// them; `X.in_proj_weight` and `_bias` are cut into query, key and value. Shapes agree when they are the same but for
/// extents of 1 and for trailing extents merged: a 1x1 convolution's [out, in, 1, 1] is [out, in] here, a depthwise
/// [c, 1, 3, 3] is [c, 9]. Parameters that may not be pruned are stored dense. Slots and gradients are dropped.
/// Throws CheckpointError naming tensor, both shapes and the way out; the model is then as it was.
AssignSummary assign_state(const State& state, const std::vector<Parameter*>& parameters,
                           const std::vector<NamedBuffer>& buffers, const AssignOptions& options = {});

enum class StateFormat : std::uint8_t {
  torch_sparse,  ///< X.crow_indices (i32), X.col_indices (i32), X.values; dense ones as X
  torch_prune,   ///< X_orig and X_mask (f32), zeros at absent entries; dense ones as X
  torch_dense,   ///< X, absent entries 0
};

/// The tensors and metadata of a file that load_state() and PyTorch read. Sparse shapes, which CSR does not tell, are in
/// metadata "lacuna_shapes".
SafetensorsFile encode_state(const State& state, StateFormat format);

}  // namespace lacuna::interop
