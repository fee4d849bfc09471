// Image files as byte sequences for a generative model: ImageNet 64x64 as the sparse Transformer's paper has it.
#pragma once

#include "data/image_folder.h"

namespace lacuna {

struct ImageFolderBytesOptions {
  std::int64_t image_size = 64;  ///< side of the square; a sequence holds 3 * image_size^2 bytes
  std::int64_t resize_size = 0;  ///< shorter side before the centre crop; 0 = image_size
  bool flip = false;             ///< training: mirror with probability 1/2
};

/// A folder's images (layout of ImageFolder, classes ignored), each resized, cut to its centre square and read in raster
/// order, red, green and blue of a pixel side by side, as 8-bit values: T = 3 * image_size^2. Input t is byte t - 1 and
/// input 0 is a zero, so that all T bytes are predicted. Training sees the same squares as evaluation, mirrored at random.
class ImageFolderBytes final : public Dataset {
 public:
  /// Throws what ImageFolder throws.
  ImageFolderBytes(const std::filesystem::path& root, const ImageFolderBytesOptions& options);

  DatasetKind kind() const override { return DatasetKind::tokens; }
  std::int64_t num_examples() const override { return images_.num_examples(); }
  std::int64_t num_classes() const override { return 256; }
  std::int64_t sequence_length() const override { return images_.image().numel(); }
  std::string description() const override;
  /// Throws DataError, naming the file, when an image cannot be decoded.
  Batch batch(std::span<const std::int64_t> indices, const AugmentKey& key) const override;

 private:
  ImageFolder images_;  // without augmentation, pixels as they are: 0 to 255
  std::string root_;
  bool flip_;
};

}  // namespace lacuna
