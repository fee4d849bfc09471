#include "data/image_codec.h"

#include <fmt/format.h>

#include <csetjmp>
#include <cstddef>
#include <cstdio>
#include <cstring>

#include <jpeglib.h>  // needs <cstdio> before it

#include <jerror.h>
#include <png.h>

#include "core/errors.h"

namespace lacuna {
namespace {

constexpr std::int64_t kMaxPixels = std::int64_t{1} << 28;

[[noreturn]] void undecodable(const std::string& name, const char* format, const std::string& reason) {
  throw DataError("image", fmt::format("{}: undecodable {}: {}; the file must be intact", name, format, reason));
}

void check_extent(const std::string& name, std::int64_t width, std::int64_t height) {
  if (width < 1 || height < 1 || width > kMaxPixels / height) {
    throw DataError("image", fmt::format("{}: {}x{} pixels; an image must have 1 to 2^28", name, width, height));
  }
}

/// libjpeg leaves through longjmp, so each step that calls it holds trivially destructible locals only.
class JpegDecoder {
 public:
  JpegDecoder() {
    info_.err = jpeg_std_error(&error_.base);
    error_.base.error_exit = [](j_common_ptr info) {
      auto* error = reinterpret_cast<ErrorManager*>(info->err);
      info->err->format_message(info, error->message);
      std::longjmp(error->jump, 1);
    };
    error_.base.emit_message = [](j_common_ptr info, int level) {
      // Data that end early are only a warning to libjpeg, which paints the rest grey: an error here. Stray bytes
      // between markers are harmless and occur in ImageNet.
      const int code = info->err->msg_code;
      if (level < 0 && (code == JWRN_JPEG_EOF || code == JWRN_HIT_MARKER)) info->err->error_exit(info);
    };
    error_.base.output_message = [](j_common_ptr) {};
    jpeg_create_decompress(&info_);
  }
  ~JpegDecoder() { jpeg_destroy_decompress(&info_); }
  JpegDecoder(const JpegDecoder&) = delete;
  JpegDecoder& operator=(const JpegDecoder&) = delete;

  bool read_header(const std::uint8_t* bytes, std::size_t size) {
    if (setjmp(error_.jump)) return false;
    jpeg_mem_src(&info_, bytes, static_cast<unsigned long>(size));
    jpeg_read_header(&info_, TRUE);
    return true;
  }
  bool start(int divisor) {
    if (setjmp(error_.jump)) return false;
    const bool cmyk = info_.jpeg_color_space == JCS_CMYK || info_.jpeg_color_space == JCS_YCCK;
    info_.out_color_space = cmyk ? JCS_CMYK : JCS_RGB;  // libjpeg-turbo turns grey into RGB itself
    info_.scale_num = 1;
    info_.scale_denom = static_cast<unsigned>(divisor);
    jpeg_start_decompress(&info_);
    return true;
  }
  /// Fills rows of `stride` bytes.
  bool read(std::uint8_t* out, std::size_t stride) {
    if (setjmp(error_.jump)) return false;
    while (info_.output_scanline < info_.output_height) {
      JSAMPROW row = out + info_.output_scanline * stride;
      jpeg_read_scanlines(&info_, &row, 1);
    }
    jpeg_finish_decompress(&info_);
    return true;
  }
  const jpeg_decompress_struct& info() const { return info_; }
  const char* message() const { return error_.message; }

 private:
  struct ErrorManager {
    jpeg_error_mgr base;  // first, so that libjpeg's pointer is ours
    std::jmp_buf jump;
    char message[JMSG_LENGTH_MAX];
  };
  ErrorManager error_{};
  jpeg_decompress_struct info_{};
};

/// Photoshop stores CMYK inverted and says so by its Adobe marker; then r = c * k / 255.
void cmyk_to_rgb(const std::vector<std::uint8_t>& cmyk, bool inverted, std::vector<std::uint8_t>& rgb) {
  const std::uint8_t flip = inverted ? 0 : 255;
  for (std::size_t i = 0; i < rgb.size() / 3; ++i) {
    const int k = cmyk[4 * i + 3] ^ flip;
    for (std::size_t c = 0; c < 3; ++c) {
      rgb[3 * i + c] = static_cast<std::uint8_t>(((cmyk[4 * i + c] ^ flip) * k + 127) / 255);
    }
  }
}

RgbImage decode_jpeg(std::span<const std::uint8_t> bytes, const std::string& name, const PickDivisor& pick) {
  JpegDecoder decoder;
  if (!decoder.read_header(bytes.data(), bytes.size())) undecodable(name, "JPEG", decoder.message());
  check_extent(name, decoder.info().image_width, decoder.info().image_height);
  const int divisor = pick ? pick(decoder.info().image_width, decoder.info().image_height) : 1;
  if (!decoder.start(divisor)) undecodable(name, "JPEG", decoder.message());
  RgbImage image{decoder.info().output_width, decoder.info().output_height, {}};
  image.pixels.resize(static_cast<std::size_t>(image.width * image.height * 3));
  if (decoder.info().out_color_space == JCS_CMYK) {
    std::vector<std::uint8_t> cmyk(static_cast<std::size_t>(image.width * image.height * 4));
    if (!decoder.read(cmyk.data(), static_cast<std::size_t>(image.width * 4))) {
      undecodable(name, "JPEG", decoder.message());
    }
    cmyk_to_rgb(cmyk, decoder.info().saw_Adobe_marker != 0, image.pixels);
  } else if (!decoder.read(image.pixels.data(), static_cast<std::size_t>(image.width * 3))) {
    undecodable(name, "JPEG", decoder.message());
  }
  return image;
}

RgbImage decode_png(std::span<const std::uint8_t> bytes, const std::string& name) {
  png_image png{};
  png.version = PNG_IMAGE_VERSION;
  if (!png_image_begin_read_from_memory(&png, bytes.data(), bytes.size())) undecodable(name, "PNG", png.message);
  struct Free {
    png_image* png;
    ~Free() { png_image_free(png); }
  } free{&png};
  check_extent(name, png.width, png.height);
  png.format = PNG_FORMAT_RGB;  // grey, palettes, 16 bits and interlacing are converted
  RgbImage image{png.width, png.height, {}};
  image.pixels.resize(PNG_IMAGE_SIZE(png));
  const png_color black{0, 0, 0};
  if (!png_image_finish_read(&png, &black, image.pixels.data(), 0, nullptr)) undecodable(name, "PNG", png.message);
  return image;
}

}  // namespace

RgbImage decode_image(std::span<const std::uint8_t> bytes, const std::string& name, const PickDivisor& pick) {
  constexpr std::uint8_t kPng[] = {0x89, 'P', 'N', 'G'};
  if (bytes.size() >= 3 && bytes[0] == 0xFF && bytes[1] == 0xD8 && bytes[2] == 0xFF) {
    return decode_jpeg(bytes, name, pick);
  }
  if (bytes.size() >= 4 && std::memcmp(bytes.data(), kPng, 4) == 0) return decode_png(bytes, name);
  throw DataError("image", fmt::format("{}: {} bytes that are neither JPEG nor PNG; the content decides, not the name",
                                       name, bytes.size()));
}

}  // namespace lacuna
