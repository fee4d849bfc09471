// Attention over a fixed sparse pattern: one fused kernel on CUDA (d = 32, 64 or 128), else SDDMM, sparse softmax,
// SpMM.
//   t: tokens of a sequence; d: features of a head
#pragma once

#include <vector>

#include "core/random.h"
#include "core/topology.h"

namespace lacuna {

/// softmax(scale * Q K^T on the pattern) V, head by head. A query whose row is empty yields zeros.
///   q, k, v   [heads * batch, t, d], head-major (index h * batch + b), of one dtype and device
///   patterns  [t, t] on that device: one that all heads share, or one per head
///   dropout_p in [0, 1), on the probabilities; `key` names its random numbers
///   returns   [heads * batch, t, d]
/// bf16: scores, softmax and sums in f32; where the probabilities are kept, they are kept in bf16.
/// One op on the tape: it keeps the output and one number a row (fused), or the probabilities ([batch, nnz] a head),
/// and nothing of size t * t; the gradient re-draws the dropout mask from `key` and uses the patterns' cached
/// transposes. The mask depends on (key, matrix, row, column) alone, on every route. Throws ShapeError, DtypeError,
/// DeviceError, ValueError.
Tensor sparse_attention(const Tensor& q, const Tensor& k, const Tensor& v, const std::vector<TopologyPtr>& patterns,
                        std::int64_t heads, double scale, double dropout_p = 0, RandomKey key = {});
Var sparse_attention(const Var& q, const Var& k, const Var& v, const std::vector<TopologyPtr>& patterns,
                     std::int64_t heads, double scale, double dropout_p = 0, RandomKey key = {});

/// Whether sparse_attention and causal_attention of [heads * batch, t, d] run as one kernel that stores no scores.
bool attention_is_fused(Device device, DType dtype, std::int64_t t, std::int64_t d);

/// Dense causal attention: a query sees itself and every key before it. As sparse_attention on that pattern, to the
/// bit of the dropout mask; the fused kernel needs no pattern then, and stores nothing of size t * t. Elsewhere (the
/// CPU, f64, other d) the pattern is made in each call, and t (t + 1) / 2 probabilities a matrix are kept: IndexError
/// where those pass 2^31 - 1.
Tensor causal_attention(const Tensor& q, const Tensor& k, const Tensor& v, std::int64_t heads, double scale,
                        double dropout_p = 0, RandomKey key = {});
Var causal_attention(const Var& q, const Var& k, const Var& v, std::int64_t heads, double scale, double dropout_p = 0,
                     RandomKey key = {});

}  // namespace lacuna
