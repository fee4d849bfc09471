#include "data/smtx_text.h"

#include <fmt/format.h>

#include <cstdint>
#include <iterator>

namespace lacuna {

namespace {

void append_line(std::string& text, const Tensor& numbers) {
  const char* separator = "";
  for (const std::int32_t number : numbers.to_vector<std::int32_t>()) {
    fmt::format_to(std::back_inserter(text), "{}{}", separator, number);
    separator = " ";
  }
  text += '\n';
}

}  // namespace

std::string format_smtx(const Topology& topology) {
  std::string text = fmt::format("{}, {}, {}\n", topology.rows(), topology.cols(), topology.nnz());
  append_line(text, topology.row_offsets());
  append_line(text, topology.col_indices());
  return text;
}

}  // namespace lacuna
