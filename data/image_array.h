// Images that fit in memory as bytes: CIFAR, MNIST and its kin.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "data/augment.h"
#include "data/dataset.h"

namespace lacuna {

/// n images, u8 [n, c, h, w], and their classes.
struct ImageArray {
  std::string name;  ///< "CIFAR-10"
  ImageExtent extent;
  std::int64_t num_classes = 0;
  std::vector<std::uint8_t> pixels;
  std::vector<std::int32_t> labels;

  std::int64_t size() const { return static_cast<std::int64_t>(labels.size()); }
  const std::uint8_t* image(std::int64_t i) const { return pixels.data() + i * extent.numel(); }
};
using ImageArrayPtr = std::shared_ptr<const ImageArray>;

/// Mean and deviation per channel of the selected images (all of them when `selection` is empty); exact integer sums,
/// so the same for any order.
Normalisation measure_normalisation(const ImageArray& images, const std::vector<std::int64_t>& selection = {});

/// Classification over some of an array's images.
class ImageArrayDataset final : public Dataset {
 public:
  /// Example i is image selection[i], or image i when `selection` is empty. Augmentation happens in batches whose key
  /// asks for it. Throws ValueError, IndexError.
  ImageArrayDataset(ImageArrayPtr images, std::vector<std::int64_t> selection, const Normalisation& normalisation,
                    const AugmentOptions& augment = {});

  DatasetKind kind() const override { return DatasetKind::images; }
  std::int64_t num_examples() const override { return static_cast<std::int64_t>(selection_.size()); }
  std::int64_t num_classes() const override { return images_->num_classes; }
  ImageExtent image() const override { return images_->extent; }
  std::string description() const override;
  Batch batch(std::span<const std::int64_t> indices, const AugmentKey& key) const override;

 private:
  ImageArrayPtr images_;
  std::vector<std::int64_t> selection_;
  PixelAffine affine_;
  AugmentOptions augment_;
};

/// An array's images as byte sequences for a generative model: T = c*h*w bytes in raster order, channels innermost
/// (r, g, b of a pixel, then the next pixel). Input t is byte t - 1 and input 0 is a zero, so that all T bytes are
/// predicted.
class ImageBytes final : public Dataset {
 public:
  ImageBytes(ImageArrayPtr images, std::vector<std::int64_t> selection, bool flip = false);

  DatasetKind kind() const override { return DatasetKind::tokens; }
  std::int64_t num_examples() const override { return static_cast<std::int64_t>(selection_.size()); }
  std::int64_t num_classes() const override { return 256; }
  std::int64_t sequence_length() const override { return images_->extent.numel(); }
  std::string description() const override;
  Batch batch(std::span<const std::int64_t> indices, const AugmentKey& key) const override;

 private:
  ImageArrayPtr images_;
  std::vector<std::int64_t> selection_;
  bool flip_;
};

}  // namespace lacuna
