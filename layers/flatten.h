// Flatten: from images to one column of features per image.
#pragma once

#include "core/var.h"

namespace lacuna {

/// Same elements, another shape, on the tape. Throws ShapeError unless the counts agree. Gradient: dc, reshaped back.
Var reshape(const Var& x, const Shape& shape);

/// The features of each image in one column, channel by channel.
///   x  [channels, batch * pixels]      returns [channels * pixels, batch]; x itself when pixels is 1
/// Throws ShapeError unless the columns are whole images. Gradient: the same re-ordering back.
Var flatten(const Var& x, std::int64_t pixels);

}  // namespace lacuna
