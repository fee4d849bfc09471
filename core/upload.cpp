#include "core/upload.h"

#include "core/visit.h"
#include "kernels/runtime/copy_stream.h"
#include "kernels/runtime/host_copy.h"

namespace lacuna {

Uploader::~Uploader() {
#if LACUNA_HAS_CUDA
  for (Slot& slot : ring_) {
    try {
      if (slot.copied) runtime::wait_event(slot.copied);  // the buffer is being read
    } catch (const runtime::Failure&) {                   // a device that has failed reads no more
    }
    if (slot.copied) runtime::destroy_event(slot.copied);
    if (slot.read) runtime::destroy_event(slot.read);
    if (slot.pinned) runtime::release_pinned(slot.pinned);
  }
  if (copies_.handle) runtime::close_copy_stream(copies_);
#endif
}

#if LACUNA_HAS_CUDA
void Uploader::prepare(Slot& slot, const Tensor& host) {
  const CudaStream stream = cuda_stream(device_);
  if (!copies_.handle) copies_ = runtime::open_copy_stream(stream, device_.index);
  if (!slot.copied)
    slot.copied = runtime::create_event();
  else
    runtime::wait_event(slot.copied);
  if (!slot.read) slot.read = runtime::create_event();
  if (slot.bytes < host.nbytes()) {
    if (slot.pinned) runtime::release_pinned(slot.pinned);
    slot.pinned = nullptr;
    slot.pinned = runtime::allocate_pinned(host.nbytes());
    slot.bytes = host.nbytes();
  }
  if (slot.place.defined() && slot.place.shape() == host.shape() && slot.place.dtype() == host.dtype()) return;
  // The old place is let go, and the new one ready, in the order of the device's stream.
  slot.place = Tensor::empty(host.shape(), host.dtype(), device_);
  runtime::record_event(stream, slot.read);
}
#endif

Tensor Uploader::upload(const Tensor& host) {
  if (device_.is_cpu() || host.device() == device_) return host;
#if LACUNA_HAS_CUDA
  translate_failures("upload", [&] {
    const CudaStream stream = cuda_stream(device_);
    const std::size_t depth = ring_.size();
    // All work on the upload of half a ring ago has been queued.
    if (Slot& earlier = ring_[(next_ + depth / 2) % depth]; earlier.read) runtime::record_event(stream, earlier.read);
    Slot& slot = ring_[next_ % depth];
    prepare(slot, host);
    runtime::host_copy(slot.pinned, host.raw(), host.nbytes());
    runtime::stream_wait_event(copies_, slot.read);
    runtime::copy(copies_, device_.index, slot.place.raw(), slot.pinned, host.nbytes());
    runtime::record_event(copies_, slot.copied);
    runtime::stream_wait_event(stream, slot.copied);
  });
#endif
  return ring_[next_++ % ring_.size()].place;
}

}  // namespace lacuna
