#include "core/shape.h"

#include <fmt/format.h>
#include <fmt/ranges.h>

#include <algorithm>

#include "core/errors.h"

namespace lacuna {

Shape::Shape(std::initializer_list<std::int64_t> extents) {
  for (std::int64_t extent : extents) push_back(extent);
}

std::int64_t Shape::dim(int axis) const {
  const int positive = axis < 0 ? axis + rank_ : axis;
  if (positive < 0 || positive >= rank_)
    throw IndexError("shape", fmt::format("axis {} of {}; must be in [-{}, {})", axis, to_string(*this), rank_, rank_));
  return extents_[static_cast<std::size_t>(positive)];
}

std::int64_t Shape::numel() const {
  std::int64_t count = 1;
  for (std::int64_t extent : *this) count *= extent;
  return count;
}

void Shape::push_back(std::int64_t extent) {
  if (rank_ == kMaxRank) throw ShapeError("shape", fmt::format("more than {} axes; must be at most that", kMaxRank));
  if (extent < 0) throw ValueError("shape", fmt::format("extent {}; must not be negative", extent));
  constexpr std::int64_t kLimit = std::int64_t{1} << 62;
  const std::int64_t count = numel();
  if (extent != 0 && count > kLimit / extent)
    throw ValueError("shape", fmt::format("{} times {} elements; must be at most 2^62", to_string(*this), extent));
  extents_[static_cast<std::size_t>(rank_++)] = extent;
}

bool Shape::operator==(const Shape& other) const {
  return rank_ == other.rank_ && std::equal(begin(), end(), other.begin());
}

std::string to_string(const Shape& shape) { return fmt::format("[{}]", fmt::join(shape.begin(), shape.end(), ", ")); }

}  // namespace lacuna
