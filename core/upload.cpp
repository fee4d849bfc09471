#include "core/upload.h"

#include <cstring>

#include "core/visit.h"

namespace lacuna {

Uploader::~Uploader() {
#if LACUNA_HAS_CUDA
  for (Slot& slot : ring_) {
    if (slot.copied) runtime::destroy_event(slot.copied);
    if (slot.pinned) runtime::release_pinned(slot.pinned);
  }
#endif
}

Tensor Uploader::upload(const Tensor& host) {
  if (device_.is_cpu()) return host;
  Tensor target = Tensor::empty(host.shape(), host.dtype(), device_);
#if LACUNA_HAS_CUDA
  translate_failures("upload", [&] {
    Slot& slot = ring_[next_++ % ring_.size()];
    if (slot.copied) runtime::wait_event(slot.copied);
    if (slot.bytes < host.nbytes()) {
      if (slot.pinned) runtime::release_pinned(slot.pinned);
      slot.pinned = nullptr;
      slot.pinned = runtime::allocate_pinned(host.nbytes());
      slot.bytes = host.nbytes();
    }
    std::memcpy(slot.pinned, host.raw(), host.nbytes());
    const CudaStream stream = cuda_stream(device_);
    runtime::copy(stream, device_.index, target.raw(), slot.pinned, host.nbytes());
    if (!slot.copied) slot.copied = runtime::create_event();
    runtime::record_event(stream, slot.copied);
  });
#endif
  return target;
}

}  // namespace lacuna
