// From a run-time (device, dtype) to a compile-time (stream type, element type). The only such switch in the project.
#pragma once

#include <string>
#include <utility>

#include "core/dry_run.h"
#include "core/errors.h"
#include "core/tensor.h"
#include "kernels/runtime/runtime.h"

namespace lacuna {

/// Runs f, with a runtime::Failure (a CUDA or library call gone wrong) turned into a typed error that names the op.
template <class F>
void translate_failures(const char* op, F&& f) {
  try {
    f();
  } catch (const runtime::Failure& failure) {
    if (failure.out_of_memory) throw OutOfMemoryError(op, failure.what);
    throw DeviceError(op, failure.what);
  }
}

namespace detail {
template <class F>
void dispatch_float(const char* op, Device device, DType dtype, F&& f) {
  if (device.is_cpu()) {
    if (dtype == DType::f32) return f(CpuStream{}, float{});
    if (dtype == DType::f64) return f(CpuStream{}, double{});
    throw DtypeError(op, std::string(to_string(dtype)) + " on the CPU; must be f32 or f64");
  }
#if LACUNA_HAS_CUDA
  if (dtype == DType::f32) return translate_failures(op, [&] { f(cuda_stream(device), float{}); });
  throw DtypeError(op, std::string(to_string(dtype)) + " on " + to_string(device) + "; must be f32");
#else
  throw BackendError(op, "a tensor on " + to_string(device) + "; this build has no CUDA backend");
#endif
}

}  // namespace detail

/// Calls f(stream, T{}) with CpuStream and float or double, or CudaStream and float: kernels are overloaded on the
/// stream. Throws DtypeError for a dtype the backend lacks, BackendError when this build has no CUDA. In a dry run
/// (core/dry_run.h) f is not called: what an op must do then too (tensors it makes, gradients it adds) stands outside.
template <class F>
void visit_float(const char* op, Device device, DType dtype, F&& f) {
  if (!DryRun::active()) detail::dispatch_float(op, device, dtype, std::forward<F>(f));
}

template <class F>
void visit_float(const char* op, const Tensor& like, F&& f) {
  visit_float(op, like.device(), like.dtype(), std::forward<F>(f));
}

/// Scratch of size(stream, T{}) bytes for a float kernel, on like's device; in a dry run it is accounted for.
template <class F>
Tensor scratch_for(const char* op, const Tensor& like, F&& size) {
  std::size_t bytes = 0;
  detail::dispatch_float(op, like.device(), like.dtype(), [&](auto stream, auto zero) { bytes = size(stream, zero); });
  return Tensor::scratch(bytes, like.device());
}

/// Calls f(stream), for kernels that do not depend on a float type (topology, selection, index work).
template <class F>
void visit_device(const char* op, Device device, F&& f) {
  if (device.is_cpu()) return f(CpuStream{});
#if LACUNA_HAS_CUDA
  translate_failures(op, [&] { f(cuda_stream(device)); });
#else
  throw BackendError(op, "a tensor on " + to_string(device) + "; this build has no CUDA backend");
#endif
}

}  // namespace lacuna
