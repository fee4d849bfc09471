#include "core/allocator.h"

#include <fmt/format.h>
#include <sys/sysinfo.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#if defined(__SANITIZE_ADDRESS__)
#include <sanitizer/asan_interface.h>
#endif

#include "core/errors.h"
#include "kernels/runtime/runtime.h"

namespace lacuna {
namespace {

constexpr std::size_t kAlignment = 64;  // a cache line, and the widest vector register

// Small blocks round to 64 bytes, large ones to an eighth of their power of two: at most 12.5 % waste, few classes.
std::size_t round_up(std::size_t bytes) {
  std::size_t step = kAlignment;
  while (step * 16 < bytes) step *= 2;
  return (bytes + step - 1) / step * step;
}

// AddressSanitizer sees a block as what was asked for: neither the tail that rounding adds nor a cached block may be touched.
#if defined(__SANITIZE_ADDRESS__)
void forbid(void* block, std::size_t bytes) { ASAN_POISON_MEMORY_REGION(block, bytes); }
void allow(void* block, std::size_t bytes) { ASAN_UNPOISON_MEMORY_REGION(block, bytes); }
#else
void forbid(void*, std::size_t) {}
void allow(void*, std::size_t) {}
#endif

std::size_t free_host_bytes() {
  return static_cast<std::size_t>(sysconf(_SC_AVPHYS_PAGES)) * static_cast<std::size_t>(sysconf(_SC_PAGESIZE));
}

// Memory and swap. Where the system overcommits, malloc grants more than this and the process dies writing to it.
std::size_t all_host_bytes() {
  static const std::size_t bytes = [] {
    struct sysinfo info = {};
    if (sysinfo(&info) != 0) return std::size_t{1} << 46;
    return (std::size_t{info.totalram} + info.totalswap) * info.mem_unit;
  }();
  return bytes;
}

}  // namespace

Allocator::~Allocator() {
  if (device_.is_cpu())
    for (auto& [size, blocks] : cached_)
      for (void* block : blocks) std::free(block);
}

void Allocator::refuse(std::size_t bytes, const char* detail) const {
  std::size_t available = device_.is_cpu() ? free_host_bytes() : 0;
#if LACUNA_HAS_CUDA
  if (device_.is_cuda()) available = runtime::free_bytes(device_.index);
#endif
  if (limit_ > 0) available = limit_ > stats_.live_bytes ? limit_ - stats_.live_bytes : 0;
  throw OutOfMemoryError(
      OpScope::current(),
      fmt::format("asked for {} bytes on {}, {} in use, {} free{}{}; a smaller batch, a shorter sequence or "
                  "a higher sparsity needs less",
                  bytes, to_string(device_), stats_.live_bytes, available, *detail ? ": " : "", detail));
}

void* Allocator::take(std::size_t rounded) {
  if (device_.is_cuda()) {
#if LACUNA_HAS_CUDA
    try {
      return runtime::allocate(stream_, device_.index, rounded);
    } catch (const runtime::Failure& failure) {
      if (!failure.out_of_memory) throw DeviceError(OpScope::current(), failure.what);
    }
    try {
      runtime::trim(stream_, device_.index);  // fragments of the pool may hold what we need
      return runtime::allocate(stream_, device_.index, rounded);
    } catch (const runtime::Failure& failure) {
      refuse(rounded, failure.what.c_str());
    }
#endif
  }
  auto found = cached_.find(rounded);
  if (found != cached_.end() && !found->second.empty()) {
    void* block = found->second.back();
    found->second.pop_back();
    stats_.cached_bytes -= rounded;
    return block;
  }
  void* block = std::aligned_alloc(kAlignment, rounded);
  if (!block) {
    for (auto& [size, blocks] : cached_) {  // the cache may be what is in the way
      for (void* cached : blocks) std::free(cached);
      blocks.clear();
    }
    stats_.cached_bytes = 0;
    block = std::aligned_alloc(kAlignment, rounded);
  }
  if (!block) refuse(rounded, "");
  return block;
}

void* Allocator::allocate(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  // Guard the rounding itself: a request this large can only be a mistake or an attack, and must read as what it is.
  if (bytes > (std::size_t{1} << 46) || (device_.is_cpu() && bytes > all_host_bytes())) refuse(bytes, "");
  const std::size_t rounded = round_up(bytes == 0 ? 1 : bytes);
  const bool pooled = in_pool();
  if (limit_ > 0 && stats_.live_bytes + stats_.reserved_bytes + rounded > limit_ && !pooled) refuse(rounded, "");
  void* block = pooled ? take_from_pool(rounded) : take(rounded);
  note_live(block, bytes, rounded);
  if (device_.is_cpu()) {
    allow(block, rounded);
#if defined(LACUNA_POISON)
    std::memset(block, 0xFF, rounded);  // every float a NaN: an unwritten output shows
#endif
    forbid(static_cast<char*>(block) + bytes, rounded - bytes);
  }
  return block;
}

void Allocator::release(void* pointer, std::size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  const std::size_t rounded = round_up(bytes == 0 ? 1 : bytes);
  note_released(pointer, rounded);
  if (in_pool() || pooled_.count(pointer) > 0) return release_to_pool(pointer, rounded);
  give_back(pointer, rounded);
}

void Allocator::give_back(void* pointer, std::size_t rounded) noexcept {
  if (device_.is_cuda()) {
#if LACUNA_HAS_CUDA
    runtime::release(stream_, device_.index, pointer);
#endif
    return;
  }
  forbid(pointer, rounded);
  cached_[rounded].push_back(pointer);
  stats_.cached_bytes += rounded;
}

void Allocator::note_live(void* pointer, std::size_t bytes, std::size_t rounded) {
  live_[pointer] = bytes;
  stats_.live_bytes += rounded;
  stats_.peak_bytes = std::max(stats_.peak_bytes, stats_.live_bytes);
  ++stats_.num_allocations;
  if (tracing_) events_.push_back({pointer, rounded, OpScope::current()});
}

void Allocator::note_released(void* pointer, std::size_t rounded) {
  live_.erase(pointer);
  stats_.live_bytes -= rounded;
  if (tracing_) events_.push_back({pointer, 0, nullptr});
}

void* Allocator::reserve(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  if (bytes > (std::size_t{1} << 46)) refuse(bytes, "");
  const std::size_t rounded = round_up(bytes == 0 ? 1 : bytes);
  void* pointer = reinterpret_cast<void*>(next_reserved_);
  next_reserved_ += rounded;
  note_live(pointer, bytes, rounded);
  return pointer;
}

void Allocator::release_reserved(void* pointer, std::size_t bytes) noexcept {
  const std::lock_guard lock(mutex_);
  note_released(pointer, round_up(bytes == 0 ? 1 : bytes));
}

void Allocator::trace(bool on) {
  const std::lock_guard lock(mutex_);
  tracing_ = on;
  events_.clear();
}

std::vector<MemoryBlocks> Allocator::blocks_at_peak() const {
  const std::lock_guard lock(mutex_);
  std::unordered_map<void*, std::size_t> size;  // of the traced blocks; older ones are not told apart
  std::size_t now = 0, most = 0, peak = 0;
  for (std::size_t i = 0; i < events_.size(); ++i) {
    const Event& event = events_[i];
    const auto found = size.find(event.pointer);
    if (event.bytes > 0) {
      size[event.pointer] = event.bytes;
      now += event.bytes;
    } else if (found != size.end()) {
      now -= found->second;
      size.erase(found);
    }
    if (now > most) most = now, peak = i + 1;
  }
  std::unordered_map<void*, const Event*> live;
  for (std::size_t i = 0; i < peak; ++i) {
    if (events_[i].bytes > 0)
      live[events_[i].pointer] = &events_[i];
    else
      live.erase(events_[i].pointer);
  }
  std::map<std::string, MemoryBlocks> by_op;
  for (const auto& [pointer, event] : live) {
    MemoryBlocks& blocks = by_op[event->op];
    blocks.op = event->op;
    blocks.bytes += event->bytes;
    ++blocks.count;
  }
  std::vector<MemoryBlocks> result;
  for (const auto& [op, blocks] : by_op) result.push_back(blocks);
  std::stable_sort(result.begin(), result.end(), [](const auto& a, const auto& b) { return a.bytes > b.bytes; });
  return result;
}

MemoryStats Allocator::stats() const {
  const std::lock_guard lock(mutex_);
  return stats_;
}

void Allocator::reset_peak() {
  const std::lock_guard lock(mutex_);
  stats_.peak_bytes = stats_.live_bytes;
}

std::vector<std::size_t> Allocator::live_blocks() const {
  const std::lock_guard lock(mutex_);
  std::vector<std::size_t> sizes;
  for (const auto& [pointer, bytes] : live_) sizes.push_back(bytes);
  return sizes;
}

void Allocator::trim() {
  const std::lock_guard lock(mutex_);
  if (device_.is_cuda()) {
#if LACUNA_HAS_CUDA
    try {
      runtime::trim(stream_, device_.index);
    } catch (const runtime::Failure& failure) {
      throw DeviceError("trim", failure.what);
    }
#endif
    return;
  }
  for (auto& [size, blocks] : cached_)
    for (void* block : blocks) std::free(block);
  cached_.clear();
  stats_.cached_bytes = 0;
}

void Allocator::set_limit(std::size_t bytes) {
  const std::lock_guard lock(mutex_);
  limit_ = bytes;
}

}  // namespace lacuna
