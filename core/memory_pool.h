// MemoryPool: memory that stays reserved for a captured step, so that its replays find their addresses unused by others.
#pragma once

#include <cstddef>
#include <map>
#include <utility>
#include <vector>

#include "core/device.h"

namespace lacuna {

/// The rule: within a Scope, every block the device's allocator hands out comes from the pool, and every block released
/// goes to the pool; nothing leaves the pool while it lives. So whatever a captured step has touched stays as it was
/// during capture. Blocks that are in tensors when the pool dies become ordinary ones. One stream and one thread at a
/// time: in replay blocks are reused in the order of the capture.
class MemoryPool {
 public:
  explicit MemoryPool(Device device) : device_(device) {}
  ~MemoryPool();
  MemoryPool(const MemoryPool&) = delete;
  MemoryPool& operator=(const MemoryPool&) = delete;

  /// Bytes reserved: of blocks in tensors and not.
  std::size_t bytes() const;
  Device device() const { return device_; }

  /// While it lives, allocations of this thread on the pool's device are the pool's. Does not nest on one device: throws
  /// ValueError.
  class Scope {
   public:
    explicit Scope(MemoryPool& pool);
    ~Scope();
    Scope(const Scope&) = delete;
    Scope& operator=(const Scope&) = delete;

   private:
    MemoryPool& pool_;
  };

 private:
  friend class Allocator;
  const Device device_;
  std::map<std::size_t, std::vector<void*>> free_;      // blocks to hand out again, by size
  std::vector<std::pair<void*, std::size_t>> adopted_;  // ordinary blocks that were released within a scope
  std::size_t bytes_ = 0;
};

}  // namespace lacuna
