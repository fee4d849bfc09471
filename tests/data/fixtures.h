// Small data files written by the tests themselves.
#pragma once

#include <gtest/gtest.h>

#include <cstdint>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

#include "core/errors.h"
#include "data/dataset.h"
#include "data/image_codec.h"

namespace lacuna::test {

using ByteVector = std::vector<std::uint8_t>;

/// A fresh directory that goes with the object.
class TempDir {
 public:
  TempDir();
  ~TempDir();
  TempDir(const TempDir&) = delete;
  TempDir& operator=(const TempDir&) = delete;
  const std::filesystem::path& path() const { return path_; }
  std::filesystem::path operator/(const std::string& name) const { return path_ / name; }

 private:
  std::filesystem::path path_;
};

/// Makes parent directories as needed.
void write_file(const std::filesystem::path& path, const ByteVector& bytes);
void write_file(const std::filesystem::path& path, const std::string& text);

ByteVector gzip(const ByteVector& bytes);
/// `count` records; record i has label i % classes (behind a coarse label for CIFAR-100) and pixels cifar_pixel(i, p).
ByteVector cifar_file(int count, bool fine = false, int first = 0);
std::uint8_t cifar_pixel(int record, int p);
ByteVector idx_file(const std::vector<std::uint32_t>& extents, const ByteVector& values);
ByteVector idx_images(int count, int height, int width);
ByteVector idx_labels(int count, int classes);

/// A smooth picture: red grows with x, green with y, blue is constant.
RgbImage gradient_image(int width, int height, std::uint8_t blue = 40);
ByteVector encode_png(const RgbImage& image, bool grey = false, bool alpha = false);
enum class JpegColour { rgb, grey, cmyk };
ByteVector encode_jpeg(const RgbImage& image, JpegColour colour = JpegColour::rgb, int quality = 95);

/// The message of the E that `action` throws; a test failure and "" when it throws none.
template <class E, class F>
std::string message_of(F&& action) {
  try {
    action();
  } catch (const E& error) {
    return error.what();
  } catch (const std::exception& error) {
    ADD_FAILURE() << "another exception: " << error.what();
    return "";
  }
  ADD_FAILURE() << "nothing was thrown";
  return "";
}

/// Both batches hold the same bits.
bool equal(const Batch& a, const Batch& b);
std::vector<std::int64_t> iota(std::int64_t count, std::int64_t first = 0);

}  // namespace lacuna::test
