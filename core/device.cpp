#include "core/device.h"

#include <fmt/format.h>

#include <cstdlib>
#include <memory>
#include <thread>

#include "core/allocator.h"
#include "core/errors.h"
#include "core/kernel_set.h"
#include "kernels/runtime/runtime.h"

namespace lacuna {
namespace {

thread_local const char* current_op = "(no op)";

struct CudaDevice {
  runtime::DeviceInfo info;
  CudaStream stream;
  KernelSet kernels;
  std::unique_ptr<Allocator> allocator;  // set when the device is first used
};

// The device list: the one global. Found once; a CUDA device is opened (context, stream, handles) on first use.
struct DeviceList {
  Allocator cpu{kCpu};
  std::vector<CudaDevice> cuda;
  std::string why_no_cuda;
  std::mutex mutex;

  DeviceList() {
#if LACUNA_HAS_CUDA
    for (auto& info : runtime::cuda_devices(&why_no_cuda)) cuda.push_back({info, {}, {}, nullptr});
#else
    why_no_cuda = "built without CUDA";
#endif
  }
};

// Never destroyed: tensors in static storage of a program may outlive any order of destruction we could choose.
DeviceList& device_list() {
  static auto* list = new DeviceList;
  return *list;
}

CudaDevice& opened(Device device) {
  DeviceList& list = device_list();
  if (device.index < 0 || device.index >= static_cast<int>(list.cuda.size()))
    throw DeviceError("device",
                      fmt::format("{}; {}", to_string(device),
                                  list.cuda.empty() ? "no CUDA device: " + list.why_no_cuda
                                                    : fmt::format("must be below cuda:{}", list.cuda.size())));
  CudaDevice& entry = list.cuda[static_cast<std::size_t>(device.index)];
#if LACUNA_HAS_CUDA
  const std::lock_guard lock(list.mutex);
  if (!entry.allocator) {
    if (entry.info.compute_capability != 90) {
      entry.kernels = {.spmm_panel = false,
                       .spmm_tensor = false,
                       .sddmm_tensor = false,
                       .half_product = false,
                       .fused_attention = false,
                       .bf16_product = false,
                       .dependent_launch = false};
    }
    if (const char* off = std::getenv("LACUNA_KERNELS_OFF")) entry.kernels = without(entry.kernels, off);
    try {
      entry.stream = runtime::open_cuda_device(device.index);
    } catch (const runtime::Failure& failure) {
      throw DeviceError("device", fmt::format("{} does not open: {}", to_string(device), failure.what));
    }
    runtime::allow_dependent_launches(entry.stream, entry.kernels.dependent_launch);
    entry.allocator = std::make_unique<Allocator>(device, entry.stream);
  }
#endif
  return entry;
}

}  // namespace

std::string to_string(Device device) { return device.is_cpu() ? "cpu" : fmt::format("cuda:{}", device.index); }

Device parse_device(const std::string& text) {
  const DeviceList& list = device_list();
  if (text == "cpu") return kCpu;
  if (text == "auto") return list.cuda.empty() ? kCpu : Device{DeviceType::cuda, 0};
  int index = -1;
  if (text == "cuda") index = 0;
  if (text.rfind("cuda:", 0) == 0 && text.size() > 5 && text.size() < 8 &&
      text.find_first_not_of("0123456789", 5) == std::string::npos)
    index = std::stoi(text.substr(5));
  if (index < 0) throw DeviceError("device", fmt::format("'{}'; must be auto, cpu, cuda or cuda:N", text));
  if (index >= static_cast<int>(list.cuda.size()))
    throw DeviceError("device",
                      fmt::format("'{}'; {}", text,
                                  list.cuda.empty() ? "there is no CUDA device: " + list.why_no_cuda
                                                    : fmt::format("this machine has {} of them", list.cuda.size())));
  return {DeviceType::cuda, index};
}

std::vector<Device> devices() {
  std::vector<Device> all{kCpu};
  for (int i = 0; i < static_cast<int>(device_list().cuda.size()); ++i) all.push_back({DeviceType::cuda, i});
  return all;
}

std::string cuda_unavailable_reason() { return device_list().cuda.empty() ? device_list().why_no_cuda : ""; }

std::string device_name(Device device) {
  if (device.is_cpu()) return fmt::format("CPU, {} threads", std::thread::hardware_concurrency());
  return opened(device).info.name;
}

void set_matmul_precision(Device device, MatmulPrecision precision) {
  if (device.is_cuda()) opened(device).stream.allow_tf32 = precision == MatmulPrecision::tf32;
}

MatmulPrecision matmul_precision(Device device) {
  return device.is_cuda() && opened(device).stream.allow_tf32 ? MatmulPrecision::tf32 : MatmulPrecision::highest;
}

KernelSet allowed_kernels(Device device) { return device.is_cuda() ? opened(device).kernels : KernelSet{}; }

void set_allowed_kernels(Device device, const KernelSet& set) {
  if (!device.is_cuda()) return;
  CudaDevice& entry = opened(device);
  entry.kernels = set;
#if LACUNA_HAS_CUDA
  runtime::allow_dependent_launches(entry.stream, set.dependent_launch);
#endif
}

CudaStream cuda_stream(Device device) {
  if (device.is_cpu()) throw BackendError("cuda_stream", "device cpu; must be a CUDA device");
  return opened(device).stream;
}

Allocator& allocator(Device device) { return device.is_cpu() ? device_list().cpu : *opened(device).allocator; }

void synchronize([[maybe_unused]] Device device) {
#if LACUNA_HAS_CUDA
  if (device.is_cpu()) return;
  try {
    runtime::synchronize(opened(device).stream, device.index);
  } catch (const runtime::Failure& failure) {
    throw DeviceError("synchronize", failure.what);
  }
#endif
}

MemoryStats memory_stats(Device device) { return allocator(device).stats(); }
void reset_peak_memory(Device device) { allocator(device).reset_peak(); }
std::vector<std::size_t> live_blocks(Device device) { return allocator(device).live_blocks(); }
void trace_memory(Device device, bool on) { allocator(device).trace(on); }
std::vector<MemoryBlocks> blocks_at_peak(Device device) { return allocator(device).blocks_at_peak(); }
void trim_memory(Device device) { allocator(device).trim(); }
void set_memory_limit(Device device, std::size_t bytes) { allocator(device).set_limit(bytes); }

OpScope::OpScope(const char* op) : previous_(current_op) {
  current_op = op;
#if LACUNA_HAS_CUDA
  runtime::push_range(op);
#endif
}
OpScope::~OpScope() {
  current_op = previous_;
#if LACUNA_HAS_CUDA
  runtime::pop_range();
#endif
}
const char* OpScope::current() { return current_op; }

}  // namespace lacuna
