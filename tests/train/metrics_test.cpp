#include "train/metrics.h"

#include <gtest/gtest.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cmath>

#include "core/errors.h"
#include "tests/train/small_model.h"
#include "tests/train/temporary_directory.h"

namespace lacuna {
namespace {

std::vector<std::int64_t> steps_of(const std::vector<MetricsRecord>& records) {
  std::vector<std::int64_t> steps;
  for (const MetricsRecord& record : records) steps.push_back(record.step);
  return steps;
}
using Steps = std::vector<std::int64_t>;

TEST(Metrics, LinesReadBackExactly) {
  TemporaryDirectory directory;
  MetricsWriter writer(directory / "metrics.jsonl", directory / "events");
  writer.write(10, {{"train_loss", 0.1}, {"tokens_per_second", 12345.0}, {"step_time_ms", 1.0 / 3}});
  writer.write(20, {{"train_loss", std::nan("")}, {"big", 1e300}});
  EXPECT_EQ(slurp(directory / "metrics.jsonl").substr(0, 89),
            "{\"step\":10,\"train_loss\":0.1,\"tokens_per_second\":12345,\"step_time_ms\":0.3333333333333333}\n");
  const auto records = read_metrics(directory / "metrics.jsonl");
  ASSERT_EQ(records.size(), 2u);
  EXPECT_EQ(records[0].values[2].second, 1.0 / 3);
  EXPECT_TRUE(std::isnan(records[1].values[0].second));
  EXPECT_EQ(records[1].values[1].second, 1e300);
  EXPECT_EQ(directory.num_files(), 2u);
}

TEST(Metrics, ResumeDoublesNothing) {
  TemporaryDirectory directory;
  const auto path = directory / "metrics.jsonl";
  {
    MetricsWriter writer(path, directory / "events");
    for (std::int64_t step : {10, 20, 20, 30, 40}) writer.write(step, {{"loss", 0.5 + static_cast<double>(step)}});
  }
  const std::string whole = slurp(path);
  spill(path, whole + "{\"step\":50,\"lo");  // killed while writing
  {
    MetricsWriter writer(path, directory / "events", 20);
    EXPECT_EQ(slurp(path), whole.substr(0, whole.find("{\"step\":30"))) << "what is kept stays as it was";
    for (std::int64_t step : {30, 40, 50}) writer.write(step, {{"loss", 1.0}});
  }
  EXPECT_EQ(steps_of(read_metrics(path)), (Steps{10, 20, 20, 30, 40, 50}));
  MetricsWriter fresh(directory / "other.jsonl", {}, 20);  // nothing to cut is fine
  fresh.write(30, {{"loss", 1}});
  EXPECT_EQ(steps_of(read_metrics(directory / "other.jsonl")), Steps{30});
}

TEST(Metrics, WhatIsThereOfTheResumedStepIsNotWrittenAgain) {
  TemporaryDirectory directory;
  const auto path = directory / "metrics.jsonl";
  {
    MetricsWriter writer(path, directory / "events");
    writer.write(20, {{"train_loss", 1.0}});
    writer.write(20, {{"valid_loss", 2.0}, {"valid_accuracy", 0.5}});  // killed here, after its last checkpoint
  }
  const std::string before = slurp(path);
  MetricsWriter writer(path, directory / "events", 20);
  writer.write(20, {{"valid_loss", 2.0}, {"valid_accuracy", 0.5}});
  EXPECT_EQ(slurp(path), before);
  writer.write(20, {{"test_loss", 3.0}});  // this was still missing
  writer.write(21, {{"valid_loss", 2.0}, {"valid_accuracy", 0.5}});
  EXPECT_EQ(steps_of(read_metrics(path)), (Steps{20, 20, 20, 21}));
}

TEST(Metrics, HistogramsComeBack) {
  TemporaryDirectory directory;
  const auto path = directory / "metrics.jsonl";
  MetricsWriter(path, directory / "events").write(MetricsRecord{3, {{"a", 1.5}}, {{"h/w", 0, 0.5, {3, 0, 1}}}});
  EXPECT_EQ(slurp(path), "{\"step\":3,\"a\":1.5,\"h/w\":{\"low\":0,\"high\":0.5,\"counts\":[3,0,1]}}\n");
  const std::vector<MetricsRecord> records = read_metrics(path);
  ASSERT_EQ(records.size(), 1u);
  ASSERT_EQ(records[0].histograms.size(), 1u);
  EXPECT_EQ(records[0].histograms[0].name, "h/w");
  EXPECT_EQ(records[0].histograms[0].high, 0.5);
  EXPECT_EQ(records[0].histograms[0].counts, (std::vector<double>{3, 0, 1}));
}

TEST(Metrics, RefusesOtherLines) {
  TemporaryDirectory directory;
  for (const char* line : {"x", "[]", "{}", "{\"step\":\"1\"}", "{\"step\":1.5}", "{\"step\":1,\"a\":\"b\"}", "",
                           "{\"step\":1,\"a\":{}}", "{\"step\":1,\"a\":{\"low\":0,\"high\":1,\"counts\":[\"x\"]}}",
                           "{\"step\":1,\"a\":{\"low\":0,\"counts\":[1]}}"}) {
    spill(directory / "m", std::string("{\"step\":1}\n") + line + "\n");
    try {
      read_metrics(directory / "m");
      ADD_FAILURE() << line;
    } catch (const DataError& error) {
      EXPECT_NE(std::string(error.what()).find(":2:"), std::string::npos) << error.what();
    }
  }
  EXPECT_THROW(read_metrics(directory / "absent"), Error);
  EXPECT_THROW(MetricsWriter(directory / "absent" / "m", {}), Error);
}

TEST(Metrics, AFullDiskLeavesWholeLines) {
  TemporaryDirectory directory;
  const auto path = directory / "metrics.jsonl";
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{100, 100};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    MetricsWriter writer(path, {});
    try {
      for (int step = 0; step < 100; ++step) writer.write(step, {{"loss", 0.25}});
    } catch (const Error&) {
      ::_exit(42);
    }
    ::_exit(43);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
  EXPECT_EQ(slurp(path).back(), '\n');
  EXPECT_EQ(steps_of(read_metrics(path)), (Steps{0, 1, 2, 3}));
}

}  // namespace
}  // namespace lacuna
