// Embedding of whole sequences in one pass: token vectors, plus the vectors of their positions, then dropout.
//   vocab: rows of the token table   length: positions of a sequence   d: features
//   n: columns, sequences one after another, so column j is at position j % length
//   T: stored type of activations   A = wide_t<T>: of tables and their gradients
#pragma once

#include <cstdint>

#include "kernels/common/wide.h"
#include "kernels/dropout/dropout_rule.h"
#include "kernels/runtime/bf16.h"
#include "kernels/runtime/views.h"

namespace lacuna::kernels {

/// out[f, j] = dropout(table[tokens[j], f] + positions[j % length, f]), rounded to T where the separate kernels round: each
/// entry, their sum, what is kept of it. A token outside [0, vocab) reads as zeros.
template <class T>
struct SequenceEmbedding {
  using A = wide_t<T>;
  std::int64_t vocab = 0, length = 0, d = 0, n = 0;  // length divides n
  const A* table = nullptr;                          ///< [vocab, d]
  const std::int32_t* tokens = nullptr;              ///< [n]
  const A* positions = nullptr;                      ///< [length, d]
  DropoutRule dropout;                               ///< element (f, j) takes word f * n + j
  T* out = nullptr;                                  ///< [d, n] written
};

template <class T>
void sequence_embedding(CpuStream, const SequenceEmbedding<T>& call);
template <class T>
void sequence_embedding(CudaStream, const SequenceEmbedding<T>& call);

/// dsum = dropout(dout), rounded to T: the gradient of the sum, and of its tokens' part.
/// dpositions[l, f] = sum of dsum[f, j] over the j at position l, in ascending order: with one sequence the transpose.
template <class T>
struct SequenceEmbeddingGradient {
  using A = wide_t<T>;
  std::int64_t length = 0, d = 0, n = 0;  // length divides n
  const T* dout = nullptr;                ///< [d, n]
  DropoutRule dropout;
  T* dsum = nullptr;        ///< [d, n] written; may be dout; null: not wanted
  A* dpositions = nullptr;  ///< [length, d] written
};

template <class T>
void sequence_embedding_gradient(CpuStream, const SequenceEmbeddingGradient<T>& call);
template <class T>
void sequence_embedding_gradient(CudaStream, const SequenceEmbeddingGradient<T>& call);

/// out[v, j] = 1 where tokens[j] = v, else 0:  out [vocab, n].
template <class T>
void one_hot(CpuStream, const std::int32_t* tokens, std::int64_t vocab, std::int64_t n, T* out);
template <class T>
void one_hot(CudaStream, const std::int32_t* tokens, std::int64_t vocab, std::int64_t n, T* out);

}  // namespace lacuna::kernels
