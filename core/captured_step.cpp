#include "core/captured_step.h"

#include <algorithm>

#include "core/errors.h"
#include "core/memory_pool.h"
#include "core/visit.h"
#include "kernels/runtime/graph.h"

namespace lacuna {

// Members die in reverse: the graph before the memory that its kernels name.
struct CapturedStep::Recording {
  explicit Recording(Device device) : memory(device) {}
  MemoryPool memory;
  std::function<void()> play;
};

#if LACUNA_HAS_CUDA
namespace {

class CudaRecorder : public Recorder {
 public:
  explicit CudaRecorder(Device device) : device_(device) {}

  std::function<void()> record(const std::function<void()>& step) override {
    const CudaStream stream = cuda_stream(device_);
    std::shared_ptr<runtime::CudaGraph> graph;
    translate_failures("capture", [&] {
      runtime::begin_capture(stream);
      try {
        step();
        graph = std::make_shared<runtime::CudaGraph>(runtime::end_capture(stream));
      } catch (...) {
        runtime::abort_capture(stream);
        throw;
      }
    });
    return [graph, stream] { translate_failures("replay", [&] { graph->launch(stream); }); };
  }

 private:
  Device device_;
};

}  // namespace
#endif

std::unique_ptr<Recorder> make_recorder([[maybe_unused]] Device device) {
#if LACUNA_HAS_CUDA
  if (device.is_cuda()) return std::make_unique<CudaRecorder>(device);
#endif
  return nullptr;
}

CapturedStep::CapturedStep(Device device, std::unique_ptr<Recorder> recorder, int warmup)
    : device_(device), recorder_(std::move(recorder)), eager_runs_left_(warmup) {}

CapturedStep::~CapturedStep() {
  try {
    invalidate();
  } catch (const Error&) {  // a device that has failed was told about elsewhere; the members go all the same
  }
}

void CapturedStep::invalidate() {
  eager_runs_left_ = std::max(eager_runs_left_, 1);
  if (!replay_) return;
  synchronize(device_);  // a replay may be under way in the memory that goes
  replay_.reset();
}

std::size_t CapturedStep::reserved_bytes() const { return replay_ ? replay_->memory.bytes() : 0; }

void CapturedStep::capture(const std::function<void()>& step) {
  trim_memory(device_);  // what eager runs left cached would lie idle beside the recording's own memory
  auto recording = std::make_unique<Recording>(device_);
  const MemoryPool::Scope scope(recording->memory);
  recording->play = recorder_->record(step);
  replay_ = std::move(recording);
  ++num_captures_;
}

CapturedStep::Ran CapturedStep::run(const std::function<void()>& step, const StepSignature& signature) {
  if (signature != signature_) {
    if (!signature_.empty() || num_captures_ > 0) invalidate();
    signature_ = signature;
  }
  if (replay_) {
    replay_->play();
    return Ran::replayed;
  }
  if (recorder_ && eager_runs_left_ == 0) {
    recording_ = true;
    try {
      capture(step);
    } catch (const Error& error) {
      refusal_ = error.what();
      recorder_.reset();
    } catch (...) {  // no refusal: the step itself failed, and a later call may try again
      recording_ = false;
      throw;
    }
    recording_ = false;
    if (replay_) {
      replay_->play();
      return Ran::captured;
    }
  }
  step();
  if (eager_runs_left_ > 0) --eager_runs_left_;
  return Ran::eager;
}

}  // namespace lacuna
