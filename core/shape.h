// Shape: a tensor's extents, row-major, at most kMaxRank of them.
#pragma once

#include <array>
#include <cstdint>
#include <initializer_list>
#include <string>

namespace lacuna {

class Shape {
 public:
  static constexpr int kMaxRank = 6;

  Shape() = default;  ///< rank 0: a scalar, one element
  Shape(std::initializer_list<std::int64_t> extents);

  int rank() const { return rank_; }
  std::int64_t operator[](int axis) const { return extents_[static_cast<std::size_t>(axis)]; }
  /// Extent of `axis`, counted from the back when negative. Throws IndexError.
  std::int64_t dim(int axis) const;
  /// Product of the extents; 1 for a scalar.
  std::int64_t numel() const;
  /// Appends an axis. Throws ShapeError past kMaxRank, ValueError below 0 and when the product passes 2^62.
  void push_back(std::int64_t extent);

  const std::int64_t* begin() const { return extents_.data(); }
  const std::int64_t* end() const { return extents_.data() + rank_; }
  bool operator==(const Shape& other) const;

 private:
  std::array<std::int64_t, kMaxRank> extents_{};
  int rank_ = 0;
};

/// "[2, 3]".
std::string to_string(const Shape& shape);

}  // namespace lacuna
