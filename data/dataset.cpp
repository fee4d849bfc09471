#include "data/dataset.h"

#include <fmt/format.h>

#include "core/errors.h"

namespace lacuna {

void Dataset::check_indices(std::span<const std::int64_t> indices) const {
  const std::int64_t count = num_examples();
  for (const std::int64_t index : indices) {
    if (index < 0 || index >= count) {
      throw IndexError("dataset", fmt::format("example {} of {}; it must be in [0, {})", index, description(), count));
    }
  }
}

}  // namespace lacuna
