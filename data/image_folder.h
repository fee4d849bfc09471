// A directory per class, as ImageNet is laid out: root/<class>/*.{JPEG,jpg,jpeg,png}.
#pragma once

#include <filesystem>
#include <string>
#include <vector>

#include "data/augment.h"
#include "data/dataset.h"

namespace lacuna {

struct ImageFolderOptions {
  std::int64_t image_size = 224;  ///< side of the square that batches hold
  std::int64_t resize_size = 0;   ///< evaluation: shorter side before the centre crop; 0 = image_size * 256 / 224
  double min_crop_area = 0.08;    ///< training: least fraction of the image's area in the random crop
  bool flip = true;               ///< training: mirror with probability 1/2
  Normalisation normalisation = kImageNetNormalisation;
};

/// Decodes images as batches are built; the system's page cache is the only cache.
/// With `augment`: RandomResizedCrop (area in [min_crop_area, 1], aspect in [3/4, 4/3]; Szegedy et al. 2015) and flip.
/// Without: shorter side to resize_size, centre crop.
class ImageFolder final : public Dataset {
 public:
  /// `classes` fixes the numbering (a validation set uses its training set's); empty = the sorted directory names.
  /// Throws DataError (no such directory, no classes, a class without images, a class that `classes` lacks).
  ImageFolder(const std::filesystem::path& root, const ImageFolderOptions& options,
              std::vector<std::string> classes = {});

  DatasetKind kind() const override { return DatasetKind::images; }
  std::int64_t num_examples() const override { return static_cast<std::int64_t>(examples_.size()); }
  std::int64_t num_classes() const override { return static_cast<std::int64_t>(classes_.size()); }
  ImageExtent image() const override { return {3, options_.image_size, options_.image_size}; }
  std::string description() const override;
  /// Throws DataError, naming the file, when an image cannot be decoded.
  Batch batch(std::span<const std::int64_t> indices, const AugmentKey& key) const override;

  const std::vector<std::string>& classes() const { return classes_; }

 private:
  struct Example {
    std::string file;  // below root_
    std::int32_t label = 0;
  };

  void add_class(const std::string& name, std::int32_t label);
  void write_example(const Example& example, bool augment, ExampleDraws draws, float* out,
                     std::int64_t channel_stride) const;

  std::filesystem::path root_;
  ImageFolderOptions options_;
  PixelAffine affine_;
  std::vector<std::string> classes_;
  std::vector<Example> examples_;
};

}  // namespace lacuna
