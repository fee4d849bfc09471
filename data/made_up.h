// Random examples of a given shape: to time a step or plan a run where the data set is not there. Nothing can be learned
// from them.
#pragma once

#include <cstdint>
#include <memory>
#include <vector>

#include "data/dataset.h"

namespace lacuna {

struct MadeUpOptions {
  std::int64_t num_examples = 4096;
  std::int64_t num_classes = 10;     ///< or the size of the vocabulary
  std::int64_t sequence_length = 0;  ///< above 0: tokens; else images
  ImageExtent image{3, 32, 32};
  std::uint64_t seed = 0;
};

/// Each example is a stretch of one pool of random numbers, so that making a batch costs a copy and the step is what is timed.
/// Images: uniform with mean 0 and deviation 1. Tokens: uniform over the vocabulary, the target being the next token.
class MadeUpExamples final : public Dataset {
 public:
  /// Throws ValueError unless counts and sizes are positive.
  explicit MadeUpExamples(const MadeUpOptions& options);

  DatasetKind kind() const override { return is_tokens() ? DatasetKind::tokens : DatasetKind::images; }
  std::int64_t num_examples() const override { return options_.num_examples; }
  std::int64_t num_classes() const override { return options_.num_classes; }
  std::int64_t sequence_length() const override { return options_.sequence_length; }
  ImageExtent image() const override { return is_tokens() ? ImageExtent{} : options_.image; }
  std::string description() const override;
  Batch batch(std::span<const std::int64_t> indices, const AugmentKey& key) const override;

 private:
  bool is_tokens() const { return options_.sequence_length > 0; }
  /// Where the stretch of an example's channel begins in the pool.
  std::size_t offset(std::int64_t example, std::int64_t channel) const;

  MadeUpOptions options_;
  std::vector<float> pixels_;        // the pool, for images
  std::vector<std::int32_t> words_;  // the pool, for tokens
};

/// Another data set, of which every batch is its first one, lying on a device: what a step costs without its data.
class ResidentBatch final : public Dataset {
 public:
  /// Builds the batch and copies it. Throws ValueError where the data set has not so many examples.
  ResidentBatch(std::shared_ptr<const Dataset> whole, std::int64_t batch_size, Device device);

  DatasetKind kind() const override { return whole_->kind(); }
  std::int64_t num_examples() const override { return whole_->num_examples(); }
  std::int64_t num_classes() const override { return whole_->num_classes(); }
  std::int64_t sequence_length() const override { return whole_->sequence_length(); }
  ImageExtent image() const override { return whole_->image(); }
  std::string description() const override;
  /// Throws ValueError for a batch of another size.
  Batch batch(std::span<const std::int64_t> indices, const AugmentKey& key) const override;

 private:
  std::shared_ptr<const Dataset> whole_;
  Batch batch_;
};

}  // namespace lacuna
