#include "tests/data/fixtures.h"

#include <stdlib.h>
#include <zlib.h>

#include <cstdio>
#include <cstring>
#include <fstream>
#include <numeric>

#include <jpeglib.h>  // needs <cstdio> before it
#include <png.h>

namespace lacuna::test {
namespace fs = std::filesystem;

TempDir::TempDir() {
  std::string pattern = (fs::temp_directory_path() / "lacuna-data-XXXXXX").string();
  if (!mkdtemp(pattern.data())) throw std::runtime_error("mkdtemp failed");
  path_ = pattern;
}
TempDir::~TempDir() {
  std::error_code error;
  fs::remove_all(path_, error);
}

void write_file(const fs::path& path, const ByteVector& bytes) {
  fs::create_directories(path.parent_path());
  std::ofstream out(path, std::ios::binary);
  out.write(reinterpret_cast<const char*>(bytes.data()), static_cast<std::streamsize>(bytes.size()));
  if (!out.flush()) throw std::runtime_error("could not write " + path.string());
}
void write_file(const fs::path& path, const std::string& text) {
  write_file(path, ByteVector(text.begin(), text.end()));
}

ByteVector gzip(const ByteVector& bytes) {
  z_stream stream{};
  deflateInit2(&stream, 6, Z_DEFLATED, 16 + MAX_WBITS, 8, Z_DEFAULT_STRATEGY);
  ByteVector out(deflateBound(&stream, static_cast<uLong>(bytes.size())) + 32);
  stream.next_in = const_cast<Bytef*>(bytes.data());
  stream.avail_in = static_cast<uInt>(bytes.size());
  stream.next_out = out.data();
  stream.avail_out = static_cast<uInt>(out.size());
  deflate(&stream, Z_FINISH);
  out.resize(stream.total_out);
  deflateEnd(&stream);
  return out;
}

std::uint8_t cifar_pixel(int record, int p) { return static_cast<std::uint8_t>(record * 31 + p * 7 + p / 256); }

ByteVector cifar_file(int count, bool fine, int first) {
  ByteVector bytes;
  for (int i = first; i < first + count; ++i) {
    if (fine) bytes.push_back(static_cast<std::uint8_t>(i % 20));
    bytes.push_back(static_cast<std::uint8_t>(i % (fine ? 100 : 10)));
    for (int p = 0; p < 3072; ++p) bytes.push_back(cifar_pixel(i, p));
  }
  return bytes;
}

ByteVector idx_file(const std::vector<std::uint32_t>& extents, const ByteVector& values) {
  ByteVector bytes{0, 0, 8, static_cast<std::uint8_t>(extents.size())};
  for (const std::uint32_t extent : extents) {
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(static_cast<std::uint8_t>(extent >> shift));
  }
  bytes.insert(bytes.end(), values.begin(), values.end());
  return bytes;
}

ByteVector idx_images(int count, int height, int width) {
  ByteVector values;
  for (int i = 0; i < count * height * width; ++i) values.push_back(static_cast<std::uint8_t>(i * 13 + i / 50));
  return idx_file(
      {static_cast<std::uint32_t>(count), static_cast<std::uint32_t>(height), static_cast<std::uint32_t>(width)},
      values);
}

ByteVector idx_labels(int count, int classes) {
  ByteVector values;
  for (int i = 0; i < count; ++i) values.push_back(static_cast<std::uint8_t>(i % classes));
  return idx_file({static_cast<std::uint32_t>(count)}, values);
}

RgbImage gradient_image(int width, int height, std::uint8_t blue) {
  RgbImage image{width, height, {}};
  for (int y = 0; y < height; ++y) {
    for (int x = 0; x < width; ++x) {
      image.pixels.push_back(static_cast<std::uint8_t>(255 * x / std::max(1, width - 1)));
      image.pixels.push_back(static_cast<std::uint8_t>(255 * y / std::max(1, height - 1)));
      image.pixels.push_back(blue);
    }
  }
  return image;
}

ByteVector encode_png(const RgbImage& image, bool grey, bool alpha) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  png.width = static_cast<png_uint_32>(image.width);
  png.height = static_cast<png_uint_32>(image.height);
  png.format = grey ? PNG_FORMAT_GRAY : alpha ? PNG_FORMAT_RGBA : PNG_FORMAT_RGB;
  ByteVector pixels;
  for (std::size_t i = 0; i < image.pixels.size(); i += 3) {
    pixels.push_back(image.pixels[i]);
    if (!grey) pixels.insert(pixels.end(), {image.pixels[i + 1], image.pixels[i + 2]});
    if (alpha) pixels.push_back(255);
  }
  png_alloc_size_t size = 0;
  png_image_write_to_memory(&png, nullptr, &size, 0, pixels.data(), 0, nullptr);
  ByteVector out(size);
  if (!png_image_write_to_memory(&png, out.data(), &size, 0, pixels.data(), 0, nullptr)) {
    throw std::runtime_error(png.message);
  }
  out.resize(size);
  return out;
}

ByteVector encode_jpeg(const RgbImage& image, JpegColour colour, int quality) {
  const int channels = colour == JpegColour::rgb ? 3 : colour == JpegColour::grey ? 1 : 4;
  jpeg_compress_struct info{};
  jpeg_error_mgr error{};
  info.err = jpeg_std_error(&error);
  jpeg_create_compress(&info);
  unsigned char* buffer = nullptr;
  unsigned long size = 0;
  jpeg_mem_dest(&info, &buffer, &size);
  info.image_width = static_cast<JDIMENSION>(image.width);
  info.image_height = static_cast<JDIMENSION>(image.height);
  info.input_components = channels;
  info.in_color_space = channels == 3 ? JCS_RGB : channels == 1 ? JCS_GRAYSCALE : JCS_CMYK;
  jpeg_set_defaults(&info);
  jpeg_set_quality(&info, quality, TRUE);
  jpeg_start_compress(&info, TRUE);
  ByteVector row;
  while (info.next_scanline < info.image_height) {
    row.clear();
    for (std::int64_t x = 0; x < image.width; ++x) {
      const std::uint8_t* rgb = image.pixels.data() + (info.next_scanline * image.width + x) * 3;
      if (channels == 4) {  // inverted, as the Adobe marker that libjpeg writes with CMYK says
        row.insert(row.end(), {rgb[0], rgb[1], rgb[2], 255});
      } else {
        row.insert(row.end(), rgb, rgb + channels);
      }
    }
    JSAMPROW pointer = row.data();
    jpeg_write_scanlines(&info, &pointer, 1);
  }
  jpeg_finish_compress(&info);
  jpeg_destroy_compress(&info);
  ByteVector out(buffer, buffer + size);
  free(buffer);
  return out;
}

bool equal(const Batch& a, const Batch& b) {
  return a.num_examples == b.num_examples && a.inputs.shape() == b.inputs.shape() &&
         a.targets.shape() == b.targets.shape() && a.inputs.dtype() == b.inputs.dtype() &&
         std::memcmp(a.inputs.raw(), b.inputs.raw(), a.inputs.nbytes()) == 0 &&
         std::memcmp(a.targets.raw(), b.targets.raw(), a.targets.nbytes()) == 0;
}

std::vector<std::int64_t> iota(std::int64_t count, std::int64_t first) {
  std::vector<std::int64_t> values(static_cast<std::size_t>(count));
  std::iota(values.begin(), values.end(), first);
  return values;
}

}  // namespace lacuna::test
