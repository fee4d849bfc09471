// Tables of plain text with aligned columns.
#pragma once

#include <cstddef>
#include <cstdint>
#include <string>
#include <utility>
#include <vector>

namespace lacuna {

enum class Align : std::uint8_t { left, right };

/// ASCII only: header, a rule, rows, two spaces between columns.
class Table {
 public:
  struct Column {
    std::string title;
    Align align = Align::left;
  };
  explicit Table(std::vector<Column> columns) : columns_(std::move(columns)) {}

  /// Throws ValueError unless there is a cell for each column.
  void add_row(std::vector<std::string> cells);
  /// A rule between rows, as above a total.
  void add_rule() { rows_.emplace_back(); }
  /// Lines with line feeds, none with trailing spaces.
  std::string text() const;

 private:
  std::vector<Column> columns_;
  std::vector<std::vector<std::string>> rows_;  // an empty row is a rule
};

// Numbers for people: "1.5 KiB", "12.3 MiB"; "1,234,567"; "1.23 G"; "90.0 %"; "1:02:03".
std::string format_bytes(double bytes);
std::string format_count(std::int64_t count);
std::string format_si(double value);
std::string format_percent(double fraction, int decimals = 1);
std::string format_duration(double seconds);

}  // namespace lacuna
