#include "train/step_graph.h"

#include "core/ops/update_all.h"

namespace lacuna {

StepGraph::StepGraph(Device device, std::unique_ptr<Recorder> recorder, std::int64_t num_batches)
    : captured_(device, std::move(recorder)),
      batches_(static_cast<std::size_t>(num_batches)),
      step_bits_(Tensor::zeros({sizeof(std::uint64_t)}, DType::u8, device)) {}

void StepGraph::load(std::int64_t index, const Batch& batch) {
  Batch& place = batches_[static_cast<std::size_t>(index)];
  for (const auto member : {&Batch::inputs, &Batch::targets}) {
    const Tensor& from = batch.*member;
    Tensor& to = place.*member;
    if (!to.defined() || !(to.shape() == from.shape()) || to.dtype() != from.dtype()) {
      captured_.invalidate();
      to = Tensor::empty_like(from);
    }
    to.copy_from(from);
  }
}

void StepGraph::set_step(std::uint64_t step) {
  step_ = step;
  const std::uint64_t bits = RandomStream::step_bits_of(step);
  store(step_bits_, &bits);
}

RandomStream StepGraph::random(std::uint64_t seed) const {
  if (!captured_.is_recorded_work()) return RandomStream(seed, step_);
  return RandomStream::of_step_in_memory(seed, static_cast<const std::uint64_t*>(step_bits_.raw()));
}

CapturedStep::Ran StepGraph::run(const std::function<void()>& work, const std::vector<Parameter*>& parameters) {
  std::vector<TopologyPtr> patterns;
  for (const Parameter* p : parameters) patterns.push_back(p->topology());
  if (patterns != patterns_) {
    captured_.invalidate();
    patterns_ = std::move(patterns);
  }
  return captured_.run(work);
}

}  // namespace lacuna
