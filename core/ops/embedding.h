// Embedding lookup.
#pragma once

#include "core/random.h"
#include "core/var.h"

namespace lacuna {

/// Column j of the result is row tokens[j] of the table:  table [vocab, d],  tokens i32 [n]  ->  [d, n].
/// Throws ShapeError, DtypeError, DeviceError; on the CPU IndexError for a token outside [0, vocab). On CUDA that
/// check would make the host wait, so there such a token reads as zeros and gets no gradient.
/// Gradient: dtable[v, :] = sum of the columns j of dc with tokens[j] = v, in order of j (deterministic).
/// In bf16 on CUDA, for up to 1,024 rows by the product with the tokens' one-hot matrix, in f32: there a column that is not
/// finite reaches every row.
/// With `dtype` bf16 the f32 table's entries are rounded as they are read; else the result has the table's dtype.
Tensor embedding(const Tensor& table, const Tensor& tokens);
Tensor embedding(const Tensor& table, const Tensor& tokens, DType dtype);
Var embedding(const Var& table, const Tensor& tokens);
Var embedding(const Var& table, const Tensor& tokens, DType dtype);

/// Whole sequences: dropout(token vectors + position vectors) in one pass, with the bits of
/// dropout(add(embedding(table, tokens, dtype), embedding(positions, j % length, dtype)), p, key), on CUDA too:
/// table [vocab, d],  tokens i32 [n], sequences of `length` one after another,  positions [length, d]  ->  [d, n].
/// With p = 0 the key is not read. Throws as embedding, and ValueError unless 0 <= p < 1.
/// Gradients: dtable as embedding's; dpositions[l, :] = sum of the dropped dc's columns at position l, in order (with one
/// sequence its transpose). docs/kernels/fusion.md counts the bytes.
Tensor sequence_embedding(const Tensor& table, const Tensor& tokens, const Tensor& positions, DType dtype, double p,
                          RandomKey key);
Var sequence_embedding(const Var& table, const Tensor& tokens, const Var& positions, DType dtype, double p,
                       RandomKey key);

}  // namespace lacuna
