#include "train/topology_observer.h"

#include <fmt/format.h>

#include "core/errors.h"

namespace lacuna {
namespace {

HostPattern pattern_of(const Parameter& p) {
  return p.is_sparse() ? host_pattern(*p.topology()) : full_pattern(p.shape()[0], p.shape()[1]);
}

double share(std::int64_t part, std::int64_t whole) {
  return whole == 0 ? 0.0 : static_cast<double>(part) / static_cast<double>(whole);
}

}  // namespace

bool TopologyObserver::Watched::changed() const {
  const TopologyPtr& now = parameter->topology();
  return was_sparse != (now != nullptr) || (now && topology.lock() != now);
}

HostPattern TopologyObserver::Watched::old_pattern() const {
  const Shape& shape = parameter->shape();
  if (!was_sparse) return full_pattern(shape[0], shape[1]);
  return {shape[0], shape[1], row_offsets.to_vector<std::int32_t>(), col_indices.to_vector<std::int32_t>()};
}

TopologyObserver::TopologyObserver(const ObserveConfig& config, const std::vector<Parameter*>& parameters)
    : config_(config) {
  if (!config_.layers) return;
  for (Parameter* p : parameters) {
    if (!p->prunable || p->shape().rank() != 2) continue;
    Watched watched;
    watched.parameter = p;
    if (config_.itop) watched.ever = EntrySet(p->shape()[0], p->shape()[1]);
    watched_.push_back(std::move(watched));
  }
}

void TopologyObserver::before() {
  histogram_due_ = config_.histogram_every > 0 && num_drops_ % config_.histogram_every == 0;
  for (Watched& w : watched_) {
    const TopologyPtr& topology = w.parameter->topology();
    w.was_sparse = topology != nullptr;
    w.topology = topology;
    if (topology) {
      w.row_offsets = topology->row_offsets();
      w.col_indices = topology->col_indices();
    }
    if (histogram_due_) w.values = w.parameter->value();
  }
}

LayerUpdate TopologyObserver::inspect(Watched& w) {
  const Parameter& p = *w.parameter;
  const HostPattern now = pattern_of(p);
  LayerUpdate layer;
  layer.name = p.name();
  layer.size = now.size();
  layer.nnz = now.nnz();
  layer.empty = w.empty = empty_lines(now);
  if (config_.itop) {
    w.ever.add(now);
    layer.itop = w.ever.share();
  }
  if (!w.changed()) return layer;
  const HostPattern old = w.old_pattern();
  layer.churn = churn(old, now);
  if (histogram_due_ && layer.churn.dropped > 0)
    layer.histogram =
        magnitude_histogram(w.values.to(kCpu).to(DType::f64).to_vector<double>(), kept_entries_mask(old, now));
  return layer;
}

void TopologyObserver::add_totals() {
  std::int64_t ever = 0;
  for (const Watched& w : watched_) {
    update_->size += w.parameter->shape().numel();
    update_->nnz += w.parameter->nnz();
    update_->empty.rows += w.empty.rows;
    update_->empty.columns += w.empty.columns;
    ever += w.ever.count();
  }
  for (const LayerUpdate& layer : update_->layers) {
    update_->churn.dropped += layer.churn.dropped;
    update_->churn.grown += layer.churn.grown;
  }
  if (config_.itop) update_->itop = share(ever, update_->size);
}

void TopologyObserver::after() {
  bool any_dropped = false;
  TopologyUpdate update;
  for (Watched& w : watched_) {
    if (w.changed() || !begun_) {
      update.layers.push_back(inspect(w));
      any_dropped |= update.layers.back().churn.dropped > 0;
      if (!begun_) update.layers.back().churn = {};
    }
    w.row_offsets = w.col_indices = w.values = Tensor();
  }
  if (!update.layers.empty()) {
    update_ = std::move(update);
    add_totals();
  }
  begun_ = true;
  num_drops_ += any_dropped;
}

std::optional<TopologyUpdate> TopologyObserver::take() { return std::exchange(update_, std::nullopt); }

std::map<std::string, Tensor> TopologyObserver::tensors() const {
  std::map<std::string, Tensor> tensors;
  if (config_.itop)
    for (const Watched& w : watched_) tensors.emplace("itop." + w.parameter->name(), w.ever.to_tensor());
  return tensors;
}

void TopologyObserver::resume(std::int64_t num_drops, const std::map<std::string, Tensor>& tensors) {
  num_drops_ = num_drops;
  begun_ = true;
  for (Watched& w : watched_) {
    w.empty = empty_lines(pattern_of(*w.parameter));
    if (!config_.itop) continue;
    const auto bits = tensors.find("itop." + w.parameter->name());
    if (bits == tensors.end())
      throw CheckpointError("resume",
                            fmt::format("no record of which entries of '{}' were ever active; a run that began "
                                        "without observe.itop must go on without it",
                                        w.parameter->name()));
    w.ever.assign(bits->second);
  }
}

MetricsRecord TopologyUpdate::record(std::int64_t step) const {
  MetricsRecord r;
  r.step = step;
  const auto count = [&r](const std::string& key, std::int64_t value) {
    r.values.emplace_back(key, static_cast<double>(value));
  };
  count("prunable_nnz", nnz);
  count("topology_dropped", churn.dropped);
  count("topology_grown", churn.grown);
  count("empty_rows", empty.rows);
  count("empty_columns", empty.columns);
  if (itop) r.values.emplace_back("itop", *itop);
  for (const LayerUpdate& layer : layers) {
    count("nnz/" + layer.name, layer.nnz);
    r.values.emplace_back("sparsity/" + layer.name, layer.size == 0 ? 0.0 : 1 - share(layer.nnz, layer.size));
    count("dropped/" + layer.name, layer.churn.dropped);
    count("grown/" + layer.name, layer.churn.grown);
    count("empty_rows/" + layer.name, layer.empty.rows);
    count("empty_columns/" + layer.name, layer.empty.columns);
    if (layer.itop) r.values.emplace_back("itop/" + layer.name, *layer.itop);
    if (!layer.histogram) continue;
    const MagnitudeHistogram& h = *layer.histogram;
    if (h.threshold) r.values.emplace_back("threshold/" + layer.name, *h.threshold);
    r.histograms.push_back({"kept_magnitudes/" + layer.name, 0, h.high, h.kept});
    r.histograms.push_back({"dropped_magnitudes/" + layer.name, 0, h.high, h.dropped});
  }
  return r;
}

}  // namespace lacuna
