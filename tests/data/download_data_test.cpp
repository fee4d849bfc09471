// scripts/download_data.sh, with a curl of our own in front: no network is touched.
#include <fmt/format.h>
#include <sys/wait.h>

#include <cstdio>
#include <fstream>
#include <iterator>

#include "tests/data/fixtures.h"

namespace lacuna::test {
namespace {
namespace fs = std::filesystem;

class DownloadScript : public ::testing::Test {
 protected:
  void SetUp() override {
    script_ = fs::current_path() / "scripts/download_data.sh";
    if (!fs::exists(script_)) GTEST_SKIP() << "not run from the repository's root";
  }
  /// A curl that runs `body`, with the target in $target.
  void fake_curl(const std::string& body) {
    const std::string text =
        "#!/bin/sh\nwhile [ $# -gt 0 ]; do [ \"$1\" = --output ] && target=$2; shift; done\n" + body + "\n";
    write_file(dir_ / "bin/curl", text);
    fs::permissions(dir_ / "bin/curl", fs::perms::owner_all);
  }
  /// Exit code; what it says goes to output_.
  int run(const std::string& arguments) {
    const std::string command =
        fmt::format("PATH={}:$PATH bash {} {} 2>&1", (dir_ / "bin").string(), script_.string(), arguments);
    FILE* pipe = popen(command.c_str(), "r");
    output_.clear();
    for (int c = std::fgetc(pipe); c != EOF; c = std::fgetc(pipe)) output_.push_back(static_cast<char>(c));
    return WEXITSTATUS(pclose(pipe));
  }
  std::vector<std::string> left() const {
    std::vector<std::string> names;
    for (const auto& entry : fs::recursive_directory_iterator(dir_ / "out")) {
      if (entry.is_regular_file()) names.push_back(entry.path().filename().string());
    }
    return names;
  }
  std::string out() const { return (dir_ / "out").string(); }

  TempDir dir_;
  fs::path script_;
  std::string output_;
};

TEST_F(DownloadScript, Usage) {
  EXPECT_EQ(run(""), 2);
  EXPECT_NE(output_.find("NAME"), std::string::npos);
  EXPECT_EQ(run("imagenet " + out()), 2);
  EXPECT_NE(output_.find("unknown data set 'imagenet'"), std::string::npos);
  EXPECT_EQ(run("--help"), 0);
  EXPECT_FALSE(fs::exists(dir_ / "out"));
}

TEST_F(DownloadScript, OfflineLeavesNothing) {
  fake_curl("printf half > \"$target\"; exit 6");
  for (const char* name :
       {"cifar10", "cifar100", "mnist", "fashion-mnist", "imagenette", "tinyshakespeare", "wikitext2"}) {
    EXPECT_EQ(run(fmt::format("{} {}", name, out())), 1) << name;
    EXPECT_NE(output_.find("could not fetch http"), std::string::npos) << output_;
    EXPECT_TRUE(left().empty()) << name;
  }
}

TEST_F(DownloadScript, WrongChecksumLeavesNothing) {
  fake_curl("printf wrong > \"$target\"");
  EXPECT_EQ(run("tinyshakespeare " + out()), 1);
  EXPECT_NE(output_.find("does not have checksum"), std::string::npos) << output_;
  EXPECT_TRUE(left().empty());
}

TEST_F(DownloadScript, NeverOverwrites) {
  fake_curl("printf wrong > \"$target\"");
  write_file(dir_ / "out/text/tinyshakespeare_input.txt", std::string("mine"));
  EXPECT_EQ(run("tinyshakespeare " + out()), 1);
  EXPECT_NE(output_.find("checksum differs"), std::string::npos) << output_;
  std::ifstream in(dir_ / "out/text/tinyshakespeare_input.txt");
  EXPECT_EQ(std::string(std::istreambuf_iterator<char>(in), {}), "mine");
  write_file(dir_ / "out/cifar-10-batches-bin/mine", std::string("mine"));
  EXPECT_EQ(run("cifar10 " + out()), 0);
  EXPECT_NE(output_.find("there already"), std::string::npos) << output_;
}

TEST_F(DownloadScript, SetsThatArriveAreVerifiedAndKept) {
  const char* root = std::getenv("LACUNA_DATA_DIR");
  const fs::path text = fs::path(root ? root : "") / "text/tinyshakespeare_input.txt";
  if (!root || !fs::exists(text)) GTEST_SKIP() << "LACUNA_DATA_DIR/text/tinyshakespeare_input.txt is absent";
  fake_curl("cp " + text.string() + " \"$target\"");
  EXPECT_EQ(run("tinyshakespeare " + out()), 0) << output_;
  EXPECT_EQ(left(), std::vector<std::string>{"tinyshakespeare_input.txt"});
  fake_curl("exit 6");
  EXPECT_EQ(run("tinyshakespeare " + out()), 0) << output_;  // there already
}

}  // namespace
}  // namespace lacuna::test
