// Products with a long inner dimension and few outputs, as weights' gradients of 1x1 convolutions are: cut along it, so
// that every multiprocessor has a piece.
#pragma once

#include "core/tensor.h"

namespace lacuna {

/// Pieces of k into which a b^T, [m, k] times [n, k]^T, is best cut: a power of two that makes enough tiles of 128 x 128
/// for the device, pieces of at least 1,024 and a multiple of 8 long. 1: not worth it, or k does not divide so.
std::int64_t matmul_parts(std::int64_t m, std::int64_t n, std::int64_t k, int multiprocessors);

/// a b^T:  a [m, k],  b [n, k]  ->  [m, n] f32 (f64 of f64). As a batch of `parts` products over equal pieces of k, whose
/// results, [parts, m, n], are added in order. Throws ShapeError, DtypeError, DeviceError, ValueError (parts does not
/// divide k). Records nothing.
Tensor matmul_in_parts(const Tensor& a, const Tensor& b, std::int64_t parts);

}  // namespace lacuna
