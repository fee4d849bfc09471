// JPEG and PNG to 8-bit RGB.
#pragma once

#include <cstdint>
#include <functional>
#include <span>
#include <string>
#include <vector>

namespace lacuna {

struct RgbImage {
  std::int64_t width = 0;
  std::int64_t height = 0;
  std::vector<std::uint8_t> pixels;  ///< [height, width, 3]
};

/// Given the full width and height, by what to divide them while decoding: 1, 2, 4 or 8. A JPEG is then decoded at that
/// size directly (extents round up), which is several times faster; a PNG is always decoded in full.
using PickDivisor = std::function<int(std::int64_t width, std::int64_t height)>;

/// Decodes by content, whatever the file is called. Grey becomes RGB, CMYK and YCCK are converted by simple inversion,
/// transparency is laid over black. `name` is for messages. Throws DataError (neither JPEG nor PNG, corrupt, truncated,
/// more than 2^28 pixels).
RgbImage decode_image(std::span<const std::uint8_t> bytes, const std::string& name, const PickDivisor& pick = {});

}  // namespace lacuna
