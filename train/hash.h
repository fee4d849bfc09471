// A fast 64-bit checksum of a byte stream: the XXH64 function (Collet, the xxHash specification), seed 0.
#pragma once

#include <array>
#include <cstddef>
#include <cstdint>
#include <string>

namespace lacuna {

/// Streaming: any split of the same bytes into update() calls gives the same digest. Not cryptographic: it finds
/// accidents (flipped bits, torn writes), not attackers.
class Hash64 {
 public:
  Hash64();
  void update(const void* bytes, std::size_t size);
  std::uint64_t digest() const;

 private:
  std::array<std::uint64_t, 4> lanes_;
  std::array<unsigned char, 32> pending_{};
  std::size_t num_pending_ = 0;
  std::uint64_t total_ = 0;
};

/// 16 lower-case hexadecimal digits.
std::string hex64(std::uint64_t value);

}  // namespace lacuna
