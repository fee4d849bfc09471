// Attention on rows of tokens: heads are columns of one matrix, so nothing is transposed on the way in or out.
//   n: batch * t tokens   d: features of a head
#pragma once

#include <vector>

#include "core/random.h"
#include "core/topology.h"

namespace lacuna {

/// sparse_attention of q, k, v side by side, in each of them head beside head:
///   qkv  [n, 3 * heads * d]   (column (part * heads + h) * d + i; row b * t + position, as project_to_tokens makes them)
///   returns [n, heads * d]
/// The same patterns, scale, dropout mask and errors as sparse_attention, and on CUDA the same bits. One op on the tape
/// where fuses_token_attention; it keeps qkv, the result and one number a row of each head. Elsewhere by way of
/// sparse_attention between copies: right, not fast. Throws ShapeError, DtypeError, DeviceError, ValueError.
Var token_attention(const Var& qkv, const std::vector<TopologyPtr>& patterns, std::int64_t batch, std::int64_t heads,
                    double scale, double dropout_p = 0, RandomKey key = {});

/// The same for causal_attention.
Var causal_token_attention(const Var& qkv, std::int64_t batch, std::int64_t heads, double scale, double dropout_p = 0,
                           RandomKey key = {});

/// Whether both run on fused kernels, in place: where attention_is_fused, for up to 65,535 sequences.
bool fuses_token_attention(Device device, DType dtype, std::int64_t batch, std::int64_t t, std::int64_t d);

}  // namespace lacuna
