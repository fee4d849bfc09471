// Checkpoints: a model's weights, its patterns, the optimizer's state and the training state, in one safetensors file.
//
//   dense parameter   <name>                                          its shape
//   sparse parameter  <name>.crow_indices  I32 [rows + 1]             as torch.sparse_csr_tensor takes them (it takes
//                     <name>.col_indices   I32 [nnz]                  32-bit indices too; half the bytes of its default)
//                     <name>.values        [nnz]
//   optimizer slot    <name>.slot.<slot>                              as the values; the pattern is stored once. [rows] or
//                                                                     [cols] where the slot's name ends so
//   buffer            <name>
//   training state    state.<name>                                    what else a run needs to go on
//
// Metadata: "lacuna_checkpoint" (version), "parameters" (name, dense shape, layout, slots of each), "buffers",
// "training_state", and "state_tensors" (names) where there are any. The checksum covers the whole file.
#pragma once

#include <cstdint>
#include <filesystem>
#include <map>
#include <string>
#include <vector>

#include <nlohmann/json.hpp>

#include "core/errors.h"
#include "core/parameter.h"
#include "layers/module.h"
#include "train/atomic_file.h"

namespace lacuna {

struct TrainingState {
  std::int64_t step = 0;   ///< steps done
  std::uint64_t seed = 0;  ///< random numbers and data order are pure functions of (seed, step)
  nlohmann::json extra = nlohmann::json::object();  ///< config text, pruner state, best metric, ...: finite numbers only
  std::map<std::string, Tensor> tensors;            ///< on the host: what is too large for `extra`
};

/// What save_checkpoint throws for parameters or buffers that are not finite.
class NotFiniteError : public CheckpointError {
 public:
  using CheckpointError::CheckpointError;
};

/// Saves atomically: path holds either what it held or the whole new file. Refuses parameters and buffers that are not
/// finite, since they could not be loaded. Throws CheckpointError, which says that earlier checkpoints are untouched
/// (NotFiniteError is one).
void save_checkpoint(const std::filesystem::path& path, const std::vector<Parameter*>& parameters,
                     const std::vector<NamedBuffer>& buffers, const TrainingState& state, const FileCalls& calls = {});

enum class LoadSlots : std::uint8_t {
  yes,
  no,  ///< for evaluation: saves memory
};

/// Loads into a model of the same parameter names, shapes and dtypes, on the devices its parameters are on. Storage is
/// the file's: a parameter that is dense in the model becomes sparse if it is so in the file, and the other way round.
/// Nothing of the model changes unless everything in the file is right. Throws CheckpointError naming file and tensor:
/// damage, tensors missing or left over, shapes, dtypes, patterns that are not valid CSR, values that are not finite.
TrainingState load_checkpoint(const std::filesystem::path& path, const std::vector<Parameter*>& parameters,
                              const std::vector<NamedBuffer>& buffers, LoadSlots slots = LoadSlots::yes);

/// The sparse patterns of a checkpoint by parameter name, on the host. Throws CheckpointError.
std::map<std::string, TopologyPtr> load_patterns(const std::filesystem::path& path);

/// All of the above that needs no model to compare with, and the state. Throws CheckpointError.
TrainingState verify_checkpoint(const std::filesystem::path& path);

}  // namespace lacuna
