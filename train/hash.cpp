#include "train/hash.h"

#include <algorithm>
#include <bit>
#include <cstring>

namespace lacuna {
namespace {

constexpr std::uint64_t kPrime1 = 0x9E3779B185EBCA87u;
constexpr std::uint64_t kPrime2 = 0xC2B2AE3D27D4EB4Fu;
constexpr std::uint64_t kPrime3 = 0x165667B19E3779F9u;
constexpr std::uint64_t kPrime4 = 0x85EBCA77C2B2AE63u;
constexpr std::uint64_t kPrime5 = 0x27D4EB2F165667C5u;
constexpr std::size_t kStripe = 32;  // bytes: four 8-byte lanes

static_assert(std::endian::native == std::endian::little, "checkpoints are read and written little-endian");

std::uint64_t load64(const unsigned char* p) {
  std::uint64_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

std::uint64_t load32(const unsigned char* p) {
  std::uint32_t value;
  std::memcpy(&value, p, sizeof value);
  return value;
}

std::uint64_t mix_in(std::uint64_t lane, std::uint64_t word) { return std::rotl(lane + word * kPrime2, 31) * kPrime1; }

std::uint64_t merge(std::uint64_t hash, std::uint64_t lane) { return (hash ^ mix_in(0, lane)) * kPrime1 + kPrime4; }

void consume(std::array<std::uint64_t, 4>& lanes, const unsigned char* stripe) {
  for (std::size_t i = 0; i < 4; ++i) lanes[i] = mix_in(lanes[i], load64(stripe + 8 * i));
}

}  // namespace

Hash64::Hash64() : lanes_{kPrime1 + kPrime2, kPrime2, 0, std::uint64_t{0} - kPrime1} {}

void Hash64::update(const void* bytes, std::size_t size) {
  auto* p = static_cast<const unsigned char*>(bytes);
  total_ += size;
  if (num_pending_ > 0) {
    const std::size_t taken = std::min(size, kStripe - num_pending_);
    std::memcpy(pending_.data() + num_pending_, p, taken);
    num_pending_ += taken;
    p += taken;
    size -= taken;
    if (num_pending_ < kStripe) return;
    consume(lanes_, pending_.data());
    num_pending_ = 0;
  }
  for (; size >= kStripe; p += kStripe, size -= kStripe) consume(lanes_, p);
  if (size > 0) std::memcpy(pending_.data(), p, size);
  num_pending_ = size;
}

std::uint64_t Hash64::digest() const {
  std::uint64_t hash = kPrime5;
  if (total_ >= kStripe) {
    hash = std::rotl(lanes_[0], 1) + std::rotl(lanes_[1], 7) + std::rotl(lanes_[2], 12) + std::rotl(lanes_[3], 18);
    for (std::uint64_t lane : lanes_) hash = merge(hash, lane);
  }
  hash += total_;
  const unsigned char* p = pending_.data();
  std::size_t left = num_pending_;
  for (; left >= 8; p += 8, left -= 8) hash = std::rotl(hash ^ mix_in(0, load64(p)), 27) * kPrime1 + kPrime4;
  for (; left >= 4; p += 4, left -= 4) hash = std::rotl(hash ^ (load32(p) * kPrime1), 23) * kPrime2 + kPrime3;
  for (; left > 0; ++p, --left) hash = std::rotl(hash ^ (*p * kPrime5), 11) * kPrime1;
  hash = (hash ^ (hash >> 33)) * kPrime2;
  hash = (hash ^ (hash >> 29)) * kPrime3;
  return hash ^ (hash >> 32);
}

std::string hex64(std::uint64_t value) {
  static constexpr char kDigits[] = "0123456789abcdef";
  std::string text(16, '0');
  for (std::size_t i = 16; i-- > 0; value >>= 4) text[i] = kDigits[value & 15];
  return text;
}

}  // namespace lacuna
