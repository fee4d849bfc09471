// Checks of shapes that layers share.
#pragma once

#include <string>

#include "core/shape.h"

namespace lacuna {

/// Throws ValueError unless value > 0.
void require_positive(const char* where, const char* what, std::int64_t value);
/// Throws ShapeError unless shape is [rows, anything].
void require_matrix(const char* where, const Shape& shape, std::int64_t rows);
/// shape[1] / per_item: how many images or sequences the columns hold.
/// Throws ShapeError unless shape is [rows, a positive multiple of per_item]; `item` names what is counted ("images").
std::int64_t require_batch(const char* where, const Shape& shape, std::int64_t rows, std::int64_t per_item,
                           const std::string& item);

}  // namespace lacuna
