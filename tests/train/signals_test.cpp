// A handler must never interrupt a thread that computes: train/signals.h says what happens otherwise.
#include "train/signals.h"

#include <gtest/gtest.h>
#include <unistd.h>

#include <atomic>
#include <csignal>
#include <cstdlib>
#include <cstring>
#include <set>
#include <thread>
#include <vector>

#include "core/ops/matmul.h"
#include "core/tensor.h"

namespace lacuna {
namespace {

std::atomic<pid_t> handled_on{0};
std::atomic<int> handled{0};

void note(int) {
  handled_on = gettid();
  ++handled;
}

std::set<pid_t> computing_threads() {
  std::set<pid_t> ids;
#pragma omp parallel num_threads(4)
#pragma omp critical
  ids.insert(gettid());
  return ids;
}

// 0, or the number of the line that found something wrong.
#define REQUIRE(condition) \
  if (!(condition)) std::_Exit(__LINE__ % 256)

[[noreturn]] void handlers_run_elsewhere() {
  keep_signals_off_computing_threads();
  std::signal(SIGUSR1, note);
  const std::set<pid_t> computing = computing_threads();
  REQUIRE(computing.size() == 4);
  for (int i = 1; i <= 50; ++i) {
    kill(getpid(), SIGUSR1);
    for (int waited = 0; handled < i && waited < 5000; ++waited) usleep(1000);
    REQUIRE(handled == i);
    REQUIRE(computing.count(handled_on) == 0);
  }
  std::_Exit(0);
}

[[noreturn]] void products_stay_right() {
  keep_signals_off_computing_threads();
  std::signal(SIGUSR1, note);
  // The shape of a weight gradient: oneDNN multiplies it without packing.
  std::vector<float> values(256 * 8192);
  for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i * 2654435761u % 1000) * 1e-3f;
  const Tensor a = Tensor::from(values, {256, 8192}), b = Tensor::from(values, {256, 8192});
  const std::vector<float> expected = matmul(a, b, false, true).to_vector<float>();
  const pid_t process = getpid();
  std::jthread storm([process](const std::stop_token& stop) {
    while (!stop.stop_requested()) kill(process, SIGUSR1), usleep(500);
  });
  for (int i = 0; i < 40; ++i) {
    const std::vector<float> got = matmul(a, b, false, true).to_vector<float>();
    REQUIRE(std::memcmp(got.data(), expected.data(), got.size() * sizeof(float)) == 0);
  }
  REQUIRE(handled > 0);
  std::_Exit(0);
}

[[noreturn]] void without_a_handler_a_signal_still_ends() {
  keep_signals_off_computing_threads();
  kill(getpid(), SIGTERM);
  for (int i = 0; i < 5000; ++i) usleep(1000);
  std::_Exit(1);
}

class SignalsDeathTest : public testing::Test {
 protected:
  // Each case in a process of its own, started anew: no thread exists yet that has signals unblocked.
  void SetUp() override { GTEST_FLAG_SET(death_test_style, "threadsafe"); }
};

TEST_F(SignalsDeathTest, HandlersRunOnNoComputingThread) {
  EXPECT_EXIT(handlers_run_elsewhere(), testing::ExitedWithCode(0), "");
}
TEST_F(SignalsDeathTest, ProductsStayRightUnderAStormOfSignals) {
  EXPECT_EXIT(products_stay_right(), testing::ExitedWithCode(0), "");
}
TEST_F(SignalsDeathTest, WithoutAHandlerASignalStillEndsTheProgram) {
  EXPECT_EXIT(without_a_handler_a_signal_still_ends(), testing::KilledBySignal(SIGTERM), "");
}

}  // namespace
}  // namespace lacuna
