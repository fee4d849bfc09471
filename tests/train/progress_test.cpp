#include "train/progress.h"

#include <gtest/gtest.h>
#include <stdlib.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/errors.h"
#include "train/table.h"

namespace lacuna {
namespace {

/// What is printed to a FILE that is no terminal.
class Capture {
 public:
  Capture() : file_(::open_memstream(&text_, &size_)) {}
  ~Capture() {
    std::fclose(file_);
    ::free(text_);
  }
  std::FILE* file() { return file_; }
  std::string text() {
    std::fflush(file_);
    return std::string(text_, size_);
  }

 private:
  char* text_ = nullptr;
  std::size_t size_ = 0;
  std::FILE* file_;
};

TEST(ProgressLine, SaysEverything) {
  const ProgressState state{120, 1000, 2.34567, 1e-3, 0.452, 12345.0};
  EXPECT_EQ(progress_line(state, "tokens", 62.0), "step 120/1000  12 %  loss 2.3457  lr 0.001  sparsity 45.2 %  12.3 k tokens/s  ETA 1:02");
  EXPECT_EQ(progress_line({1, 0, std::nan(""), 0}, "images", std::nullopt), "step 1/0  loss nan  lr 0");
}

TEST(Progress, PlainLinesElsewhere) {
  Capture capture;
  {
    Progress progress(capture.file(), "tokens");
    EXPECT_FALSE(progress.is_live());
    progress.update({1, 10, 2, 0.1});
    progress.message("evaluating");
    progress.update({2, 10, 2, 0.1});
  }
  const std::string text = capture.text();
  EXPECT_EQ(text.find('\r'), std::string::npos);
  EXPECT_EQ(text.find('\x1b'), std::string::npos);
  EXPECT_EQ(text.rfind("step 1/10", 0), 0u);
  EXPECT_NE(text.find("\nevaluating\nstep 2/10"), std::string::npos) << text;
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 3);
}

TEST(Progress, OneLiveLineOnATerminal) {
  Capture capture;
  {
    Progress progress(capture.file(), "tokens", Progress::Mode::live);
    for (std::int64_t step = 1; step <= 1000; ++step) progress.update({step, 1000, 2, 0.1});
    progress.message("note");
    progress.finish();
    progress.finish();
  }
  const std::string text = capture.text();
  EXPECT_EQ(std::count(text.begin(), text.end(), '\n'), 2) << "the note's and the last";
  EXPECT_NE(text.find("\rstep 1000/1000"), std::string::npos) << "the last step is always drawn";
  EXPECT_LT(std::count(text.begin(), text.end(), '\r'), 100) << "not at every step";
  EXPECT_NE(text.find("\r\x1b[Knote\nstep 1000/1000"), std::string::npos) << text;
}

TEST(Table, AlignsColumns) {
  Table table({{"name"}, {"nnz", Align::right}});
  table.add_row({"a", "1"});
  table.add_row({"long_name", "1,234"});
  table.add_rule();
  table.add_row({"", "1,235"});
  EXPECT_EQ(table.text(),
            "name         nnz\n"
            "---------  -----\n"
            "a              1\n"
            "long_name  1,234\n"
            "---------  -----\n"
            "           1,235\n");
  EXPECT_THROW(table.add_row({"one"}), ValueError);
}

TEST(Format, NumbersForPeople) {
  EXPECT_EQ(format_bytes(0), "0 B");
  EXPECT_EQ(format_bytes(1023), "1023 B");
  EXPECT_EQ(format_bytes(1024), "1.0 KiB");
  EXPECT_EQ(format_bytes(1048575), "1.0 MiB");
  EXPECT_EQ(format_bytes(5.5 * 1073741824), "5.5 GiB");
  EXPECT_EQ(format_count(0), "0");
  EXPECT_EQ(format_count(999), "999");
  EXPECT_EQ(format_count(1000), "1,000");
  EXPECT_EQ(format_count(-1234567), "-1,234,567");
  EXPECT_EQ(format_count(-123), "-123");
  EXPECT_EQ(format_si(0), "0");
  EXPECT_EQ(format_si(999.6), "1 k");
  EXPECT_EQ(format_si(1234567), "1.23 M");
  EXPECT_EQ(format_percent(0.9), "90.0 %");
  EXPECT_EQ(format_duration(0), "0:00");
  EXPECT_EQ(format_duration(3599.6), "1:00:00");
  EXPECT_EQ(format_duration(3723), "1:02:03");
  EXPECT_EQ(format_duration(std::numeric_limits<double>::infinity()), "?");
}

}  // namespace
}  // namespace lacuna
