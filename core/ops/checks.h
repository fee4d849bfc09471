// The checks that ops share. Each throws a typed error that names the op and what it was given.
#pragma once

#include <string>

#include "core/errors.h"
#include "core/tensor.h"

namespace lacuna {

inline std::string describe_pair(const char* a_name, const Tensor& a, const char* b_name, const Tensor& b) {
  return std::string(a_name) + " is " + describe(a) + ", " + b_name + " is " + describe(b);
}

inline void require_defined(const char* op, const char* name, const Tensor& t) {
  if (!t.defined()) throw ValueError(op, std::string(name) + " is undefined; it must hold a tensor");
}

inline void require_same_device(const char* op, const char* a_name, const Tensor& a, const char* b_name,
                                const Tensor& b) {
  require_defined(op, a_name, a);
  require_defined(op, b_name, b);
  if (!(a.device() == b.device())) {
    throw DeviceError(op, describe_pair(a_name, a, b_name, b) + "; they must be on one device");
  }
}

inline void require_same_device_and_dtype(const char* op, const char* a_name, const Tensor& a, const char* b_name,
                                          const Tensor& b) {
  require_same_device(op, a_name, a, b_name, b);
  if (a.dtype() != b.dtype()) {
    throw DtypeError(op, describe_pair(a_name, a, b_name, b) + "; they must have one dtype");
  }
}

/// A parameter beside activations x: on x's device, f32 when x is bf16 and else of x's dtype.
inline void require_beside(const char* op, const char* name, const Tensor& t, const Tensor& x) {
  require_same_device(op, "x", x, name, t);
  if (t.dtype() != accumulator_of(x.dtype())) {
    throw DtypeError(op,
                     describe_pair("x", x, name, t) + "; " + name + " must be " + to_string(accumulator_of(x.dtype())));
  }
}

inline void require_same_shape(const char* op, const char* a_name, const Tensor& a, const char* b_name,
                               const Tensor& b) {
  require_same_device_and_dtype(op, a_name, a, b_name, b);
  if (!(a.shape() == b.shape())) {
    throw ShapeError(op, describe_pair(a_name, a, b_name, b) + "; their shapes must agree");
  }
}

inline void require_rank(const char* op, const char* name, const Tensor& t, int rank) {
  require_defined(op, name, t);
  if (t.rank() != rank) {
    throw ShapeError(op, std::string(name) + " is " + describe(t) + "; its rank must be " + std::to_string(rank));
  }
}

inline void require_dtype(const char* op, const char* name, const Tensor& t, DType dtype) {
  require_defined(op, name, t);
  if (t.dtype() != dtype) {
    throw DtypeError(op, std::string(name) + " is " + describe(t) + "; it must be " + to_string(dtype));
  }
}

/// The bias of a result with m rows: [m], on like's device and of its dtype (f32 beside bf16). An undefined one passes.
inline void require_bias(const char* op, const Tensor& bias, const Tensor& like, std::int64_t m) {
  if (!bias.defined()) return;
  require_beside(op, "bias", bias, like);
  if (bias.rank() != 1 || bias.dim(0) != m) {
    throw ShapeError(op, "bias is " + describe(bias) + "; it must be [" + std::to_string(m) + "]");
  }
}

}  // namespace lacuna
