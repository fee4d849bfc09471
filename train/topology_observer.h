// Watches what happens to the patterns of a model's weights, whatever method changes them.
#pragma once

#include <cstdint>
#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/parameter.h"
#include "train/metrics.h"
#include "train/observe_config.h"
#include "train/sparsity_stats.h"

namespace lacuna {

/// One prunable weight after an update that changed its pattern.
struct LayerUpdate {
  std::string name;
  std::int64_t size = 0;  ///< entries of the full shape
  std::int64_t nnz = 0;
  Churn churn;
  EmptyLines empty;
  std::optional<double> itop;  ///< share of its entries ever active
  std::optional<MagnitudeHistogram> histogram;
};

/// All weights whose pattern an update changed; the first of a run has all prunable weights, and no churn: it is where
/// counting begins. Totals are over all prunable weights, changed or not.
struct TopologyUpdate {
  std::vector<LayerUpdate> layers;
  std::int64_t size = 0, nnz = 0;
  Churn churn;
  EmptyLines empty;
  std::optional<double> itop;

  /// Values under the names that report.html knows ("sparsity/<parameter>", "topology_dropped", ...; docs/observability.md).
  MetricsRecord record(std::int64_t step) const;
};

/// Compares each weight's pattern before and after whatever may change it, by pointer: between updates that costs nothing. An
/// update copies the indices of changed patterns to the host, and the weights where a histogram is due.
class TopologyObserver {
 public:
  /// Watches those of `parameters` that are prunable matrices.
  TopologyObserver(const ObserveConfig& config, const std::vector<Parameter*>& parameters);

  /// Call around the pruner's step: nothing else changes a pattern. Memory: the old indices live until after() (and the old
  /// values, where a histogram is due), in tensors that are shared, not copied.
  void before();
  void after();
  /// What after() found since the last call, if it found anything.
  std::optional<TopologyUpdate> take();

  /// State for a checkpoint: what was ever active, as "itop.<parameter>", and the count of updates that dropped entries.
  std::map<std::string, Tensor> tensors() const;
  std::int64_t num_drops() const { return num_drops_; }
  /// Continues a run. Throws CheckpointError when `tensors` are not what tensors() gives for this model and config.
  void resume(std::int64_t num_drops, const std::map<std::string, Tensor>& tensors);

 private:
  struct Watched {
    Parameter* parameter;
    EntrySet ever;  // with itop
    EmptyLines empty;
    // Before an update. Weak: the old pattern's derived data (its transpose, say) must not outlive the update.
    bool was_sparse = false;
    std::weak_ptr<const Topology> topology;
    Tensor row_offsets, col_indices, values;

    bool changed() const;
    HostPattern old_pattern() const;
  };
  LayerUpdate inspect(Watched& watched);
  void add_totals();

  ObserveConfig config_;
  std::vector<Watched> watched_;
  std::int64_t num_drops_ = 0;  // what the rhythm of histograms counts
  bool begun_ = false;
  bool histogram_due_ = false;
  std::optional<TopologyUpdate> update_;
};

}  // namespace lacuna
