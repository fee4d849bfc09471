// Host-to-device copies that neither make the host wait nor the device's work.
#pragma once

#include <vector>

#include "core/tensor.h"
#include "kernels/runtime/views.h"

namespace lacuna {

/// Copies host tensors to one device through a ring of slots, each a pinned buffer and a place on the device. Copies go on
/// a stream of their own: the one for a step runs beside the step before it. On the CPU it hands tensors through, and
/// everywhere those that are on the device already.
class Uploader {
 public:
  /// `depth` is even: a batch of two tensors is uploaded while the one before is worked on, with 4.
  explicit Uploader(Device device, int depth = 4) : device_(device), ring_(static_cast<std::size_t>(depth)) {}
  ~Uploader();
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  /// The result is for work that is queued before `depth` / 2 further uploads begin: its place is written again later.
  Tensor upload(const Tensor& host);

 private:
  struct Slot {
    void* pinned = nullptr;
    std::size_t bytes = 0;
    Tensor place;
    void* copied = nullptr;  ///< event of the copying stream: the pinned buffer has been read, the place is full
    void* read = nullptr;    ///< event of the device's stream: the place's readers are done
  };
  void prepare(Slot& slot, const Tensor& host);
  Device device_;
  std::vector<Slot> ring_;
  std::size_t next_ = 0;
  CudaStream copies_;
};

}  // namespace lacuna
