// Devices, their one stream each, and their memory accounts.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <vector>

#include "kernels/runtime/views.h"

namespace lacuna {

enum class DeviceType : std::uint8_t { cpu, cuda };

struct Device {
  DeviceType type = DeviceType::cpu;
  int index = 0;
  bool is_cpu() const { return type == DeviceType::cpu; }
  bool is_cuda() const { return type == DeviceType::cuda; }
  bool operator==(const Device&) const = default;
};

inline constexpr Device kCpu{DeviceType::cpu, 0};
std::string to_string(Device device);  ///< "cpu", "cuda:0"

/// "cpu", "cuda", "cuda:1" or "auto" (the first CUDA device, else the CPU). Throws DeviceError.
Device parse_device(const std::string& text);

/// The CPU, then each CUDA device this build and machine can use.
std::vector<Device> devices();
/// Why there is no CUDA device ("built without CUDA", the driver's words), or "".
std::string cuda_unavailable_reason();
std::string device_name(Device device);

/// Whether f32 products may round their operands to TF32 on CUDA. As in PyTorch, `highest` is the default.
enum class MatmulPrecision : std::uint8_t { highest, tf32 };
void set_matmul_precision(Device device, MatmulPrecision precision);
MatmulPrecision matmul_precision(Device device);

/// The device's stream. Throws BackendError or DeviceError. All work of the library is ordered on it.
CudaStream cuda_stream(Device device);
void synchronize(Device device);

struct MemoryStats {
  std::size_t live_bytes = 0;        ///< in tensors now
  std::size_t peak_bytes = 0;        ///< most ever live since reset_peak_memory
  std::size_t cached_bytes = 0;      ///< held for reuse, in no tensor (CPU)
  std::int64_t num_allocations = 0;  ///< ever made
  std::size_t reserved_bytes = 0;    ///< kept for captured steps (core/memory_pool.h), in no tensor now
};
MemoryStats memory_stats(Device device);
void reset_peak_memory(Device device);
/// Sizes in bytes of the blocks that live now, unordered: lets a test prove that no dense buffer is alive.
std::vector<std::size_t> live_blocks(Device device);
/// Blocks that one op made, and how much they take.
struct MemoryBlocks {
  std::string op;
  std::size_t bytes = 0;
  std::int64_t count = 0;
};
/// Notes every block made from here on with its op, until it is called with false, which also forgets. For tools and tests.
void trace_memory(Device device, bool on);
/// The blocks made since trace_memory(true) that lived when these took the most, by op, the largest first.
std::vector<MemoryBlocks> blocks_at_peak(Device device);
/// Hands cached blocks back to the system.
void trim_memory(Device device);

/// Refuses allocations that would take the device's live bytes past this; 0 = no limit. For tests and shared machines.
void set_memory_limit(Device device, std::size_t bytes);

/// Names the op that runs, for out-of-memory messages and the profiler's timeline; nests.
class OpScope {
 public:
  explicit OpScope(const char* op);
  ~OpScope();
  OpScope(const OpScope&) = delete;
  OpScope& operator=(const OpScope&) = delete;
  static const char* current();  ///< innermost op of this thread, or "(no op)"

 private:
  const char* previous_;
};

}  // namespace lacuna
