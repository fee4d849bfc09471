#include "train/run_directory.h"

#include <gtest/gtest.h>

#include <regex>
#include <set>

#include "core/errors.h"
#include "tests/train/small_model.h"
#include "tests/train/temporary_directory.h"
#include "train/environment.h"

namespace lacuna {
namespace {

TEST(RunDirectory, EachRunHasItsOwn) {
  TemporaryDirectory directory;
  std::set<std::string> roots;
  for (int i = 0; i < 50; ++i) {
    const RunDirectory run = create_run_directory(directory / "runs", "text");
    EXPECT_TRUE(std::filesystem::is_directory(run.checkpoints()));
    EXPECT_EQ(std::distance(std::filesystem::directory_iterator(run.root), {}), 1);
    EXPECT_TRUE(std::regex_match(run.root.filename().string(), std::regex("[0-9]{8}-[0-9]{6}-[0-9a-f]{6}"))) << run.root;
    EXPECT_EQ(run.root.parent_path(), directory / "runs" / "text");
    roots.insert(run.root.string());
    EXPECT_EQ(open_run_directory(run.root).root, run.root);
  }
  EXPECT_EQ(roots.size(), 50u);
}

TEST(RunDirectory, RefusesNamesThatAreNoFileNames) {
  TemporaryDirectory directory;
  for (const char* name : {"", ".", "..", "a/b", "/etc", "../x", "a\nb", ".hidden"}) {
    EXPECT_THROW(create_run_directory(directory.path(), name), ValueError) << name;
  }
  EXPECT_EQ(directory.num_files(), 0u) << "nothing may be written";
  spill(directory / "file", "x");
  EXPECT_THROW(create_run_directory(directory / "file", "x"), Error);
  EXPECT_THROW(open_run_directory(directory.path()), Error);
}

TEST(RunDirectory, WritesConfigAndEnvironment) {
  TemporaryDirectory directory;
  const RunDirectory run = create_run_directory(directory.path(), "x");
  run.write_config("name: x\n");
  EXPECT_EQ(slurp(run.config()), "name: x\n");
  run.write_environment(describe_environment(kCpu, {"lacuna", "train", "a \"b\" \xFF"}));
  const auto json = nlohmann::json::parse(slurp(run.environment()));
  for (const char* key : {"date_utc", "command_line", "lacuna_version", "git", "build_type", "compiler", "host", "os", "cpu", "cores_usable",
                          "memory_bytes", "device", "device_name", "kernels_off", "cuda_runtime", "cuda_driver"}) {
    EXPECT_TRUE(json.contains(key)) << key;
  }
  EXPECT_EQ(json["device"], "cpu");
  EXPECT_EQ(json["command_line"][1], "train");
  EXPECT_GE(json["cores_usable"].get<int>(), 1);
  EXPECT_GT(json["memory_bytes"].get<std::int64_t>(), 1 << 20);
  EXPECT_TRUE(std::regex_match(json["date_utc"].get<std::string>(), std::regex("[0-9]{4}-[0-9]{2}-[0-9]{2}T[0-9]{2}:[0-9]{2}:[0-9]{2}Z")));
}

}  // namespace
}  // namespace lacuna
