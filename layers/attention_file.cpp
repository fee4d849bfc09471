// Attention patterns from .smtx files; the format is described in attention_patterns.h.
#include <charconv>
#include <filesystem>
#include <fstream>

#include <fmt/format.h>

#include "core/errors.h"
#include "layers/attention_patterns.h"

namespace lacuna {

namespace {

/// Reads integers from one line at a time, and remembers where it is for messages.
class LineReader {
 public:
  LineReader(const std::string& path, const std::string& text)
      : path_(path), at_(text.data()), end_(at_ + text.size()) {}

  [[noreturn]] void fail(const std::string& message) const {
    throw DataError("attention pattern", fmt::format("{}: line {}: {}", path_, line_, message));
  }

  std::int64_t next(const char* what) {
    skip_blanks();
    if (at_ == end_ || *at_ == '\n') fail(fmt::format("the line ends where {} must follow", what));
    std::int64_t value = 0;
    const auto [rest, error] = std::from_chars(at_, end_, value);
    if (error == std::errc::result_out_of_range) fail(fmt::format("{} is past 64 bits", what));
    if (error != std::errc{}) fail(fmt::format("'{}' where {} must stand", printable(*at_), what));
    if (rest != end_ && !is_separator(*rest)) fail(fmt::format("'{}' after {} {}", printable(*rest), what, value));
    at_ = rest;
    return value;
  }

  void end_line() {
    skip_blanks();
    if (at_ != end_ && *at_ != '\n') fail("more numbers than line 1 announces");
    if (at_ != end_) ++at_;
    ++line_;
  }

  void end_file() {
    while (at_ != end_ && is_separator(*at_)) ++at_;
    if (at_ != end_) fail("something follows the column indices; must be the end of the file");
  }

 private:
  static bool is_separator(char c) { return c == ' ' || c == ',' || c == '\t' || c == '\r' || c == '\n'; }
  static std::string printable(char c) {
    return c >= 32 && c < 127 ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  void skip_blanks() {
    while (at_ != end_ && *at_ != '\n' && is_separator(*at_)) ++at_;
  }

  std::string path_;
  const char* at_;
  const char* end_;
  int line_ = 1;
};

std::string read_text(const std::string& path) {
  std::error_code error;
  if (!std::filesystem::is_regular_file(path, error)) {
    throw DataError("attention pattern", path + ": no such file");
  }
  std::ifstream file(path, std::ios::binary | std::ios::ate);
  if (!file) throw DataError("attention pattern", path + ": cannot be opened");
  std::string text(static_cast<std::size_t>(file.tellg()), '\0');
  file.seekg(0);
  if (!file.read(text.data(), static_cast<std::streamsize>(text.size()))) {
    throw DataError("attention pattern", path + ": cannot be read to its end");
  }
  return text;
}

}  // namespace

TopologyPtr attention_from_file(const std::string& path, std::int64_t t) {
  const std::string text = read_text(path);
  LineReader reader(path, text);
  const std::int64_t rows = reader.next("the number of rows");
  const std::int64_t cols = reader.next("the number of columns");
  const std::int64_t nnz = reader.next("the number of nonzeros");
  if (rows != t || cols != t)
    reader.fail(fmt::format("a {} x {} pattern; must be {} x {}, the sequence length", rows, cols, t, t));
  // Each index takes a digit and a separator, so a count past the file's size is a lie: refused before it is allocated.
  if (nnz < rows || nnz > static_cast<std::int64_t>(text.size()) / 2 + 1 || nnz > INT32_MAX) {
    reader.fail(
        fmt::format("{} nonzeros; must be at least one per row ({}) and no more than the file holds", nnz, rows));
  }
  reader.end_line();

  std::vector<std::int32_t> offsets(static_cast<std::size_t>(rows) + 1);
  for (std::int64_t i = 0; i <= rows; ++i) {
    const std::int64_t offset = reader.next("a row offset");
    if (i == 0 && offset != 0) reader.fail(fmt::format("the first row offset is {}; must be 0", offset));
    if (i > 0 && offset <= offsets[static_cast<std::size_t>(i - 1)]) {
      reader.fail(
          fmt::format("row {} is empty or runs backwards (offset {}); every row must hold an entry", i - 1, offset));
    }
    if (offset > nnz) reader.fail(fmt::format("row offset {} of row {}; line 1 announces {} nonzeros", offset, i, nnz));
    offsets[static_cast<std::size_t>(i)] = static_cast<std::int32_t>(offset);
  }
  if (offsets.back() != nnz) {
    reader.fail(fmt::format("the last row offset is {}; must be {}, the nonzeros of line 1", offsets.back(), nnz));
  }
  reader.end_line();

  std::vector<std::int32_t> columns(static_cast<std::size_t>(nnz));
  for (std::int64_t i = 0; i < rows; ++i) {
    std::int64_t previous = -1;
    for (auto e = static_cast<std::size_t>(offsets[static_cast<std::size_t>(i)]);
         e < static_cast<std::size_t>(offsets[static_cast<std::size_t>(i) + 1]); ++e) {
      const std::int64_t column = reader.next("a column index");
      if (column <= previous) {
        reader.fail(fmt::format("column {} after {} in row {}; columns must ascend from 0", column, previous, i));
      }
      if (column > i) reader.fail(fmt::format("column {} in row {}; a key must not come after its query", column, i));
      columns[e] = static_cast<std::int32_t>(column);
      previous = column;
    }
  }
  reader.end_line();
  reader.end_file();
  return Topology::from_csr(rows, cols, Tensor::from(offsets, {rows + 1}), Tensor::from(columns, {nnz}));
}

}  // namespace lacuna
