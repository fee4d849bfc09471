#include "data/cifar.h"

#include <fmt/format.h>

#include <algorithm>

#include "core/errors.h"
#include "data/files.h"

namespace lacuna {
namespace fs = std::filesystem;

ImageArray read_cifar(const std::vector<fs::path>& files, CifarKind kind) {
  const bool fine = kind == CifarKind::cifar100;
  ImageArray images{fine ? "CIFAR-100" : "CIFAR-10", {3, 32, 32}, fine ? 100 : 10, {}, {}};
  const std::int64_t num_label_bytes = fine ? 2 : 1;
  const std::int64_t num_pixels = images.extent.numel();
  const std::int64_t record = num_label_bytes + num_pixels;
  for (const fs::path& file : files) {
    const Bytes bytes = map_file(file);
    if (bytes.size() == 0 || bytes.size() % record != 0) {
      throw DataError("cifar",
                      fmt::format("{}: {} bytes; {}'s binary version holds a whole number of records of {} bytes",
                                  file.string(), bytes.size(), images.name, record));
    }
    const std::int64_t count = bytes.size() / record;
    const std::size_t begin = images.pixels.size();
    images.pixels.resize(begin + static_cast<std::size_t>(count * num_pixels));
    for (std::int64_t i = 0; i < count; ++i) {
      const std::uint8_t* from = bytes.view.data() + i * record;
      const std::int64_t label = from[num_label_bytes - 1];
      if (label >= images.num_classes) {
        throw DataError("cifar", fmt::format("{}: record {} has label {}; labels of {} are in [0, {})", file.string(),
                                             i, label, images.name, images.num_classes));
      }
      images.labels.push_back(static_cast<std::int32_t>(label));
      std::copy(from + num_label_bytes, from + record,
                images.pixels.begin() + static_cast<std::ptrdiff_t>(begin) + i * num_pixels);
    }
  }
  return images;
}

std::vector<fs::path> cifar_files(const fs::path& root, CifarKind kind, bool training) {
  const bool fine = kind == CifarKind::cifar100;
  std::vector<std::string> names;
  if (fine) {
    names = {training ? "train.bin" : "test.bin"};
  } else if (training) {
    for (int i = 1; i <= 5; ++i) names.push_back(fmt::format("data_batch_{}.bin", i));
  } else {
    names = {"test_batch.bin"};
  }
  const fs::path inner = root / (fine ? "cifar-100-binary" : "cifar-10-batches-bin");
  std::error_code error;
  const fs::path home = fs::is_directory(inner, error) ? inner : root;
  std::vector<fs::path> files;
  std::string missing;
  for (const std::string& name : names) {
    files.push_back(home / name);
    if (!fs::exists(files.back(), error)) missing += (missing.empty() ? "" : ", ") + name;
  }
  if (!missing.empty()) {
    throw DataError("cifar",
                    fmt::format("{}: no {}; the unpacked binary version must lie here", home.string(), missing));
  }
  return files;
}

}  // namespace lacuna
