// The vocabulary of the kernels room: streams and matrix views. No ownership, no Tensor.
//
// m, k, n: rows of A, columns of A (rows of B), columns of B.   nnz: stored entries of a sparse matrix.
#pragma once

#include <cstdint>

namespace lacuna {

/// Kernels are overloaded on the stream's type: that picks the backend, at compile time.
/// A build without CUDA never names CudaStream in a call, so a missing backend is a typed error in core, not a link error.
struct CpuStream {};

struct CudaLibraries;  // cuBLASLt handle and workspace of one device; kernels/runtime/cuda_libraries.h

/// One CUDA stream of one device. `handle` is a cudaStream_t, kept opaque so that host code needs no CUDA header.
struct CudaStream {
  void* handle = nullptr;
  CudaLibraries* libraries = nullptr;
  int multiprocessors = 0;
  bool allow_tf32 = false;  ///< matmul_precision: tf32 (true) or highest (false)
};

/// Row-major matrix or a batch of them: element (b, i, j) is data[b * batch_stride + i * ld + j].
template <class T>
struct Dense {
  T* data = nullptr;
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t ld = 0;  ///< elements between consecutive rows; at least cols
  std::int64_t batch = 1;
  std::int64_t batch_stride = 0;  ///< elements between consecutive matrices; 0 = one matrix shared by the batch
};

/// Compressed sparse rows: column indices ascending and unique within a row.
/// A batch shares one pattern; its values lie `values_stride` elements apart.
template <class T>
struct Csr {
  std::int64_t rows = 0;
  std::int64_t cols = 0;
  std::int64_t nnz = 0;
  const std::int32_t* row_offsets = nullptr;  ///< [rows + 1]
  const std::int32_t* col_indices = nullptr;  ///< [nnz]
  T* values = nullptr;                        ///< [batch, nnz]
  const std::int32_t* row_order = nullptr;  ///< [rows] longest row first, or null; balances load, never changes results
  const std::int32_t* row_shares =
      nullptr;           ///< bounds of eighths of the columns (topology.h), or null; some plans need it
  bool settled = false;  ///< all of the above but values was complete before this call: a kernel may read it early
  std::int64_t batch = 1;
  std::int64_t values_stride = 0;
};

enum class Activation : std::uint8_t { none, relu, gelu };  ///< gelu is the tanh-free (erf) form

/// What is done to each element of a product before it is stored: activation(c + bias[row]).
template <class T>
struct Epilogue {     // T may be const
  T* bias = nullptr;  ///< [m], or null
  Activation activation = Activation::none;
};

}  // namespace lacuna
