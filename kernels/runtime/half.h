// f16 as it lies in memory. Only copies that die within a product are kept in it: no tensor's dtype, no arithmetic.
#pragma once

#include <cstdint>

namespace lacuna {

struct Half {
  std::uint16_t bits;
};

}  // namespace lacuna
