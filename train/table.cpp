#include "train/table.h"

#include <algorithm>
#include <cmath>

#include <fmt/format.h>

#include "core/errors.h"

namespace lacuna {
namespace {

void append_cell(std::string& line, const std::string& cell, std::size_t width, Align align) {
  const std::size_t padding = width - std::min(width, cell.size());
  if (align == Align::right) line.append(padding, ' ');
  line += cell;
  if (align == Align::left) line.append(padding, ' ');
}

std::string finish(std::string line) {
  line.erase(line.find_last_not_of(' ') + 1);
  return line + "\n";
}

}  // namespace

void Table::add_row(std::vector<std::string> cells) {
  if (cells.size() != columns_.size()) {
    throw ValueError("table",
                     fmt::format("a row has {} cells; the table has {} columns", cells.size(), columns_.size()));
  }
  rows_.push_back(std::move(cells));
}

std::string Table::text() const {
  std::vector<std::size_t> widths;
  for (const Column& column : columns_) widths.push_back(column.title.size());
  for (const auto& row : rows_) {
    for (std::size_t i = 0; i < row.size(); ++i) widths[i] = std::max(widths[i], row[i].size());
  }
  std::string rule, header;
  for (std::size_t i = 0; i < columns_.size(); ++i) {
    if (i > 0) header += "  ", rule += "  ";
    append_cell(header, columns_[i].title, widths[i], columns_[i].align);
    rule.append(widths[i], '-');
  }
  std::string text = finish(header) + rule + "\n";
  for (const auto& row : rows_) {
    if (row.empty()) {
      text += rule + "\n";
      continue;
    }
    std::string line;
    for (std::size_t i = 0; i < row.size(); ++i) {
      if (i > 0) line += "  ";
      append_cell(line, row[i], widths[i], columns_[i].align);
    }
    text += finish(line);
  }
  return text;
}

std::string format_bytes(double bytes) {
  static constexpr const char* kUnits[] = {"B", "KiB", "MiB", "GiB", "TiB"};
  std::size_t unit = 0;
  // 1023.95 would print as 1024.0 of the smaller unit.
  for (; unit + 1 < std::size(kUnits) && std::abs(bytes) >= (unit == 0 ? 1024 : 1023.95); ++unit) bytes /= 1024;
  return unit == 0 ? fmt::format("{:.0f} B", bytes) : fmt::format("{:.1f} {}", bytes, kUnits[unit]);
}

std::string format_count(std::int64_t count) {
  std::string digits = std::to_string(count);
  const std::size_t first = count < 0 ? 1 : 0;
  for (std::size_t i = digits.size(); i > first + 3;) {
    i -= 3;
    digits.insert(i, 1, ',');
  }
  return digits;
}

std::string format_si(double value) {
  static constexpr const char* kUnits[] = {"", " k", " M", " G", " T", " P"};
  std::size_t unit = 0;
  for (; unit + 1 < std::size(kUnits) && std::abs(value) >= 999.5; ++unit) value /= 1000;
  return fmt::format("{:.3g}{}", value, kUnits[unit]);
}

std::string format_percent(double fraction, int decimals) { return fmt::format("{:.{}f} %", 100 * fraction, decimals); }

std::string format_duration(double seconds) {
  if (!std::isfinite(seconds) || seconds < 0 || seconds > 1e9) return "?";
  const auto total = static_cast<std::int64_t>(std::llround(seconds));
  if (total < 3600) return fmt::format("{}:{:02}", total / 60, total % 60);
  return fmt::format("{}:{:02}:{:02}", total / 3600, total / 60 % 60, total % 60);
}

}  // namespace lacuna
