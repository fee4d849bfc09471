#include "train/checkpoint_directory.h"

#include <gtest/gtest.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/errors.h"
#include "tests/train/small_model.h"
#include "tests/train/temporary_directory.h"

namespace lacuna {
namespace {

class CheckpointDirectoryTest : public ::testing::Test {
 protected:
  void save(std::int64_t step) {
    save_checkpoint(directory_ / checkpoint_name(step), model_.parameters, model_.buffers(), example_state(step));
  }
  void damage(std::int64_t step) {
    std::string bytes = slurp(directory_ / checkpoint_name(step));
    bytes[bytes.size() / 2] ^= 4;
    spill(directory_ / checkpoint_name(step), bytes);
  }
  std::vector<std::int64_t> steps() {
    std::vector<std::int64_t> found;
    for (const CheckpointFile& file : list_checkpoints(directory_.path())) found.push_back(file.step);
    return found;
  }
  TemporaryDirectory directory_;
  SmallModel model_ = SmallModel::trained();
};

using Steps = std::vector<std::int64_t>;

TEST(CheckpointName, RoundTrips) {
  EXPECT_EQ(checkpoint_name(1000), "step-00001000.safetensors");
  for (std::int64_t step : {0L, 7L, 99999999L, 123456789012L}) EXPECT_EQ(checkpoint_step(checkpoint_name(step)), step);
  for (const char* name : {"", "step-.safetensors", "step-1.safetensors", "step-0000100x.safetensors", "best.safetensors", "step-",
                           "step-00000001.safetensors.tmp-12", "step--0000001.safetensors", "step-000000001.safetensors",
                           "step-99999999999999999999.safetensors", "step-.safetensor", "xstep-00000001.safetensors"}) {
    EXPECT_FALSE(checkpoint_step(name)) << name;
  }
}

TEST_F(CheckpointDirectoryTest, NewestWins) {
  EXPECT_FALSE(find_latest(directory_.path()).file);
  EXPECT_FALSE(find_latest(directory_ / "absent").file);
  for (std::int64_t step : {100, 9, 30}) save(step);
  EXPECT_EQ(find_latest(directory_.path()).file->step, 100);
  EXPECT_EQ(steps(), (Steps{100, 30, 9}));
}

TEST_F(CheckpointDirectoryTest, BrokenOnesAreReportedAndSkipped) {
  for (std::int64_t step : {1, 2, 3, 4}) save(step);
  damage(4);
  spill(directory_ / checkpoint_name(3), "");
  const LatestCheckpoint latest = find_latest(directory_.path());
  EXPECT_EQ(latest.file->step, 2);
  ASSERT_EQ(latest.problems.size(), 2u);
  EXPECT_NE(latest.problems[0].find(checkpoint_name(4)), std::string::npos) << latest.problems[0];
  EXPECT_NE(latest.problems[1].find(checkpoint_name(3)), std::string::npos) << latest.problems[1];
}

TEST_F(CheckpointDirectoryTest, AFileUnderTheWrongNameIsNoCheckpoint) {
  save(1);
  std::filesystem::copy_file(directory_ / checkpoint_name(1), directory_ / checkpoint_name(2));
  const LatestCheckpoint latest = find_latest(directory_.path());
  EXPECT_EQ(latest.file->step, 1);
  ASSERT_EQ(latest.problems.size(), 1u);
  EXPECT_NE(latest.problems[0].find("holds step 1"), std::string::npos) << latest.problems[0];
}

TEST_F(CheckpointDirectoryTest, TemporariesOfTheDeadAreRemoved) {
  save(1);
  const pid_t dead = ::fork();
  if (dead == 0) ::_exit(0);
  ::waitpid(dead, nullptr, 0);
  spill(directory_ / (checkpoint_name(2) + ".tmp-" + std::to_string(dead)), "half");
  spill(directory_ / (checkpoint_name(3) + ".tmp-" + std::to_string(::getpid())), "half");
  const std::string alive = checkpoint_name(4) + ".tmp-" + std::to_string(::getppid());
  spill(directory_ / alive, "half");
  spill(directory_ / "notes.tmp-x", "not ours");
  EXPECT_EQ(find_latest(directory_.path()).file->step, 1);
  EXPECT_EQ(directory_.num_files(), 3u);
  EXPECT_TRUE(std::filesystem::exists(directory_ / alive)) << "its process is alive and may be writing it";
}

TEST_F(CheckpointDirectoryTest, PruneKeepsTheLast) {
  for (std::int64_t step : {1, 2, 3, 4, 5}) save(step);
  spill(directory_ / "best.safetensors", "other files are nobody's business");
  EXPECT_EQ(prune_checkpoints(directory_.path(), 2).size(), 3u);
  EXPECT_EQ(steps(), (Steps{5, 4}));
  EXPECT_TRUE(prune_checkpoints(directory_.path(), 2).empty());
  EXPECT_TRUE(prune_checkpoints(directory_.path(), 99).empty());
  EXPECT_EQ(directory_.num_files(), 3u);
  EXPECT_THROW(prune_checkpoints(directory_.path(), 0), ValueError);
}

TEST_F(CheckpointDirectoryTest, PruneNeverDeletesTheNewestValidOne) {
  for (std::int64_t step : {1, 2, 3, 4, 5}) save(step);
  damage(5);
  damage(4);
  prune_checkpoints(directory_.path(), 1);
  EXPECT_EQ(steps(), (Steps{5, 4, 3}));
  EXPECT_EQ(find_latest(directory_.path()).file->step, 3);
  damage(3);
  EXPECT_TRUE(prune_checkpoints(directory_.path(), 1).empty()) << "none verifies, so none may go";
}

}  // namespace
}  // namespace lacuna
