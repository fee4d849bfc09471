#include "data/byte_text.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/errors.h"
#include "data/random_draws.h"

namespace lacuna {

ByteText::ByteText(Bytes bytes, std::int64_t sequence_length, Windows windows, std::string name)
    : bytes_(std::move(bytes)), length_(sequence_length), name_(std::move(name)) {
  if (length_ < 1) {
    throw ValueError("byte_text", fmt::format("sequence_length is {}; it must be at least 1", length_));
  }
  const std::int64_t size = bytes_.size();
  if (size < length_ + 1) {
    throw DataError("byte_text", fmt::format("{}: {} bytes; sequence_length {} needs at least {} for one window", name_,
                                             size, length_, length_ + 1));
  }
  num_windows_ = (size - 1) / length_;
  if (windows == Windows::shifted) {
    num_windows_ = std::max<std::int64_t>(1, (size - length_) / length_);
    num_shifts_ = std::min(length_, size - num_windows_ * length_);  // offset + windows * T + 1 <= size
  }
}

std::string ByteText::description() const {
  return fmt::format("{}, {} bytes in {} windows of {}", name_, num_bytes(), num_windows_, length_);
}

std::int64_t ByteText::shift(const AugmentKey& key) const {
  if (!key.augment || num_shifts_ == 1) return 0;
  return ExampleDraws(data_key(key.seed, DataDraw::shift, key.epoch), 0).below(num_shifts_);
}

Batch ByteText::batch(std::span<const std::int64_t> indices, const AugmentKey& key) const {
  check_indices(indices);
  const std::int64_t count = static_cast<std::int64_t>(indices.size());
  Batch out{Tensor::empty({count * length_}, DType::i32), Tensor::empty({count * length_}, DType::i32), count};
  std::int32_t* inputs = out.inputs.data<std::int32_t>();
  std::int32_t* targets = out.targets.data<std::int32_t>();
  const std::int64_t offset = shift(key);
  for (std::int64_t b = 0; b < count; ++b) {
    const std::uint8_t* window = bytes_.view.data() + offset + indices[static_cast<std::size_t>(b)] * length_;
    std::copy(window, window + length_, inputs + b * length_);
    std::copy(window + 1, window + 1 + length_, targets + b * length_);
  }
  return out;
}

}  // namespace lacuna
