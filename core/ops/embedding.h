// Embedding lookup.
#pragma once

#include "core/var.h"

namespace lacuna {

/// Column j of the result is row tokens[j] of the table:  table [vocab, d],  tokens i32 [n]  ->  [d, n].
/// Throws ShapeError, DtypeError, DeviceError; on the CPU IndexError for a token outside [0, vocab). On CUDA that
/// check would make the host wait, so there such a token reads as zeros and gets no gradient.
/// Gradient: dtable[v, :] = sum of the columns j of dc with tokens[j] = v, in order of j (deterministic).
/// With `dtype` bf16 the f32 table's entries are rounded as they are read; else the result has the table's dtype.
Tensor embedding(const Tensor& table, const Tensor& tokens);
Tensor embedding(const Tensor& table, const Tensor& tokens, DType dtype);
Var embedding(const Var& table, const Tensor& tokens);
Var embedding(const Var& table, const Tensor& tokens, DType dtype);

}  // namespace lacuna
