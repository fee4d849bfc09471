// The IDX format of MNIST (LeCun, Cortes, Burges) and Fashion-MNIST (Xiao, Rasul, Vollgraf 2017); plain or gzip.
#pragma once

#include <filesystem>
#include <string>

#include "data/image_array.h"

namespace lacuna {

/// Reads images (IDX of u8, three axes: n, h, w) and labels (one axis: n). The number of classes is the largest label
/// plus one, or `num_classes` where that is given. Throws DataError (missing, corrupt gzip, wrong magic number, element
/// type or rank, sizes past the file or that overflow, truncated, trailing bytes, unequal counts, label out of range).
ImageArray read_idx(const std::filesystem::path& images, const std::filesystem::path& labels, const std::string& name,
                    std::int64_t num_classes = 0);

/// `root`/<prefix>-images-idx3-ubyte and -labels-idx1-ubyte, plain or with .gz; prefix "train" or "t10k".
struct IdxFiles {
  std::filesystem::path images;
  std::filesystem::path labels;
};
IdxFiles idx_files(const std::filesystem::path& root, const std::string& prefix);

}  // namespace lacuna
