// One problem to measure: an op on one pattern, with rotating operands so that caches do not flatter.
//
// m, k: the pattern's rows and columns.   n: the dense operands' other extent.   b: batch, matrices that share the pattern
//
//   op                        operand 0        operand 1    operand 2    result
//   spmm                      values [b, nnz]  B [b, k, n]               [b, m, n]     A B
//   spmm_transposed           values [b, nnz]  B [b, m, n]               [b, k, n]     A^T B
//   sddmm                     A [b, m, n]      B [b, k, n]               [b, nnz]      (A B^T) on the pattern
//   sparse_softmax            s [b, nnz]                                 [b, nnz]      by rows
//   sparse_softmax_backward   p [b, nnz]       dp [b, nnz]               [b, nnz]
//   attention                 q [b, m, n]      k [b, m, n]  v [b, m, n]  [b, m, n]     m = k tokens, n features, b heads
//   attention_training        q, k, v, and dout [b, m, n] as operand 3   [3, b, m, n]  forward and backward: dq, dk, dv
//
// Products with b = 1 have no batch axis.
#pragma once

#include <cstdint>
#include <optional>
#include <string>
#include <vector>

#include "core/tensor.h"
#include "core/topology.h"

namespace lacuna::bench {

enum class Op : std::uint8_t {
  spmm,
  spmm_transposed,
  sddmm,
  sparse_softmax,
  sparse_softmax_backward,
  attention,
  attention_training
};
inline constexpr Op kAllOps[] = {
    Op::spmm,      Op::spmm_transposed,   Op::sddmm, Op::sparse_softmax, Op::sparse_softmax_backward,
    Op::attention, Op::attention_training};
const char* to_string(Op op);
inline bool is_attention(Op op) { return op == Op::attention || op == Op::attention_training; }
/// Products whose time is compared with a dense product's; the others move bytes.
inline bool is_product(Op op) { return op != Op::sparse_softmax && op != Op::sparse_softmax_backward; }

/// f32: exact f32 products. tf32: f32 storage, products may round their operands to TF32. bf16: bf16 storage.
enum class Precision : std::uint8_t { f32, tf32, bf16 };
inline constexpr Precision kAllPrecisions[] = {Precision::f32, Precision::tf32, Precision::bf16};
const char* to_string(Precision precision);
inline DType dtype_of(Precision precision) { return precision == Precision::bf16 ? DType::bf16 : DType::f32; }

/// Random numbers, uniform in [-1, 1), on host and device, and room for results. An operand of call i is a window of the
/// pool; windows repeat only after they have covered the pool, which exceeds the cache twice.
class Pool {
 public:
  static constexpr int kRoles = 4;
  Pool(Device device, std::uint64_t seed, std::size_t cache_bytes);

  /// Makes every role and the results at least this many elements large, and bf16 copies where wanted. Windows handed out
  /// before are stale.
  void require(std::int64_t role_elements, std::int64_t result_elements, Precision precision);
  Tensor operand(Precision precision, int role, int call, const Shape& shape) const;
  /// The same numbers on the host, as the kernels see them (bf16: rounded).
  const float* host_operand(Precision precision, int role, int call, std::int64_t elements) const;
  Tensor result(Precision precision, int call, const Shape& shape) const;

  Device device() const { return device_; }
  std::size_t cache_bytes() const { return cache_bytes_; }

 private:
  std::int64_t offset(int role, int call, std::int64_t elements) const;
  Device device_;
  std::uint64_t seed_;
  std::size_t cache_bytes_;
  std::int64_t role_elements_ = 0;
  std::int64_t result_elements_ = 0;
  std::vector<float> host_, host_bf16_;
  Tensor operands_, operands_bf16_, results_, results_bf16_;
};

struct Problem {
  Op op = Op::spmm;
  Precision precision = Precision::f32;
  Device device;
  TopologyPtr pattern;                ///< on the CPU
  std::vector<TopologyPtr> patterns;  ///< equal ones on the device, so that index arrays rotate too
  std::int64_t m = 0, k = 0, n = 0, batch = 1, nnz = 0;
  double scale = 1;  ///< of softmax and attention
  int rotation = 1;  ///< calls until the operands repeat
  const Pool* pool = nullptr;

  double sparsity() const;
  int num_operands() const;
  Shape operand_shape(int role) const;
  Shape result_shape() const;
  const TopologyPtr& topology(int call) const { return patterns[static_cast<std::size_t>(call) % patterns.size()]; }
  Tensor operand(int role, int call) const { return pool->operand(precision, role, call, operand_shape(role)); }
  const float* host_operand(int role, int call) const;
  Tensor result(int call) const { return pool->result(precision, call, result_shape()); }

  double flops() const;        ///< useful ones: of stored entries alone
  double dense_flops() const;  ///< of the dense product of the same shape
  double gathered_bytes()
      const;  ///< of dense rows that the entries name, each counted: what caches or registers must deliver
  double least_bytes() const;  ///< each operand, index and result once
};

/// Sizes the pool and the rotation for the problem, and moves the pattern to the device.
Problem make_problem(Op op, Precision precision, const TopologyPtr& pattern, std::int64_t n, std::int64_t batch,
                     Pool& pool);

}  // namespace lacuna::bench
