// Host-to-device copies that do not make the host wait.
#pragma once

#include <vector>

#include "core/tensor.h"

namespace lacuna {

/// Copies host tensors to one device through a ring of pinned buffers. A buffer is reused only after the copy from it is
/// done, so with `depth` buffers per tensor the host runs that many batches ahead. On the CPU it hands tensors through.
class Uploader {
 public:
  explicit Uploader(Device device, int depth = 8) : device_(device), ring_(static_cast<std::size_t>(depth)) {}
  ~Uploader();
  Uploader(const Uploader&) = delete;
  Uploader& operator=(const Uploader&) = delete;

  Tensor upload(const Tensor& host);

 private:
  struct Slot {
    void* pinned = nullptr;
    std::size_t bytes = 0;
    void* copied = nullptr;  // event
  };
  Device device_;
  std::vector<Slot> ring_;
  std::size_t next_ = 0;
};

}  // namespace lacuna
