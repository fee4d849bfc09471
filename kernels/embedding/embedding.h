// Embedding lookup, feature-major: column j of the output is row tokens[j] of the table.
//   table [vocab, d]    tokens i32 [n]    out [d, n]    for bf16 out and dout the table and its gradient are f32
#pragma once

#include <cstddef>
#include <cstdint>

#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// First position whose index lies outside [low, high), or -1. On the CPU only: the answer is on the host.
std::int64_t find_out_of_range(CpuStream, const std::int32_t* indices, std::int64_t n, std::int64_t low,
                               std::int64_t high);

/// out[:, j] = table[tokens[j], :]; zeros for a token outside [0, vocab).
template <class T>
void embedding(CpuStream, const Dense<const acc_t<T>>& table, const std::int32_t* tokens, const Dense<T>& out);
template <class T>
void embedding(CudaStream, const Dense<const acc_t<T>>& table, const std::int32_t* tokens, const Dense<T>& out);

template <class T>
std::size_t embedding_gradient_scratch_bytes(CpuStream, const Dense<const T>& dout, std::int64_t vocab);
template <class T>
std::size_t embedding_gradient_scratch_bytes(CudaStream, const Dense<const T>& dout, std::int64_t vocab);
/// dtable[v, :] = sum of dout[:, j] over the j with tokens[j] = v, in ascending order of j; every row is written.
/// Tokens outside [0, vocab) contribute nothing. CUDA: a stable radix sort by token, then sums of its runs.
template <class T>
void embedding_gradient(CpuStream, const Dense<const T>& dout, const std::int32_t* tokens,
                        const Dense<acc_t<T>>& dtable, void* scratch);
template <class T>
void embedding_gradient(CudaStream, const Dense<const T>& dout, const std::int32_t* tokens,
                        const Dense<acc_t<T>>& dtable, void* scratch);

}  // namespace lacuna::kernels
