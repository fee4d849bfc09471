// When a step is recorded, replayed and dropped; what becomes of memory meanwhile. With a stand-in for CUDA's recorder,
// and on CUDA with the real one.
#include "core/captured_step.h"

#include <gtest/gtest.h>

#include <new>
#include <optional>

#include "core/allocator.h"
#include "core/errors.h"
#include "core/memory_pool.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise.h"
#include "core/random.h"
#include "core/tensor.h"

namespace lacuna {
namespace {

using Ran = CapturedStep::Ran;

/// Notes what happens instead of recording: a replay runs nothing but counts.
struct Log {
  int records = 0;
  int replays = 0;
  bool refuse = false;
};

class NotingRecorder : public Recorder {
 public:
  explicit NotingRecorder(Log& log) : log_(log) {}
  std::function<void()> record(const std::function<void()>& step) override {
    step();
    if (log_.refuse) throw DeviceError("capture", "this step waits for the device");
    ++log_.records;
    return [this] { ++log_.replays; };
  }

 private:
  Log& log_;
};

TEST(CapturedStep, WarmsUpThenRecordsOnceThenReplays) {
  Log log;
  CapturedStep captured(kCpu, std::make_unique<NotingRecorder>(log), /*warmup=*/2);
  int calls = 0;
  const auto step = [&] { ++calls; };
  EXPECT_EQ(captured.run(step), Ran::eager);
  EXPECT_EQ(captured.run(step), Ran::eager);
  EXPECT_FALSE(captured.is_captured());
  EXPECT_EQ(captured.run(step), Ran::captured);
  EXPECT_EQ(captured.run(step), Ran::replayed);
  EXPECT_EQ(captured.run(step), Ran::replayed);
  EXPECT_EQ(calls, 3);        // twice run, once recorded
  EXPECT_EQ(log.replays, 3);  // a capture runs nothing: its work is the first replay
  EXPECT_EQ(captured.num_captures(), 1);
}

TEST(CapturedStep, ANewSignatureDropsTheRecording) {
  Log log;
  CapturedStep captured(kCpu, std::make_unique<NotingRecorder>(log), 1);
  const int a = 0, b = 0;
  const auto step = [] {};
  EXPECT_EQ(captured.run(step, {&a}), Ran::eager);
  EXPECT_EQ(captured.run(step, {&a}), Ran::captured);
  EXPECT_EQ(captured.run(step, {&b}), Ran::eager);  // one eager run builds what follows from the new pattern
  EXPECT_FALSE(captured.is_captured());
  EXPECT_EQ(captured.run(step, {&b}), Ran::captured);
  EXPECT_EQ(captured.run(step, {&b}), Ran::replayed);
  EXPECT_EQ(captured.run(step, {&b, &a}), Ran::eager);
  EXPECT_EQ(captured.num_captures(), 2);
  captured.invalidate();
  EXPECT_EQ(captured.run(step, {&b, &a}), Ran::eager);
}

TEST(CapturedStep, WithoutARecorderEveryRunIsEager) {
  CapturedStep captured(kCpu, make_recorder(kCpu));
  int calls = 0;
  for (int i = 0; i < 5; ++i) EXPECT_EQ(captured.run([&] { ++calls; }), Ran::eager);
  EXPECT_EQ(calls, 5);
  EXPECT_EQ(captured.reserved_bytes(), 0u);
}

TEST(CapturedStep, ARefusedCaptureGoesOnEagerly) {
  Log log{.refuse = true};
  CapturedStep captured(kCpu, std::make_unique<NotingRecorder>(log), 0);
  int calls = 0;
  EXPECT_EQ(captured.run([&] { ++calls; }), Ran::eager);
  EXPECT_EQ(calls, 2);  // the attempt, which on a device would have run nothing, and the run
  EXPECT_NE(captured.refusal().find("waits for the device"), std::string::npos);
  log.refuse = false;
  EXPECT_EQ(captured.run([&] { ++calls; }), Ran::eager);
  EXPECT_EQ(log.records, 0);
}

TEST(CapturedStep, ErrorsOfEagerRunsAreThrown) {
  CapturedStep captured(kCpu, nullptr);
  EXPECT_THROW(captured.run([] { throw ValueError("step", "no"); }), ValueError);
}

TEST(CapturedStep, WhatIsNoRefusalIsThrownAndLeavesNothingHalfRecorded) {
  Log log;
  CapturedStep captured(kCpu, std::make_unique<NotingRecorder>(log), 0);
  bool fails = true;
  const auto step = [&] {
    EXPECT_TRUE(captured.is_recorded_work());
    if (fails) throw std::bad_alloc();
  };
  EXPECT_THROW(captured.run(step), std::bad_alloc);
  EXPECT_FALSE(captured.is_recorded_work()) << "the next step's random numbers would come from the device";
  EXPECT_TRUE(captured.refusal().empty());
  fails = false;
  EXPECT_EQ(captured.run(step), Ran::captured);
}

TEST(CapturedStep, KeepsTheMemoryOfItsRecording) {
  const MemoryStats before = memory_stats(kCpu);
  Tensor result;
  {
    Log log;
    CapturedStep captured(kCpu, std::make_unique<NotingRecorder>(log), 0);
    captured.run([&] {
      const Tensor passing = Tensor::full({1000}, 2, DType::f32);
      result = scale(passing, 2);
    });
    EXPECT_GE(captured.reserved_bytes(), 8000u);
    EXPECT_GE(memory_stats(kCpu).reserved_bytes, before.reserved_bytes + 4000);  // `passing`, in no tensor now
    const Tensor other = Tensor::full({1000}, 3, DType::f32);                    // must not get passing's block
    EXPECT_GE(memory_stats(kCpu).reserved_bytes, before.reserved_bytes + 4000);
  }
  EXPECT_EQ(memory_stats(kCpu).reserved_bytes, before.reserved_bytes);
  EXPECT_EQ(result.to_vector<float>(), std::vector<float>(1000, 4.0f));  // outlives the recording
  result = Tensor();
  EXPECT_EQ(memory_stats(kCpu).live_bytes, before.live_bytes);
}

std::vector<void*> addresses(std::initializer_list<Tensor> tensors) {
  std::vector<void*> found;
  for (const Tensor& t : tensors) found.push_back(t.raw());
  return found;
}

TEST(MemoryPool, BlocksAreReusedWithinAScopeAndByNobodyElse) {
  MemoryPool pool(kCpu);
  void* first = nullptr;
  std::optional<Tensor> kept;
  {
    const MemoryPool::Scope scope(pool);
    {
      const Tensor a = Tensor::empty({500}, DType::f32);
      first = a.raw();
    }
    const Tensor again = Tensor::empty({500}, DType::f32);
    EXPECT_EQ(again.raw(), first);
    const Tensor smaller = Tensor::empty({100}, DType::f32);  // too small for the block of 500 to be wasted on it
    EXPECT_NE(smaller.raw(), first);
    kept = again;
    EXPECT_THROW(MemoryPool::Scope nested(pool), ValueError);
  }
  EXPECT_GE(pool.bytes(), 2400u);
  kept.reset();  // after the scope: still the pool's
  const std::vector<void*> others =
      addresses({Tensor::empty({500}, DType::f32), Tensor::empty({500}, DType::f32), Tensor::empty({100}, DType::f32)});
  EXPECT_EQ(std::count(others.begin(), others.end(), first), 0);
}

TEST(MemoryPool, AdoptsOrdinaryBlocksReleasedWithin) {
  const MemoryStats before = memory_stats(kCpu);
  {
    Tensor ordinary = Tensor::empty({700}, DType::f32);
    void* address = ordinary.raw();
    MemoryPool pool(kCpu);
    {
      const MemoryPool::Scope scope(pool);
      ordinary = Tensor();
    }
    EXPECT_GE(pool.bytes(), 2800u);
    EXPECT_NE(Tensor::empty({700}, DType::f32).raw(), address);
  }
  EXPECT_EQ(memory_stats(kCpu).reserved_bytes, before.reserved_bytes);
  EXPECT_EQ(memory_stats(kCpu).live_bytes, before.live_bytes);
}

TEST(MemoryPool, CountsAgainstTheLimit) {
  MemoryPool pool(kCpu);
  set_memory_limit(kCpu, memory_stats(kCpu).live_bytes + memory_stats(kCpu).reserved_bytes + 100000);
  {
    const MemoryPool::Scope scope(pool);
    { const Tensor a = Tensor::empty({15000}, DType::f32); }
    EXPECT_NO_THROW(Tensor::empty({15000}, DType::f32));  // the pool's own block again
    EXPECT_THROW(Tensor::empty({24000}, DType::f32), OutOfMemoryError);
  }
  EXPECT_THROW(Tensor::empty({15000}, DType::f32), OutOfMemoryError);
  set_memory_limit(kCpu, 0);
}

TEST(CapturedStepOnCuda, ReplaysGiveTheBitsOfEagerRuns) {
  if (devices().size() < 2) GTEST_SKIP() << cuda_unavailable_reason();
  const Device cuda = devices()[1];
  const Tensor w = random_uniform({64, 48}, -1, 1, {1, 1}, DType::f32, cuda);
  const Tensor x = Tensor::zeros({48, 80}, DType::f32, cuda), total = Tensor::zeros({64, 80}, DType::f32, cuda);
  Tensor y;
  const auto step = [&] {
    const Tensor hidden = linear(w, x, {}, Activation::relu);  // passing memory
    y = scale(hidden, 0.5);
    total.copy_from(add(total, y));
  };
  const auto run = [&](CapturedStep& captured) {
    total.zero();
    std::vector<std::vector<float>> results;
    for (int i = 0; i < 6; ++i) {
      x.copy_from(random_uniform(x.shape(), -1, 1, {7, static_cast<std::uint64_t>(i)}, DType::f32, cuda));
      captured.run(step);
      const Tensor noise = Tensor::full({64, 80}, 1e30, DType::f32, cuda);  // must not land in the recording's memory
      results.push_back(y.to_vector<float>());
      results.push_back(total.to_vector<float>());
    }
    return results;
  };
  CapturedStep eager(cuda, nullptr), captured(cuda, make_recorder(cuda), 2);
  const auto expected = run(eager);
  EXPECT_EQ(run(captured), expected);
  EXPECT_EQ(captured.num_captures(), 1) << captured.refusal();
}

TEST(CapturedStepOnCuda, AStepThatWaitsIsRefusedAndRunsAllTheSame) {
  if (devices().size() < 2) GTEST_SKIP() << cuda_unavailable_reason();
  const Device cuda = devices()[1];
  const Tensor x = Tensor::full({10}, 3, DType::f32, cuda);
  CapturedStep captured(cuda, make_recorder(cuda), 0);
  std::vector<float> seen;
  for (int i = 0; i < 2; ++i) {
    EXPECT_EQ(captured.run([&] { seen = scale(x, 2).to_vector<float>(); }), Ran::eager);
    EXPECT_EQ(seen, std::vector<float>(10, 6.0f));
  }
  EXPECT_FALSE(captured.refusal().empty());
}

}  // namespace
}  // namespace lacuna
