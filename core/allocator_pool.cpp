// The allocator's half of MemoryPool: where blocks come from and go to while a step is captured.
#include <cstdlib>

#include "core/allocator.h"
#include "core/errors.h"
#include "core/memory_pool.h"
#include "kernels/runtime/graph.h"
#include "kernels/runtime/runtime.h"

namespace lacuna {

namespace {

// A free block this much larger than asked for is still taken: reserving less beats fitting exactly.
std::size_t largest_fit(std::size_t rounded) { return rounded + rounded / 2; }

}  // namespace

void Allocator::enter_pool(MemoryPool& pool) {
  const std::lock_guard lock(mutex_);
  if (pool_) throw ValueError("memory_pool", "a scope inside another on " + to_string(device_) + "; must not nest");
  pool_ = &pool;
  pool_thread_ = std::this_thread::get_id();
}

void Allocator::leave_pool() {
  const std::lock_guard lock(mutex_);
  pool_ = nullptr;
}

std::size_t Allocator::pool_bytes(const MemoryPool& pool) const {
  const std::lock_guard lock(mutex_);
  return pool.bytes_;
}

void* Allocator::take_from_pool(std::size_t rounded) {
  const auto found = pool_->free_.lower_bound(rounded);
  if (found != pool_->free_.end() && found->first <= largest_fit(rounded)) {
    void* block = found->second.back();
    const std::size_t size = found->first;
    found->second.pop_back();
    if (found->second.empty()) pool_->free_.erase(found);
    stats_.reserved_bytes -= size;
    pooled_[block] = {pool_, size};
    return block;
  }
  if (limit_ > 0 && stats_.live_bytes + stats_.reserved_bytes + rounded > limit_) refuse(rounded, "");
  void* block = nullptr;
  if (device_.is_cuda()) {
#if LACUNA_HAS_CUDA
    try {
      block = runtime::allocate_fixed(device_.index, rounded);
    } catch (const runtime::Failure& failure) {
      if (!failure.out_of_memory) throw DeviceError(OpScope::current(), failure.what);
      refuse(rounded, failure.what.c_str());
    }
#endif
  } else {
    block = take(rounded);
  }
  pool_->bytes_ += rounded;
  pooled_[block] = {pool_, rounded};
  return block;
}

void Allocator::release_to_pool(void* pointer, std::size_t rounded) {
  const auto found = pooled_.find(pointer);
  if (found == pooled_.end()) {  // an ordinary block: a captured kernel may still read it in replays
    pool_->adopted_.push_back({pointer, rounded});
    pool_->bytes_ += rounded;
    stats_.reserved_bytes += rounded;
    return;
  }
  const Pooled block = found->second;
  pooled_.erase(found);
  if (!block.pool) return free_fixed(pointer, block.size);
  block.pool->free_[block.size].push_back(pointer);
  stats_.reserved_bytes += block.size;
}

void Allocator::free_fixed(void* pointer, [[maybe_unused]] std::size_t size) noexcept {
#if LACUNA_HAS_CUDA
  if (device_.is_cuda()) return runtime::release_fixed(device_.index, pointer);
#endif
  give_back(pointer, size);
}

void Allocator::drop_pool(MemoryPool& pool) noexcept {
  const std::lock_guard lock(mutex_);
  for (auto& [size, blocks] : pool.free_) {
    for (void* block : blocks) free_fixed(block, size);
    stats_.reserved_bytes -= size * blocks.size();
  }
  for (const auto& [block, size] : pool.adopted_) {
    give_back(block, size);
    stats_.reserved_bytes -= size;
  }
  for (auto& [block, owner] : pooled_)
    if (owner.pool == &pool) owner.pool = nullptr;
}

}  // namespace lacuna
