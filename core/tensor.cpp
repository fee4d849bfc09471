#include "core/tensor.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstring>

#include "core/allocator.h"
#include "core/dry_run.h"
#include "core/errors.h"
#include "kernels/runtime/runtime.h"
#include "kernels/store/store.h"

namespace lacuna {

class Storage {
 public:
  Storage(Device device, std::size_t bytes, bool dry)
      : device_(device),
        bytes_(bytes),
        dry_(dry),
        data_(dry ? allocator(device).reserve(bytes) : allocator(device).allocate(bytes)) {}
  ~Storage() {
    if (dry_)
      allocator(device_).release_reserved(data_, bytes_);
    else
      allocator(device_).release(data_, bytes_);
  }
  Storage(const Storage&) = delete;
  Storage& operator=(const Storage&) = delete;
  void* data() const { return data_; }
  bool dry() const { return dry_; }

 private:
  Device device_;
  std::size_t bytes_;
  bool dry_;
  void* data_;
};

namespace {

// Runs a runtime call, with its Failure turned into the typed error.
template <class F>
void guarded(const char* where, F&& f) {
  try {
    f();
  } catch (const runtime::Failure& failure) {
    throw DeviceError(where, failure.what);
  }
}

void copy_bytes(void* to, Device to_device, const void* from, Device from_device, std::size_t bytes) {
  if (bytes == 0) return;
  if (to_device.is_cpu() && from_device.is_cpu()) {
    std::memmove(to, from, bytes);
    return;
  }
#if LACUNA_HAS_CUDA
  const Device gpu = to_device.is_cuda() ? to_device : from_device;
  if (to_device.is_cuda() && from_device.is_cuda() && !(to_device == from_device)) synchronize(from_device);
  guarded("copy", [&] {
    const CudaStream stream = cuda_stream(gpu);
    runtime::copy(stream, gpu.index, to, from, bytes);
    // The host side may be reused or read as soon as we return.
    if (to_device.is_cpu() || from_device.is_cpu()) runtime::synchronize(stream, gpu.index);
  });
#endif
}

/// Saturates, so that no shape's size wraps to one that could be had: the allocator refuses the largest.
std::size_t bytes_of(std::int64_t numel, DType dtype) {
  constexpr std::size_t kMost = std::size_t{1} << 62;
  const auto count = static_cast<std::size_t>(numel);
  return count > kMost / size_of(dtype) ? kMost : count * size_of(dtype);
}

}  // namespace

Tensor Tensor::empty(const Shape& shape, DType dtype, Device device) {
  Tensor t;
  t.shape_ = shape;
  t.dtype_ = dtype;
  t.device_ = device;
  t.storage_ =
      std::make_shared<Storage>(device, bytes_of(shape.numel(), dtype), DryRun::active() && is_float(dtype));
  return t;
}

Tensor Tensor::scratch(std::size_t bytes, Device device) {
  Tensor t;
  t.shape_ = {static_cast<std::int64_t>(bytes)};
  t.dtype_ = DType::u8;
  t.device_ = device;
  if (bytes > 0) t.storage_ = std::make_shared<Storage>(device, bytes, DryRun::active());
  return t;
}

bool Tensor::is_dry() const { return storage_ && storage_->dry(); }

Tensor Tensor::zeros(const Shape& shape, DType dtype, Device device) {
  Tensor t = empty(shape, dtype, device);
  t.zero();
  return t;
}

Tensor Tensor::full(const Shape& shape, double value, DType dtype, Device device) {
  if (DryRun::active() && is_float(dtype)) return empty(shape, dtype, device);
  Tensor host = empty(shape, dtype, kCpu);
  const auto fill = [&]<class T>(T typed) { std::fill_n(host.data<T>(), host.numel(), typed); };
  switch (dtype) {
    case DType::f32:
      fill(static_cast<float>(value));
      break;
    case DType::f64:
      fill(value);
      break;
    case DType::bf16:
      fill(Bf16(value));
      break;
    case DType::i32:
      fill(static_cast<std::int32_t>(value));
      break;
    case DType::i64:
      fill(static_cast<std::int64_t>(value));
      break;
    case DType::u8:
      fill(static_cast<std::uint8_t>(value));
      break;
  }
#if LACUNA_HAS_CUDA
  // Few bytes travel as a kernel's arguments: nobody waits for the device, and a captured step may do it (backward's seed).
  if (device.is_cuda() && host.nbytes() <= kernels::kMostStored) {
    const Tensor t = empty(shape, dtype, device);
    guarded("full", [&] { kernels::store(cuda_stream(device), host.raw(), host.nbytes(), t.raw()); });
    return t;
  }
#endif
  return host.to(device);
}

template <class T>
Tensor Tensor::from(const std::vector<T>& values, const Shape& shape, Device device) {
  if (static_cast<std::int64_t>(values.size()) != shape.numel())
    throw ShapeError("from",
                     fmt::format("{} values for shape {}; must be {}", values.size(), to_string(shape), shape.numel()));
  Tensor t = empty(shape, dtype_of<T>, device);
  if (t.is_dry()) return t;
  copy_bytes(t.raw(), device, values.data(), kCpu, t.nbytes());
  return t;
}

void* Tensor::raw() const {
  if (!storage_) return nullptr;
  return static_cast<char*>(storage_->data()) + offset_ * static_cast<std::int64_t>(size_of(dtype_));
}

template <class T>
T* Tensor::data() const {
  if (dtype_of<T> != dtype_)
    throw DtypeError("data", fmt::format("{} read as {}; must be the same", describe(*this), to_string(dtype_of<T>)));
  return static_cast<T*>(raw());
}

Tensor Tensor::reshape(const Shape& shape) const {
  if (shape.numel() != numel())
    throw ShapeError("reshape",
                     fmt::format("{} to {}; the number of elements must stay", describe(*this), to_string(shape)));
  Tensor t = *this;
  t.shape_ = shape;
  return t;
}

Tensor Tensor::slice(std::int64_t begin, std::int64_t end) const {
  if (rank() == 0 || begin < 0 || end < begin || end > dim(0))
    throw IndexError("slice",
                     fmt::format("[{}, {}) of {}; must lie within the first axis", begin, end, describe(*this)));
  Tensor t = *this;
  Shape shape{end - begin};
  std::int64_t stride = 1;
  for (int axis = 1; axis < rank(); ++axis) {
    shape.push_back(shape_[axis]);
    stride *= shape_[axis];
  }
  t.shape_ = shape;
  t.offset_ += begin * stride;
  return t;
}

Tensor Tensor::clone() const {
  Tensor t = empty_like(*this);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(Device device) const {
  if (device == device_ || !defined()) return *this;
  Tensor t = empty(shape_, dtype_, device);
  t.copy_from(*this);
  return t;
}

Tensor Tensor::to(DType dtype) const {
  if (dtype == dtype_) return *this;
  if (is_dry()) return empty(shape_, dtype, device_);
  const Tensor source = to(kCpu);
  Tensor target = empty(shape_, dtype, kCpu);
  const auto convert = [&]<class From, class To>(From*, To*) {
    std::transform(source.data<From>(), source.data<From>() + numel(), target.data<To>(),
                   [](From v) { return static_cast<To>(static_cast<acc_t<From>>(v)); });
  };
  const auto from = [&]<class From>(From* tag) {
    switch (dtype) {
      case DType::f32:
        return convert(tag, static_cast<float*>(nullptr));
      case DType::f64:
        return convert(tag, static_cast<double*>(nullptr));
      case DType::bf16:
        return convert(tag, static_cast<Bf16*>(nullptr));
      case DType::i32:
        return convert(tag, static_cast<std::int32_t*>(nullptr));
      default:
        throw DtypeError("to",
                         fmt::format("{} to {}; must be among f32, f64, bf16, i32", describe(*this), to_string(dtype)));
    }
  };
  switch (dtype_) {
    case DType::f32:
      from(static_cast<float*>(nullptr));
      break;
    case DType::f64:
      from(static_cast<double*>(nullptr));
      break;
    case DType::bf16:
      from(static_cast<Bf16*>(nullptr));
      break;
    case DType::i32:
      from(static_cast<std::int32_t*>(nullptr));
      break;
    case DType::u8:
      from(static_cast<std::uint8_t*>(nullptr));
      break;
    default:
      throw DtypeError("to",
                       fmt::format("{} to {}; must be among f32, f64, bf16, i32", describe(*this), to_string(dtype)));
  }
  return target.to(device_);
}

void Tensor::copy_from(const Tensor& other) const {
  if (other.dtype() != dtype_)
    throw DtypeError("copy_from", describe(other) + " into " + describe(*this) + "; dtypes must agree");
  if (other.numel() != numel())
    throw ShapeError("copy_from", describe(other) + " into " + describe(*this) + "; counts must agree");
  if (is_dry() || other.is_dry()) return;
  copy_bytes(raw(), device_, other.raw(), other.device(), nbytes());
}

void Tensor::zero() const {
  if (numel() == 0 || is_dry()) return;
  if (device_.is_cpu()) {
    std::memset(raw(), 0, nbytes());
    return;
  }
#if LACUNA_HAS_CUDA
  guarded("zero", [&] { runtime::clear(cuda_stream(device_), device_.index, raw(), nbytes()); });
#endif
}

template <class T>
std::vector<T> Tensor::to_vector() const {
  data<T>();  // checks the dtype
  std::vector<T> values(static_cast<std::size_t>(numel()));
  if (is_dry()) return values;
  copy_bytes(values.data(), kCpu, raw(), device_, nbytes());
  return values;
}

double Tensor::item() const {
  if (numel() != 1) throw ShapeError("item", describe(*this) + "; must hold one element");
  switch (dtype_) {
    case DType::f32:
      return to_vector<float>()[0];
    case DType::f64:
      return to_vector<double>()[0];
    case DType::bf16:
      return to_vector<Bf16>()[0];
    case DType::i32:
      return to_vector<std::int32_t>()[0];
    case DType::i64:
      return static_cast<double>(to_vector<std::int64_t>()[0]);
    case DType::u8:
      return to_vector<std::uint8_t>()[0];
  }
  return 0;
}

Tensor reuse_or_empty(const Tensor& gradient) {
  return gradient.is_unique() ? gradient : Tensor::empty_like(gradient);
}

std::string describe(const Tensor& tensor) {
  if (!tensor.defined()) return "an undefined tensor";
  return fmt::format("{}{} on {}", to_string(tensor.dtype()), to_string(tensor.shape()), to_string(tensor.device()));
}

#define LACUNA_INSTANTIATE(T)                                                   \
  template Tensor Tensor::from<T>(const std::vector<T>&, const Shape&, Device); \
  template T* Tensor::data<T>() const;                                          \
  template std::vector<T> Tensor::to_vector<T>() const;
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
LACUNA_INSTANTIATE(Bf16)
LACUNA_INSTANTIATE(std::int32_t)
LACUNA_INSTANTIATE(std::int64_t)
LACUNA_INSTANTIATE(std::uint8_t)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna
