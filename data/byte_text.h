// Byte-level text: any bytes are a sequence over a vocabulary of 256.
#pragma once

#include "data/dataset.h"
#include "data/files.h"

namespace lacuna {

/// Where the windows of T + 1 bytes lie. Neighbours overlap by the one byte that is target of one and input of the
/// next, so that every byte is predicted once.
///   fixed: from byte 0 on; less than a window is left over at the end. For validation and tests.
///   shifted: all windows move together by an offset in [0, T), drawn per epoch, so that over the epochs every byte is
///   seen at every position. There is room for one window less, whatever the offset.
enum class Windows : std::uint8_t { fixed, shifted };

class ByteText final : public Dataset {
 public:
  /// `name` is what messages call the bytes. Throws DataError with fewer than T + 1 bytes.
  ByteText(Bytes bytes, std::int64_t sequence_length, Windows windows, std::string name);

  DatasetKind kind() const override { return DatasetKind::tokens; }
  std::int64_t num_examples() const override { return num_windows_; }
  std::int64_t num_classes() const override { return 256; }
  std::int64_t sequence_length() const override { return length_; }
  std::int64_t num_bytes() const { return bytes_.size(); }
  std::string description() const override;

  /// inputs, targets i32 [b*T]; targets[i] is the byte after inputs[i].
  Batch batch(std::span<const std::int64_t> indices, const AugmentKey& key) const override;
  /// The byte at which window 0 begins.
  std::int64_t shift(const AugmentKey& key) const;

 private:
  Bytes bytes_;
  std::int64_t length_;
  std::int64_t num_windows_ = 0;
  std::int64_t num_shifts_ = 1;
  std::string name_;
};

}  // namespace lacuna
