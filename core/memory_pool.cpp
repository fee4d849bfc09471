#include "core/memory_pool.h"

#include "core/allocator.h"

namespace lacuna {

MemoryPool::~MemoryPool() { allocator(device_).drop_pool(*this); }

std::size_t MemoryPool::bytes() const { return allocator(device_).pool_bytes(*this); }

MemoryPool::Scope::Scope(MemoryPool& pool) : pool_(pool) { allocator(pool.device_).enter_pool(pool); }

MemoryPool::Scope::~Scope() { allocator(pool_.device_).leave_pool(); }

}  // namespace lacuna
