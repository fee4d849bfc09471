// Moving values from one pattern to another.
#pragma once

#include "core/topology.h"

namespace lacuna {

/// i32 [to.nnz]: where entry i of `to` lies in `from`, or -1 where `from` lacks it. A null `from` is the full matrix,
/// whose values lie row-major. Both on one device. Throws ShapeError, DeviceError, IndexError (full matrix past 2^31 -
/// 1).
Tensor remap(const TopologyPtr& from, const TopologyPtr& to);

/// out[..., i] = map[i] < 0 ? 0 : values[..., map[i]].
///   values [num_values] or [batch, num_values], f32 or f64     map i32 [num_map], from remap or a transpose
///   returns [num_map] or [batch, num_map]
/// A dense matrix is passed reshaped to [rows * cols]. Throws ShapeError, DtypeError, DeviceError.
Tensor gather_or_zero(const Tensor& values, const Tensor& map);

}  // namespace lacuna
