// What a run may say about its data, and the opening of it.
#pragma once

#include <cstdint>
#include <memory>
#include <string>
#include <vector>

#include "core/field.h"
#include "data/dataset.h"

namespace lacuna {

struct DataConfig {
  std::string type = "synthetic";
  std::string path;
  std::string valid_path;
  std::string test_path;
  double valid_fraction = 0.05;
  double test_fraction = 0.05;
  std::uint64_t seed = 0;
  // text
  std::int64_t sequence_length = 256;
  std::vector<std::string> extensions;
  std::string file_order = "path";
  std::int64_t max_bytes = 0;
  // images
  std::int64_t image_size = 0;
  std::int64_t resize_size = 0;
  int crop_padding = 4;
  double min_crop_area = 0.08;
  bool flip = true;
  int cutout = 0;
  std::vector<double> mean;
  std::vector<double> deviation;
  // synthetic
  std::int64_t num_examples = 4096;
  std::int64_t num_classes = 10;
  double noise = 1.0;
  // loading
  int num_workers = 2;
  int prefetch = 4;
};

template <class V>
void describe(DataConfig& c, V&& v) {
  v("type", c.type,
    "synthetic (images), synthetic_tokens, text (bytes of files), cifar10, cifar100, cifar10_bytes (images as "
    "sequences), "
    "idx (MNIST and its kin), image_folder (ImageNet layout) or image_folder_bytes (the same as sequences)",
    one_of({"synthetic", "synthetic_tokens", "text", "cifar10", "cifar100", "cifar10_bytes", "idx", "image_folder",
            "image_folder_bytes"}));
  v("path", c.path, "File or directory that holds the training data");
  v("valid_path", c.valid_path,
    "Validation data of their own (text: file or directory; image_folder: directory); empty = "
    "valid_fraction of the training data, or root/val for image_folder");
  v("test_path", c.test_path,
    "Test data of their own (text, image_folder); empty = test_fraction for text, the set's own "
    "for cifar and idx, none for image_folder");
  v("valid_fraction", c.valid_fraction,
    "Share of the training data held out for validation: the last bytes of a text, a "
    "random choice of images; 0 = none",
    fraction());
  v("test_fraction", c.test_fraction, "Share of a text held out for testing, at its end; 0 = none", fraction());
  v("seed", c.seed, "Fixes which images are held out, the shuffled order of files and synthetic data");
  v("sequence_length", c.sequence_length, "Bytes in one text sequence", positive());
  v("extensions", c.extensions,
    "Text from a directory: file endings ('.cpp') or globs on the relative path "
    "('docs/*.md') to keep; empty = all");
  v("file_order", c.file_order,
    "Text from a directory: 'path' (sorted) or 'shuffled' (so that held-out ends resemble the "
    "rest)",
    one_of({"path", "shuffled"}));
  v("max_bytes", c.max_bytes, "Bytes of each text source used, from its beginning; 0 = all", non_negative());
  v("image_size", c.image_size,
    "Side of the images in pixels; 0 = 224 for image_folder, 64 for image_folder_bytes, 32 for synthetic; the others "
    "have their own",
    non_negative());
  v("resize_size", c.resize_size,
    "image_folder, image_folder_bytes: shorter side in pixels before the centre crop (image_folder: evaluation's); 0 = "
    "image_size * 256 / 224, as bytes image_size",
    non_negative());
  v("crop_padding", c.crop_padding, "cifar and idx: pixels by which training shifts images each way", non_negative());
  v("min_crop_area", c.min_crop_area, "image_folder: least share of the area in training's random crop",
    range(0.0, 1.0));
  v("flip", c.flip, "Mirror training images left-right half of the time; turn off for digits");
  v("cutout", c.cutout, "cifar and idx: side in pixels of the square that training blanks; 0 = none", non_negative());
  v("mean", c.mean, "Per-channel mean of pixels in [0, 1]; empty = the set's own");
  v("deviation", c.deviation, "Per-channel deviation of pixels in [0, 1]; empty = the set's own", positive());
  v("num_examples", c.num_examples, "synthetic: training examples (images or sequences)", positive());
  v("num_classes", c.num_classes, "synthetic: classes of the images, or symbols of the tokens", positive());
  v("noise", c.noise, "synthetic: deviation of the noise on the prototypes, whose own is 1", non_negative());
  v("num_workers", c.num_workers, "Threads that build batches ahead; 0 = none, the training loop builds them",
    non_negative());
  v("prefetch", c.prefetch, "Batches kept ready", positive());
}

/// What no single member can tell.
void validate(const DataConfig& config, const ReportProblem& problem);

/// Null where the config asks for no such split.
struct DataSplits {
  std::shared_ptr<Dataset> train;
  std::shared_ptr<Dataset> valid;
  std::shared_ptr<Dataset> test;
};

/// Opens what the config names. Throws ConfigError (what `validate` and the members' rules forbid), DataError.
DataSplits open_data(const DataConfig& config);

}  // namespace lacuna
