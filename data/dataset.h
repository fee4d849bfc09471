// Dataset: examples by number, assembled into batches on the CPU.
//
// b, t: examples of a batch, positions of a sequence (T of them).   c, h, w: channels, height, width.
#pragma once

#include <cstdint>
#include <span>
#include <string>

#include "core/tensor.h"

namespace lacuna {

/// One batch, on the CPU.
///   tokens: inputs i32 [b*T], targets i32 [b*T] (the next byte); example b, position t is element b*T + t
///   images: inputs f32 [c, b*h*w] (CNHW, normalised), targets i32 [b] (the class)
struct Batch {
  Tensor inputs;
  Tensor targets;
  std::int64_t num_examples = 0;
};

/// Which view of the examples a batch shows. With `augment` every random choice (crop, flip, shift of the text windows)
/// is a pure function of (seed, epoch, example); without it, the fixed view that evaluation wants.
struct AugmentKey {
  std::uint64_t seed = 0;
  std::int64_t epoch = 0;
  bool augment = false;
};

enum class DatasetKind : std::uint8_t { tokens, images };

struct ImageExtent {
  std::int64_t channels = 0;
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t numel() const { return channels * height * width; }
  bool operator==(const ImageExtent&) const = default;
};

/// A finite, numbered set of examples. Immutable, so every member may be called from any number of threads.
class Dataset {
 public:
  Dataset() = default;
  Dataset(const Dataset&) = delete;
  Dataset& operator=(const Dataset&) = delete;
  virtual ~Dataset() = default;

  virtual DatasetKind kind() const = 0;
  virtual std::int64_t num_examples() const = 0;
  /// Classes, or the size of the vocabulary (256 for bytes).
  virtual std::int64_t num_classes() const = 0;
  /// T; 0 for images.
  virtual std::int64_t sequence_length() const { return 0; }
  /// Zeros for tokens.
  virtual ImageExtent image() const { return {}; }
  /// One line for tables and logs: "CIFAR-10, 50000 images 3x32x32, 10 classes".
  virtual std::string description() const = 0;

  /// The named examples, in the order given. Throws IndexError, and DataError where a file is read here and is broken.
  virtual Batch batch(std::span<const std::int64_t> indices, const AugmentKey& key) const = 0;

 protected:
  /// Throws IndexError unless every index is in [0, num_examples()).
  void check_indices(std::span<const std::int64_t> indices) const;
};

}  // namespace lacuna
