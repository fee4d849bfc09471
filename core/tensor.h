// Tensor: a contiguous row-major array on one device. Data only; Var (core/var.h) adds the tape.
#pragma once

#include <memory>
#include <vector>

#include "core/device.h"
#include "core/dtype.h"
#include "core/shape.h"

namespace lacuna {

class Storage;  // a block of device memory, returned to the device's allocator when the last tensor drops it

/// Copies share storage. Views (reshape, slice) share storage too; everything is contiguous, so a view is an offset.
class Tensor {
 public:
  Tensor() = default;  ///< undefined; defined() is false

  /// Uninitialised; without memory in a dry run (core/dry_run.h) when the dtype is a float's. Throws OutOfMemoryError, ValueError (negative extent), BackendError.
  static Tensor empty(const Shape& shape, DType dtype, Device device = kCpu);
  /// u8 [bytes] for a float kernel to write in; without memory in a dry run, and undefined where bytes is 0: an allocation
  /// in a CUDA graph that nobody reads still keeps the kernels beside it apart. core/visit.h has the way to size it.
  static Tensor scratch(std::size_t bytes, Device device);
  static Tensor zeros(const Shape& shape, DType dtype, Device device = kCpu);
  /// Every element `value` (floats and i32).
  static Tensor full(const Shape& shape, double value, DType dtype, Device device = kCpu);
  static Tensor empty_like(const Tensor& other) { return empty(other.shape(), other.dtype(), other.device()); }
  static Tensor zeros_like(const Tensor& other) { return zeros(other.shape(), other.dtype(), other.device()); }
  /// Copies `values` (row-major). Throws ShapeError unless their count is shape.numel().
  template <class T>
  static Tensor from(const std::vector<T>& values, const Shape& shape, Device device = kCpu);

  bool defined() const { return storage_ != nullptr; }
  const Shape& shape() const { return shape_; }
  std::int64_t dim(int axis) const { return shape_.dim(axis); }
  int rank() const { return shape_.rank(); }
  std::int64_t numel() const { return shape_.numel(); }
  DType dtype() const { return dtype_; }
  Device device() const { return device_; }
  std::size_t nbytes() const { return static_cast<std::size_t>(numel()) * size_of(dtype_); }

  void* raw() const;  ///< device address of the first element; null when undefined
  /// Typed address. Throws DtypeError when T is not the dtype.
  template <class T>
  T* data() const;

  /// Same elements, another shape. Throws ShapeError unless the counts agree.
  Tensor reshape(const Shape& shape) const;
  /// Rows [begin, end) of the first axis, as a view. Throws IndexError.
  Tensor slice(std::int64_t begin, std::int64_t end) const;

  Tensor clone() const;
  Tensor to(Device device) const;  ///< this tensor itself when it is already there
  /// Converted copy among f32, f64, bf16, i32 (runs on the host); from u8 too. core/ops/cast.h runs on the device.
  Tensor to(DType dtype) const;
  /// Copies other's elements into this tensor, across devices if need be. Throws ShapeError, DtypeError.
  void copy_from(const Tensor& other) const;
  void zero() const;

  /// Host copy of the elements; waits for the device. Throws DtypeError.
  template <class T>
  std::vector<T> to_vector() const;
  /// The only element, as double, for any dtype; waits for the device.
  double item() const;

  bool shares_storage_with(const Tensor& other) const { return storage_ && storage_ == other.storage_; }
  /// True when no other tensor holds this storage, so writing in place is invisible.
  bool is_unique() const { return storage_.use_count() == 1; }
  bool is_dry() const;  ///< made in a dry run: accounted for, but without memory

 private:
  std::shared_ptr<Storage> storage_;
  std::int64_t offset_ = 0;  // elements
  Shape shape_;
  DType dtype_ = DType::f32;
  Device device_ = kCpu;
};

/// `gradient` itself where nobody else holds it, so that a result may be written over it; else a new one like it.
Tensor reuse_or_empty(const Tensor& gradient);

/// "f32[2, 3] on cuda:0", for messages.
std::string describe(const Tensor& tensor);

}  // namespace lacuna
