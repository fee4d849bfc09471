#include "layers/shapes.h"

#include <fmt/format.h>

#include "core/errors.h"

namespace lacuna {

void require_positive(const char* where, const char* what, std::int64_t value) {
  if (value <= 0) throw ValueError(where, fmt::format("{} is {}; must be positive", what, value));
}

void require_matrix(const char* where, const Shape& shape, std::int64_t rows) {
  if (shape.rank() != 2 || shape[0] != rows) {
    throw ShapeError(where, fmt::format("the input is {}; must be [{}, columns]", to_string(shape), rows));
  }
}

std::int64_t require_batch(const char* where, const Shape& shape, std::int64_t rows, std::int64_t per_item,
                           const std::string& item) {
  require_matrix(where, shape, rows);
  if (shape[1] <= 0 || shape[1] % per_item != 0) {
    throw ShapeError(where, fmt::format("the input is {}; its columns must be a whole number of {} ({} columns each)",
                                        to_string(shape), item, per_item));
  }
  return shape[1] / per_item;
}

}  // namespace lacuna
