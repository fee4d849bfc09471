#include "data/made_up.h"

#include <fmt/format.h>

#include <algorithm>
#include <cmath>
#include <numeric>

#include "core/errors.h"
#include "core/random.h"

namespace lacuna {
namespace {

constexpr std::size_t kStarts = 65536;  // distinct stretches; the pool is longer by one stretch

}  // namespace

MadeUpExamples::MadeUpExamples(const MadeUpOptions& options) : options_(options) {
  const bool sizes = is_tokens() || (options.image.channels > 0 && options.image.height > 0 && options.image.width > 0);
  if (options.num_examples <= 0 || options.num_classes <= 0 || options.sequence_length < 0 || !sizes) {
    throw ValueError("made_up", fmt::format("{} examples of {} classes, {} tokens or {}x{}x{}; all must be positive",
                                            options.num_examples, options.num_classes, options.sequence_length,
                                            options.image.channels, options.image.height, options.image.width));
  }
  const RandomKey key{options.seed, 0};
  if (is_tokens()) {
    words_.resize(kStarts + static_cast<std::size_t>(options.sequence_length) + 1);
    for (std::size_t i = 0; i < words_.size(); ++i)
      words_[i] = static_cast<std::int32_t>(random_word(key, i) % static_cast<std::uint64_t>(options.num_classes));
    return;
  }
  const std::int64_t pool = static_cast<std::int64_t>(kStarts) + options.image.height * options.image.width;
  const double edge = std::sqrt(3.0);  // uniform in [-edge, edge): deviation 1
  pixels_ = random_uniform({pool}, -edge, edge, key, DType::f32, kCpu).to_vector<float>();
}

std::string MadeUpExamples::description() const {
  const ImageExtent& e = options_.image;
  return is_tokens() ? fmt::format("made-up data, {} random sequences of {} tokens", num_examples(), sequence_length())
                     : fmt::format("made-up data, {} random images {}x{}x{}, {} classes", num_examples(), e.channels,
                                   e.height, e.width, num_classes());
}

std::size_t MadeUpExamples::offset(std::int64_t example, std::int64_t channel) const {
  return random_word({options_.seed, 1 + static_cast<std::uint64_t>(channel)}, static_cast<std::uint64_t>(example)) %
         kStarts;
}

Batch MadeUpExamples::batch(std::span<const std::int64_t> indices, const AugmentKey&) const {
  check_indices(indices);
  const auto count = static_cast<std::int64_t>(indices.size());
  if (is_tokens()) {
    const std::int64_t length = options_.sequence_length;
    Batch out{Tensor::empty({count * length}, DType::i32), Tensor::empty({count * length}, DType::i32), count};
    for (std::int64_t b = 0; b < count; ++b) {
      const std::int32_t* words = words_.data() + offset(indices[static_cast<std::size_t>(b)], 0);
      std::copy_n(words, length, out.inputs.data<std::int32_t>() + b * length);
      std::copy_n(words + 1, length, out.targets.data<std::int32_t>() + b * length);
    }
    return out;
  }
  const ImageExtent& extent = options_.image;
  const std::int64_t plane = extent.height * extent.width;
  Batch out{Tensor::empty({extent.channels, count * plane}, DType::f32), Tensor::empty({count}, DType::i32), count};
  for (std::int64_t b = 0; b < count; ++b) {
    const std::int64_t example = indices[static_cast<std::size_t>(b)];
    for (std::int64_t c = 0; c < extent.channels; ++c)
      std::copy_n(pixels_.data() + offset(example, c), plane, out.inputs.data<float>() + (c * count + b) * plane);
    out.targets.data<std::int32_t>()[b] =
        static_cast<std::int32_t>(offset(example, extent.channels) % static_cast<std::size_t>(options_.num_classes));
  }
  return out;
}

ResidentBatch::ResidentBatch(std::shared_ptr<const Dataset> whole, std::int64_t batch_size, Device device)
    : whole_(std::move(whole)) {
  if (batch_size < 1 || batch_size > whole_->num_examples()) {
    throw ValueError("resident_batch",
                     fmt::format("a batch of {} from {} examples; must be at least 1, and no more than those",
                                 batch_size, whole_->num_examples()));
  }
  std::vector<std::int64_t> first(static_cast<std::size_t>(batch_size));
  std::iota(first.begin(), first.end(), 0);
  const Batch host = whole_->batch(first, {});
  batch_ = {host.inputs.to(device), host.targets.to(device), host.num_examples};
}

std::string ResidentBatch::description() const {
  return fmt::format("{}, one batch of {} on the device", whole_->description(), batch_.num_examples);
}

Batch ResidentBatch::batch(std::span<const std::int64_t> indices, const AugmentKey&) const {
  if (static_cast<std::int64_t>(indices.size()) != batch_.num_examples) {
    throw ValueError("resident_batch", fmt::format("a batch of {} examples; the one on the device has {}",
                                                   indices.size(), batch_.num_examples));
  }
  return batch_;
}

}  // namespace lacuna
