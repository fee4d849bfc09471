#include "data/smtx.h"

#include <fmt/format.h>

#include <charconv>
#include <vector>

#include "core/errors.h"
#include "data/files.h"

namespace lacuna {

namespace {

/// Walks the text number by number and knows its line.
class Numbers {
 public:
  Numbers(std::string name, const Bytes& bytes)
      : name_(std::move(name)), at_(reinterpret_cast<const char*>(bytes.view.data())), end_(at_ + bytes.size()) {}

  [[noreturn]] void fail(const std::string& message) const {
    throw DataError("smtx", fmt::format("{}:{}: {}", name_, line_, message));
  }

  std::int64_t next(const char* what) {
    skip_blanks();
    if (at_ != end_ && *at_ == ',') {  // one comma may follow a number, none may stand alone
      if (first_in_line_) fail(fmt::format("',' where {} must stand", what));
      ++at_;
      skip_blanks();
    }
    if (at_ == end_ || *at_ == '\n') fail(fmt::format("the line ends; {} must follow", what));
    std::int64_t value = 0;
    const auto [rest, error] = std::from_chars(at_, end_, value);
    if (error == std::errc::result_out_of_range) fail(fmt::format("{} does not fit 64 bits", what));
    if (error != std::errc{}) fail(fmt::format("'{}'; {} must stand here, in decimal digits", printable(*at_), what));
    if (rest != end_ && !is_blank(*rest) && *rest != ',' && *rest != '\n') {
      fail(fmt::format("'{}' after {}; a blank, a comma or the line's end must follow {}", printable(*rest), value,
                       what));
    }
    at_ = rest;
    first_in_line_ = false;
    return value;
  }

  void end_line(const char* announced) {
    skip_blanks();
    if (at_ != end_ && *at_ != '\n')
      fail(fmt::format("'{}' after the last number; the line must end after {}", printable(*at_), announced));
    if (at_ != end_) ++at_;
    ++line_;
    first_in_line_ = true;
  }

  void end_file() {
    while (at_ != end_ && (is_blank(*at_) || *at_ == '\n')) ++at_;
    if (at_ != end_) fail(fmt::format("'{}' after the column indices; the file must end there", printable(*at_)));
  }

 private:
  static bool is_blank(char c) { return c == ' ' || c == '\t' || c == '\r'; }
  static std::string printable(char c) {
    return c >= 32 && c < 127 ? std::string(1, c) : fmt::format("\\x{:02x}", static_cast<unsigned char>(c));
  }
  void skip_blanks() {
    while (at_ != end_ && is_blank(*at_)) ++at_;
  }

  std::string name_;
  const char* at_;
  const char* end_;
  int line_ = 1;
  bool first_in_line_ = true;
};

SmtxHeader read_header(Numbers& numbers, std::int64_t file_bytes) {
  SmtxHeader h;
  h.rows = numbers.next("the number of rows");
  h.cols = numbers.next("the number of columns");
  h.nnz = numbers.next("the number of nonzeros");
  for (const auto& [count, what] : {std::pair{h.rows, "rows"}, {h.cols, "columns"}, {h.nnz, "nonzeros"}}) {
    if (count < 0 || count > INT32_MAX) {
      numbers.fail(fmt::format("{} {}; must be from 0 to {}", count, what, INT32_MAX));
    }
  }
  if (h.nnz > h.rows * h.cols) {
    numbers.fail(fmt::format("{} nonzeros; a {} x {} matrix has room for {}", h.nnz, h.rows, h.cols, h.rows * h.cols));
  }
  // Every offset and index takes a digit and a separator: a count past that is a lie, refused before it is allocated.
  if (2 * (h.rows + h.nnz) > file_bytes) {
    numbers.fail(fmt::format("{} rows and {} nonzeros; the file's {} bytes cannot hold so many numbers", h.rows, h.nnz,
                             file_bytes));
  }
  numbers.end_line("rows, columns and nonzeros");
  return h;
}

}  // namespace

SmtxHeader read_smtx_header(const std::filesystem::path& path) {
  const Bytes bytes = map_file(path);
  Numbers numbers(path.string(), bytes);
  return read_header(numbers, bytes.size());
}

TopologyPtr read_smtx(const std::filesystem::path& path) {
  const Bytes bytes = map_file(path);
  Numbers numbers(path.string(), bytes);
  const SmtxHeader h = read_header(numbers, bytes.size());

  std::vector<std::int32_t> offsets(static_cast<std::size_t>(h.rows) + 1);
  for (std::int64_t row = 0; row <= h.rows; ++row) {
    const std::int64_t offset = numbers.next("a row offset");
    const std::int64_t before = row == 0 ? 0 : offsets[static_cast<std::size_t>(row - 1)];
    if (row == 0 && offset != 0) numbers.fail(fmt::format("the first row offset is {}; must be 0", offset));
    if (offset < before) {
      numbers.fail(fmt::format("row offset {} of row {} after {}; offsets must never fall", offset, row, before));
    }
    if (offset > h.nnz) {
      numbers.fail(fmt::format("row offset {} of row {}; must be at most {}, line 1's nonzeros", offset, row, h.nnz));
    }
    if (offset - before > h.cols) {
      numbers.fail(fmt::format("row {} holds {} entries; must be at most {}, line 1's columns", row - 1,
                               offset - before, h.cols));
    }
    offsets[static_cast<std::size_t>(row)] = static_cast<std::int32_t>(offset);
  }
  if (offsets.back() != h.nnz) {
    numbers.fail(fmt::format("the last row offset is {}; must be {}, line 1's nonzeros", offsets.back(), h.nnz));
  }
  numbers.end_line("rows + 1 row offsets");

  std::vector<std::int32_t> columns(static_cast<std::size_t>(h.nnz));
  for (std::int64_t row = 0; row < h.rows; ++row) {
    std::int64_t previous = -1;
    const auto end = static_cast<std::size_t>(offsets[static_cast<std::size_t>(row) + 1]);
    for (auto e = static_cast<std::size_t>(offsets[static_cast<std::size_t>(row)]); e < end; ++e) {
      const std::int64_t column = numbers.next("a column index");
      if (column < 0 || column >= h.cols) {
        numbers.fail(fmt::format("column {} in row {}; must be from 0 to {}", column, row, h.cols - 1));
      }
      if (column <= previous) {
        numbers.fail(
            fmt::format("column {} after {} in row {}; columns must ascend within a row", column, previous, row));
      }
      columns[e] = static_cast<std::int32_t>(column);
      previous = column;
    }
  }
  numbers.end_line("nnz column indices");
  numbers.end_file();
  return Topology::from_csr(h.rows, h.cols, Tensor::from(offsets, {h.rows + 1}), Tensor::from(columns, {h.nnz}));
}

}  // namespace lacuna
