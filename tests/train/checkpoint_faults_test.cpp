// A save that fails, wherever it fails, leaves the checkpoints before it as they were.
#include <fcntl.h>
#include <gtest/gtest.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <cerrno>

#include "core/errors.h"
#include "tests/train/small_model.h"
#include "tests/train/temporary_directory.h"
#include "train/checkpoint.h"
#include "train/checkpoint_directory.h"

namespace lacuna {
namespace {

/// A disk that takes `capacity` bytes, then fails with `error`, or, for error 0, takes none.
FileCalls failing_disk(std::size_t capacity, int error) {
  auto left = std::make_shared<std::size_t>(capacity);
  FileCalls calls;
  calls.write = [left, error](int file, const void* bytes, std::size_t size) -> ssize_t {
    const std::size_t taken = std::min(size, *left);
    if (taken == 0 && size > 0) {
      errno = error;
      return error == 0 ? 0 : -1;
    }
    *left -= taken;
    return ::write(file, bytes, taken);
  };
  return calls;
}

class CheckpointFaultTest : public ::testing::Test {
 protected:
  void SetUp() override { save_checkpoint(old_path_, model_.parameters, model_.buffers(), example_state(1)); }

  void expect_refused(const std::filesystem::path& path, const FileCalls& calls, const std::string& part) {
    const std::string before = slurp(old_path_);
    try {
      save_checkpoint(path, model_.parameters, model_.buffers(), example_state(2), calls);
      FAIL() << "saved";
    } catch (const CheckpointError& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find(part), std::string::npos) << message;
      EXPECT_NE(message.find("earlier checkpoints are untouched and valid"), std::string::npos) << message;
    }
    EXPECT_EQ(slurp(old_path_), before);
    EXPECT_EQ(directory_.num_files(), 1u) << "a temporary was left";
    const LatestCheckpoint latest = find_latest(directory_.path());
    ASSERT_TRUE(latest.file);
    EXPECT_EQ(latest.file->step, 1);
  }

  TemporaryDirectory directory_;
  std::filesystem::path old_path_ = directory_ / checkpoint_name(1);
  std::filesystem::path new_path_ = directory_ / checkpoint_name(2);
  SmallModel model_ = SmallModel::trained();
};

TEST_F(CheckpointFaultTest, DiskFullAtEveryByte) {
  const std::size_t size = slurp(old_path_).size();
  for (std::size_t capacity = 0; capacity < size; capacity += 7) {
    expect_refused(new_path_, failing_disk(capacity, ENOSPC), "No space left on device");
  }
  expect_refused(new_path_, failing_disk(size - 1, EIO), "Input/output error");
  expect_refused(new_path_, failing_disk(size - 1, 0), "took no more bytes");
  expect_refused(old_path_, failing_disk(100, ENOSPC), "No space left on device");
}

TEST_F(CheckpointFaultTest, ShortAndInterruptedWritesGoOn) {
  auto turn = std::make_shared<int>(0);
  FileCalls calls;
  calls.write = [turn](int file, const void* bytes, std::size_t size) -> ssize_t {
    if (++*turn % 3 == 0) {
      errno = EINTR;
      return -1;
    }
    return ::write(file, bytes, std::min<std::size_t>(size, 5));
  };
  save_checkpoint(new_path_, model_.parameters, model_.buffers(), example_state(2), calls);
  EXPECT_EQ(verify_checkpoint(new_path_).step, 2);
}

TEST_F(CheckpointFaultTest, SyncFails) {
  FileCalls calls;
  calls.sync = [](int) { return errno = EIO, -1; };
  expect_refused(new_path_, calls, "cannot sync");
}

TEST_F(CheckpointFaultTest, RenameFails) {
  FileCalls calls;
  calls.rename = [](const char*, const char*) { return errno = EACCES, -1; };
  expect_refused(new_path_, calls, "cannot rename");
}

TEST_F(CheckpointFaultTest, DirectorySyncFails) {
  auto turn = std::make_shared<int>(0);
  FileCalls calls;
  calls.sync = [turn](int file) { return ++*turn == 1 ? ::fsync(file) : (errno = EIO, -1); };
  EXPECT_THROW(save_checkpoint(new_path_, model_.parameters, model_.buffers(), example_state(2), calls), CheckpointError);
  EXPECT_EQ(verify_checkpoint(old_path_).step, 1);
  EXPECT_EQ(verify_checkpoint(new_path_).step, 2) << "it was renamed already, so it is whole";
  *turn = 0;
  calls.sync = [turn](int file) { return ++*turn == 1 ? ::fsync(file) : (errno = EINVAL, -1); };
  save_checkpoint(directory_ / checkpoint_name(3), model_.parameters, model_.buffers(), example_state(3), calls);
}

TEST_F(CheckpointFaultTest, MissingDirectory) { expect_refused(directory_ / "absent" / "x", {}, "No such file or directory"); }

TEST_F(CheckpointFaultTest, FileSizeLimit) {
  // In a child: the limit cannot be raised again, and its signal has to be ignored, as the command line does.
  const pid_t child = ::fork();
  ASSERT_GE(child, 0);
  if (child == 0) {
    ::signal(SIGXFSZ, SIG_IGN);
    const rlimit limit{600, 600};
    ::setrlimit(RLIMIT_FSIZE, &limit);
    try {
      save_checkpoint(new_path_, model_.parameters, model_.buffers(), example_state(2));
    } catch (const CheckpointError& error) {
      ::_exit(std::string(error.what()).find("File too large") != std::string::npos ? 42 : 43);
    }
    ::_exit(44);
  }
  int status = 0;
  ASSERT_EQ(::waitpid(child, &status, 0), child);
  ASSERT_TRUE(WIFEXITED(status));
  EXPECT_EQ(WEXITSTATUS(status), 42);
  EXPECT_EQ(directory_.num_files(), 1u);
  EXPECT_EQ(find_latest(directory_.path()).file->step, 1);
}

TEST_F(CheckpointFaultTest, FullDevice) {
  // Bytes really go to a device that is full; only the redirection is ours.
  const int full = ::open("/dev/full", O_WRONLY);
  if (full < 0) GTEST_SKIP() << "no /dev/full";
  FileCalls calls;
  calls.write = [full](int, const void* bytes, std::size_t size) { return ::write(full, bytes, size); };
  expect_refused(new_path_, calls, "No space left on device");
  ::close(full);
}

TEST_F(CheckpointFaultTest, FullFileSystem) {
  TemporaryDirectory mount_point;
  if (::mount("none", mount_point.path().c_str(), "tmpfs", 0, "size=4096") != 0) GTEST_SKIP() << "may not mount a tmpfs";
  const auto small = mount_point / checkpoint_name(1);
  EXPECT_NO_THROW(save_checkpoint(small, model_.parameters, model_.buffers(), example_state(1)));
  EXPECT_THROW(save_checkpoint(mount_point / checkpoint_name(2), model_.parameters, model_.buffers(), example_state(2)), CheckpointError);
  const LatestCheckpoint latest = find_latest(mount_point.path());
  EXPECT_EQ(mount_point.num_files(), 1u);
  ::umount(mount_point.path().c_str());
  ASSERT_TRUE(latest.file);
  EXPECT_EQ(latest.file->step, 1);
  EXPECT_TRUE(latest.problems.empty());
}

TEST_F(CheckpointFaultTest, KilledWhileSaving) {
  for (int kill_at = 1; kill_at < 40; kill_at += 3) {
    const pid_t child = ::fork();
    ASSERT_GE(child, 0);
    if (child == 0) {
      auto calls_left = std::make_shared<int>(kill_at);
      FileCalls calls;
      calls.write = [calls_left](int file, const void* bytes, std::size_t size) {
        if (--*calls_left == 0) ::raise(SIGKILL);
        return ::write(file, bytes, std::min<std::size_t>(size, 64));
      };
      save_checkpoint(new_path_, model_.parameters, model_.buffers(), example_state(2), calls);
      ::_exit(0);
    }
    int status = 0;
    ASSERT_EQ(::waitpid(child, &status, 0), child);
    const LatestCheckpoint latest = find_latest(directory_.path());
    ASSERT_TRUE(latest.file);
    EXPECT_TRUE(latest.problems.empty());
    if (WIFSIGNALED(status)) {
      EXPECT_EQ(latest.file->step, 1);
      EXPECT_EQ(directory_.num_files(), 1u) << "the dead process's temporary was not removed";
    } else {
      EXPECT_EQ(latest.file->step, 2);
      std::filesystem::remove(new_path_);
    }
  }
}

}  // namespace
}  // namespace lacuna
