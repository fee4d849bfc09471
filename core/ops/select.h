// Selection of entries by score, for pruning.
#pragma once

#include "core/tensor.h"

namespace lacuna {

/// u8 [n]: 1 at the k largest of `scores` [n], else 0; exactly k ones. Ties go to the lower index, NaN ranks below
/// everything. f32 or f64. Throws ShapeError, DtypeError, ValueError (k outside [0, n]).
Tensor top_k_mask(const Tensor& scores, std::int64_t k);

/// |x|, any shape.
Tensor magnitude(const Tensor& x);

}  // namespace lacuna
