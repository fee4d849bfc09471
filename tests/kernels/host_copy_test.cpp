#include "kernels/runtime/host_copy.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cstdint>
#include <vector>

namespace lacuna {
namespace {

// Nothing, one piece, two, and several with a rest; what lies behind the target stays.
TEST(HostCopy, EveryByteAndNoOther) {
  for (const std::size_t bytes : {std::size_t{0}, std::size_t{5}, std::size_t{16} << 20, (std::size_t{41} << 20) + 3}) {
    std::vector<std::uint8_t> from(bytes), to(bytes + 64, 0xA5);
    for (std::size_t i = 0; i < bytes; ++i) from[i] = static_cast<std::uint8_t>(i * 2654435761u >> 13);
    runtime::host_copy(to.data(), from.data(), bytes);
    EXPECT_TRUE(std::equal(from.begin(), from.end(), to.begin())) << bytes;
    for (std::size_t i = bytes; i < to.size(); ++i) EXPECT_EQ(to[i], 0xA5) << bytes;
  }
}

}  // namespace
}  // namespace lacuna
