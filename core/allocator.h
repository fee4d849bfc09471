// The caching allocator behind Tensor: one per device, with its account of bytes.
#pragma once

#include <cstddef>
#include <cstdint>
#include <map>
#include <mutex>
#include <thread>
#include <unordered_map>
#include <vector>

#include "core/device.h"

namespace lacuna {

class MemoryPool;

/// CPU blocks are kept in size classes and reused: a training step that repeats asks the system for nothing and faults no
/// pages in. CUDA blocks come from the driver's stream-ordered pool, which does the same. Thread-safe.
class Allocator {
 public:
  explicit Allocator(Device device, CudaStream stream = {}) : device_(device), stream_(stream) {}
  ~Allocator();
  Allocator(const Allocator&) = delete;
  Allocator& operator=(const Allocator&) = delete;

  /// 64-byte aligned. Throws OutOfMemoryError naming the current op, the request and the free bytes.
  void* allocate(std::size_t bytes);
  void release(void* pointer, std::size_t bytes) noexcept;

  /// Accounts for a block without making it, for dry runs: the address is unique and leads nowhere. No limit holds.
  void* reserve(std::size_t bytes);
  void release_reserved(void* pointer, std::size_t bytes) noexcept;

  /// Notes every block from here on, with the op that asked for it; false stops and forgets.
  void trace(bool on);
  std::vector<MemoryBlocks> blocks_at_peak() const;

  MemoryStats stats() const;
  void reset_peak();
  std::vector<std::size_t> live_blocks() const;
  void trim();
  void set_limit(std::size_t bytes);

  /// For MemoryPool alone.
  void enter_pool(MemoryPool& pool);
  void leave_pool();
  void drop_pool(MemoryPool& pool) noexcept;
  std::size_t pool_bytes(const MemoryPool& pool) const;

 private:
  struct Event {
    void* pointer;
    std::size_t bytes;  // rounded; 0 when the block was released
    const char* op;
  };
  // A block of a pool that is in a tensor now; the pool is null once it is gone.
  struct Pooled {
    MemoryPool* pool;
    std::size_t size;
  };
  bool in_pool() const { return pool_ != nullptr && pool_thread_ == std::this_thread::get_id(); }
  void* take(std::size_t rounded);
  void* take_from_pool(std::size_t rounded);
  void release_to_pool(void* pointer, std::size_t rounded);
  void free_fixed(void* pointer, std::size_t size) noexcept;
  void give_back(void* pointer, std::size_t rounded) noexcept;
  void note_live(void* pointer, std::size_t bytes, std::size_t rounded);
  void note_released(void* pointer, std::size_t rounded);
  [[noreturn]] void refuse(std::size_t bytes, const char* detail) const;

  const Device device_;
  const CudaStream stream_;
  mutable std::mutex mutex_;
  std::map<std::size_t, std::vector<void*>> cached_;  // CPU: free blocks by rounded size
  std::unordered_map<void*, std::size_t> live_;       // address -> requested bytes
  std::unordered_map<void*, Pooled> pooled_;
  MemoryPool* pool_ = nullptr;  // that a scope of pool_thread_ allocates from
  std::thread::id pool_thread_;
  MemoryStats stats_;
  std::size_t limit_ = 0;
  std::uintptr_t next_reserved_ = std::uintptr_t{1} << 56;  // no address of a program
  bool tracing_ = false;
  std::vector<Event> events_;
};

Allocator& allocator(Device device);

}  // namespace lacuna
