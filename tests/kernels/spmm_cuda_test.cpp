// Every CUDA SpMM kernel, forced, against a sum in f64: hard shapes, misaligned views, batches, epilogues, equal bits.
#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <random>
#include <string>
#include <vector>

#include "kernels/spmm/spmm_plan.h"

#if LACUNA_HAS_CUDA
#include "kernels/runtime/runtime.h"
#include "kernels/spmm/spmm_cuda.h"
#include "kernels/spmm_tensor/spmm_tensor.h"
#endif

namespace lacuna::kernels {
namespace {

TEST(SpmmPlan, PicksWhatMeasuredBest) {
  const auto plan = [](std::int64_t m, std::int64_t k, std::int64_t n, double sparsity) {
    return plan_spmm({m, k, n, std::llround((1 - sparsity) * static_cast<double>(m * k))});
  };
  EXPECT_EQ(plan(2048, 512, 2048, 0.9).warps, 32);
  EXPECT_EQ(plan(2048, 512, 2048, 0.9).tile, 64);
  EXPECT_EQ(plan(512, 512, 256, 0.9).row_blocks, 32);  // a row a warp
  EXPECT_EQ(plan(512, 2048, 256, 0.9).split, 2);
  EXPECT_GE(plan(512, 4608, 49, 0.9).split, 4);
  EXPECT_EQ(plan(64, 147, 12544, 0.8).tile, 128);
  EXPECT_EQ(plan(40000, 60000, 256, 0.99).kernel, SpmmKernel::row);
  for (const SpmmPlan& few : {plan(512, 2048, 256, 0.99), plan(1024, 256, 196, 0.98), plan(256, 2304, 196, 0.98),
                              plan(512, 4608, 49, 0.98), plan(512, 2048, 2048, 0.98)})
    EXPECT_EQ(few.kernel, SpmmKernel::direct);
  EXPECT_EQ(plan(512, 4608, 49, 0.98).split, 8);
  EXPECT_EQ(plan(512, 2048, 2048, 0.98).warps, 32);
  EXPECT_EQ(plan(512, 512, 256, 0.8).kernel, SpmmKernel::panel);
  EXPECT_GT(plan(512, 512, 256, 0.5).seconds, plan(512, 512, 256, 0.9).seconds);
  EXPECT_LT(plan(512, 512, 256, 0.9).seconds, spmm_row_seconds({512, 512, 256, 26214}));
}

TEST(SpmmPlan, IsAlwaysOneThatCanRun) {
  for (const std::int64_t m : {1, 5, 64, 513, 40000}) {
    for (const std::int64_t k : {0, 1, 147, 512, 2048, 4608, 60000}) {
      for (const std::int64_t n : {1, 4, 33, 49, 196, 256, 2048, 12544}) {
        for (const double sparsity : {0.0, 0.7, 0.95, 0.99}) {
          for (const std::int64_t batch : {1, 7}) {
            for (const int multiprocessors : {1, 108, 132}) {
              const std::int64_t nnz = std::llround((1 - sparsity) * static_cast<double>(m * k));
              const SpmmShape shape{m, k, n, nnz, batch, multiprocessors};
              EXPECT_TRUE(can_run(plan_spmm(shape), shape)) << m << ' ' << k << ' ' << n << ' ' << sparsity;
            }
          }
        }
      }
    }
  }
}

#if LACUNA_HAS_CUDA

/// Every kernel and tiling, as far as this build and GPU have them; can_run tells which of these are for a shape.
std::vector<SpmmPlan> all_plans(CudaStream stream) {
  std::vector<SpmmPlan> plans{{.kernel = SpmmKernel::row}};
  for (const int row_blocks : {1, 3, 40}) {
    for (const int split : {1, 2, 4, 8}) {
      for (const int tile : {32, 64}) {
        for (const int warps : {8, 32}) plans.push_back({SpmmKernel::direct, tile, warps, split, row_blocks});
      }
    }
  }
  if (!spmm_panel_supports(stream)) return plans;
  for (const int row_blocks : {1, 3}) {
    for (const int split : {1, 2, 4, 8}) {
      for (const int tile : {32, 64, 128}) {
        for (const int warps : {8, 16, 32}) plans.push_back({SpmmKernel::panel, tile, warps, split, row_blocks});
      }
    }
  }
  return plans;
}

/// Device memory `skew` bytes off its alignment, between guards of ones: NaN to whoever reads them as floats, and an index
/// that no array has. So what a kernel reads beside its operands shows in the result.
class Buffer {
 public:
  Buffer(CudaStream stream, const std::vector<char>& bytes, std::size_t skew)
      : stream_(stream), begin_(kGuard + skew), bytes_(bytes.size()) {
    std::vector<char> all = guards();
    std::copy(bytes.begin(), bytes.end(), all.begin() + static_cast<std::ptrdiff_t>(begin_));
    base_ = static_cast<char*>(runtime::allocate(stream, 0, all.size()));
    runtime::copy(stream, 0, base_, all.data(), all.size());
    runtime::synchronize(stream, 0);
  }
  Buffer(const Buffer&) = delete;
  Buffer& operator=(const Buffer&) = delete;
  ~Buffer() { runtime::release(stream_, 0, base_); }
  template <class T>
  T* as() const {
    return reinterpret_cast<T*>(base_ + begin_);
  }
  /// The contents; a guard that has changed is a failure.
  std::vector<float> read() const {
    std::vector<char> all(bytes_ + 2 * kGuard + kMostSkew);
    runtime::copy(stream_, 0, all.data(), base_, all.size());
    runtime::synchronize(stream_, 0);
    std::vector<float> out(bytes_ / sizeof(float));
    if (bytes_ > 0) std::memcpy(out.data(), all.data() + begin_, bytes_);
    std::fill_n(all.begin() + static_cast<std::ptrdiff_t>(begin_), bytes_, kOnes);
    EXPECT_EQ(all, guards()) << "written beside the array";
    return out;
  }
  void write(const std::vector<float>& x) const {
    runtime::copy(stream_, 0, base_ + begin_, x.data(), bytes_);
    runtime::synchronize(stream_, 0);
  }

 private:
  static constexpr std::size_t kGuard = 256, kMostSkew = 256;
  static constexpr char kOnes = -1;
  std::vector<char> guards() const { return std::vector<char>(bytes_ + 2 * kGuard + kMostSkew, kOnes); }

  CudaStream stream_;
  std::size_t begin_, bytes_;
  char* base_ = nullptr;
};

template <class T>
std::vector<char> bytes_of(const std::vector<T>& x) {
  const auto* first = reinterpret_cast<const char*>(x.data());
  return {first, first + x.size() * sizeof(T)};
}

struct Case {
  std::int64_t m, k, n;
  double sparsity;
  std::int64_t batch = 1;
  bool shared_values = false, shared_b = false, with_bias = false, with_order = true, settled = false;
  std::int64_t padding = 0;  // B and C have rows this much longer than n
  std::size_t skew = 0;      // floats that every view is off its alignment
  Activation activation = Activation::none;
};

/// Rows of every kind: empty, full, random lengths.
void make_pattern(const Case& c, std::mt19937& generator, std::vector<std::int32_t>& offsets,
                  std::vector<std::int32_t>& columns) {
  offsets = {0};
  for (std::int64_t r = 0; r < c.m; ++r) {
    const bool full = r == c.m / 2 && c.sparsity < 1;
    const double keep = r % 5 == 3 ? 0 : (1 - c.sparsity) * (0.2 + 1.6 * static_cast<double>(generator() % 100) / 100);
    for (std::int64_t x = 0; x < c.k; ++x) {
      if (full || static_cast<double>(generator()) / 4294967296.0 < keep)
        columns.push_back(static_cast<std::int32_t>(x));
    }
    offsets.push_back(static_cast<std::int32_t>(columns.size()));
  }
}

double activated(double x, Activation kind) {
  if (kind == Activation::relu) return x < 0 ? 0 : x;
  if (kind == Activation::gelu) return 0.5 * x * std::erfc(-x / std::sqrt(2.0));
  return x;
}

void run_case(CudaStream stream, const Case& c) {
  std::mt19937 generator(7);
  std::vector<std::int32_t> offsets, columns, order;
  make_pattern(c, generator, offsets, columns);
  for (std::int64_t r = c.m; r-- > 0;) order.push_back(static_cast<std::int32_t>(r));
  const auto nnz = static_cast<std::int64_t>(columns.size());
  const std::int64_t ld = c.n + c.padding, values_stride = c.shared_values ? 0 : nnz;
  const std::int64_t b_stride = c.shared_b ? 0 : c.k * ld;
  const auto draw = [&](std::int64_t count) {
    std::vector<float> x(static_cast<std::size_t>(count));
    for (float& v : x) v = static_cast<float>(generator()) / 2147483648.0f - 1;
    return x;
  };
  const std::vector<float> values = draw(c.shared_values ? nnz : nnz * c.batch), bias = draw(c.m);
  std::vector<float> b = draw(c.shared_b ? c.k * ld : c.k * ld * c.batch);
  const float nan = std::nanf("");
  for (std::size_t i = 0; i < b.size(); ++i) {
    if (static_cast<std::int64_t>(i) % ld >= c.n) b[i] = nan;  // padding must never leak
  }
  const std::vector<float> poison(static_cast<std::size_t>(c.m * ld * c.batch), -12345.0f);

  std::vector<std::int32_t> shares;
  for (std::int64_t r = 0; r < c.m; ++r) {
    const auto begin = columns.begin() + offsets[static_cast<std::size_t>(r)],
               end = columns.begin() + offsets[static_cast<std::size_t>(r) + 1];
    for (std::int64_t s = 0; s <= kRowShares; ++s) {
      const auto first = static_cast<std::int32_t>((c.k + kRowShares - 1) / kRowShares * s);
      shares.push_back(static_cast<std::int32_t>(std::lower_bound(begin, end, first) - columns.begin()));
    }
  }
  const std::size_t skew = c.skew * sizeof(float);
  const Buffer offsets_there(stream, bytes_of(offsets), 0), columns_there(stream, bytes_of(columns), skew),
      order_there(stream, bytes_of(order), 0), shares_there(stream, bytes_of(shares), 0),
      values_there(stream, bytes_of(values), skew), b_there(stream, bytes_of(b), skew),
      bias_there(stream, bytes_of(bias), 0), c_there(stream, bytes_of(poison), skew);
  const Csr<const float> a_view{.rows = c.m,
                                .cols = c.k,
                                .nnz = nnz,
                                .row_offsets = offsets_there.as<const std::int32_t>(),
                                .col_indices = columns_there.as<const std::int32_t>(),
                                .values = values_there.as<const float>(),
                                .row_order = c.with_order ? order_there.as<const std::int32_t>() : nullptr,
                                .row_shares = shares_there.as<const std::int32_t>(),
                                .settled = c.settled,
                                .batch = c.batch,
                                .values_stride = values_stride};
  const Dense<const float> b_view{b_there.as<const float>(), c.k, c.n, ld, c.batch, b_stride};
  const Dense<float> c_view{c_there.as<float>(), c.m, c.n, ld, c.batch, c.m * ld};
  const Epilogue<const float> epilogue{c.with_bias ? bias_there.as<const float>() : nullptr, c.activation};

  std::vector<double> want(poison.size()), scale(poison.size());
  for (std::int64_t z = 0; z < c.batch; ++z) {
    for (std::int64_t r = 0; r < c.m; ++r) {
      for (std::int64_t j = 0; j < c.n; ++j) {
        double sum = c.with_bias ? bias[static_cast<std::size_t>(r)] : 0, size = std::abs(sum);
        for (std::int32_t i = offsets[static_cast<std::size_t>(r)]; i < offsets[static_cast<std::size_t>(r) + 1]; ++i) {
          const double x = static_cast<double>(values[static_cast<std::size_t>(z * values_stride + i)]) *
                           b[static_cast<std::size_t>(z * b_stride + columns[static_cast<std::size_t>(i)] * ld + j)];
          sum += x;
          size += std::abs(x);
        }
        want[static_cast<std::size_t>((z * c.m + r) * ld + j)] = activated(sum, c.activation);
        scale[static_cast<std::size_t>((z * c.m + r) * ld + j)] = size;
      }
    }
  }

  const SpmmShape shape = spmm_shape(stream, a_view, b_view, c_view);
  std::vector<SpmmPlan> plans = all_plans(stream);
  if (spmm_panel_supports(stream)) plans.push_back(plan_spmm(shape));
  for (const SpmmPlan& plan : plans) {
    if (!can_run(plan, shape)) continue;
    SCOPED_TRACE(testing::Message() << "m " << c.m << " k " << c.k << " n " << c.n << " batch " << c.batch << " skew "
                                    << c.skew << "; kernel " << static_cast<int>(plan.kernel) << " tile " << plan.tile
                                    << " warps " << plan.warps << " split " << plan.split << " row blocks "
                                    << plan.row_blocks);
    c_there.write(poison);
    spmm_with(plan, stream, a_view, b_view, c_view, epilogue);
    const std::vector<float> got = c_there.read();
    int wrong = 0;
    for (std::size_t i = 0; i < got.size() && wrong < 3; ++i) {
      const bool padding = static_cast<std::int64_t>(i) % ld >= c.n;
      if (padding ? got[i] != -12345.0f : !(std::abs(got[i] - want[i]) <= 1e-6 * scale[i] + 1e-30)) {
        ++wrong;
        ADD_FAILURE() << "element " << i / static_cast<std::size_t>(ld) << ", " << i % static_cast<std::size_t>(ld)
                      << ": " << got[i] << ", should be " << (padding ? -12345.0 : want[i]);
      }
    }
    c_there.write(poison);
    spmm_with(plan, stream, a_view, b_view, c_view, epilogue);
    const std::vector<float> again = c_there.read();
    EXPECT_EQ(bytes_of(again), bytes_of(got)) << "other bits on a second run";
  }
}

class SpmmCuda : public testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    if (runtime::cuda_devices(&why).empty()) GTEST_SKIP() << why;
    static const CudaStream opened = runtime::open_cuda_device(0);
    stream_ = opened;
  }
  CudaStream stream_;
};

/// Else the tests below would try the row kernel alone and say nothing.
TEST_F(SpmmCuda, PanelsAreThereWhereTensorCoreKernelsAre) {
  if (!spmm_tensor_supports(stream_, {.rows = 1, .cols = 1}, {nullptr, 1, 4, 4}, {nullptr, 1, 4, 4}))
    GTEST_SKIP() << "not of compute capability 9.0, or not built for sm_90a";
  EXPECT_TRUE(spmm_panel_supports(stream_));
}

TEST_F(SpmmCuda, EveryKernelTakesHardShapes) {
  run_case(stream_, {1, 1, 1, 0});
  run_case(stream_, {1, 7, 33, 0.3});
  run_case(stream_, {3, 130, 64, 0.5});
  run_case(stream_, {9, 0, 12, 1.0});
  run_case(stream_, {16, 16, 16, 1.0});
  run_case(stream_, {5, 257, 31, 0.2});
  run_case(stream_, {65, 129, 68, 0.9});
  run_case(stream_, {130, 300, 100, 0.97});
  run_case(stream_, {261, 513, 132, 0.9});
  run_case(stream_, {40, 2100, 196, 0.95});
  run_case(stream_, {70, 300, 49, 0.6});
  run_case(stream_, {6, 40000, 36, 0.999});
  run_case(stream_, {1100, 40, 36, 0.8});  // more rows than a block's warps take
}

TEST_F(SpmmCuda, EveryKernelTakesASettledPattern) {
  run_case(stream_, {.m = 130, .k = 300, .n = 100, .sparsity = 0.9, .settled = true});
  run_case(stream_, {.m = 40, .k = 1100, .n = 196, .sparsity = 0.9, .with_order = false, .settled = true});
  run_case(stream_, {.m = 37, .k = 75, .n = 33, .sparsity = 0.7, .batch = 2, .with_bias = true, .settled = true});
}

TEST_F(SpmmCuda, EveryKernelTakesMisalignedViews) {
  run_case(stream_, {.m = 70, .k = 90, .n = 64, .sparsity = 0.6, .skew = 1});
  run_case(stream_, {.m = 70, .k = 90, .n = 128, .sparsity = 0.6, .skew = 2});
  run_case(stream_, {.m = 70, .k = 90, .n = 64, .sparsity = 0.6, .padding = 3});
  run_case(stream_, {.m = 70, .k = 90, .n = 50, .sparsity = 0.6, .padding = 2, .skew = 3});
  run_case(stream_, {.m = 70, .k = 90, .n = 60, .sparsity = 0.6, .padding = 8});
}

TEST_F(SpmmCuda, EveryKernelTakesBatchesAndEpilogues) {
  run_case(stream_, {.m = 37, .k = 75, .n = 68, .sparsity = 0.7, .batch = 3});
  run_case(stream_, {.m = 37, .k = 75, .n = 68, .sparsity = 0.7, .batch = 3, .shared_values = true});
  run_case(stream_, {.m = 37, .k = 75, .n = 33, .sparsity = 0.7, .batch = 2, .shared_b = true});
  run_case(stream_, {.m = 37, .k = 75, .n = 68, .sparsity = 0.7, .with_bias = true, .activation = Activation::relu});
  run_case(stream_, {.m = 37,
                     .k = 75,
                     .n = 35,
                     .sparsity = 0.7,
                     .with_bias = true,
                     .with_order = false,
                     .activation = Activation::gelu});
}

#else

TEST(SpmmCuda, EveryKernelTakesHardShapes) { GTEST_SKIP() << "built without CUDA"; }

#endif

}  // namespace
}  // namespace lacuna::kernels
