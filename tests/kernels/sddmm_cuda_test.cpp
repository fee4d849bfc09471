// SDDMM on CUDA, kernel by kernel: each variant and arithmetic is forced, on hard shapes, against f64.
#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "core/device.h"
#include "core/tensor.h"
#include "kernels/half_product/half_product.h"
#include "kernels/sddmm/sddmm.h"
#include "kernels/sddmm/sddmm_groups.h"
#include "kernels/sddmm/sddmm_plan.h"
#include "kernels/sddmm/sddmm_tiles.h"

namespace lacuna::kernels {
namespace {

#if LACUNA_HAS_CUDA

struct Rows {  // a pattern, on the host
  std::int64_t m = 0, n = 0;
  std::vector<std::int32_t> offsets{0}, columns, entry_rows;
  std::int64_t nnz() const { return static_cast<std::int64_t>(columns.size()); }
};

template <class Length>
Rows make_rows(std::int64_t m, std::int64_t n, unsigned seed, const Length& length) {
  Rows p;
  p.m = m;
  p.n = n;
  std::mt19937 generator(seed);
  for (std::int64_t r = 0; r < m; ++r) {
    std::int64_t left = std::min<std::int64_t>(length(r), n);
    for (std::int64_t c = 0; c < n && left > 0; ++c) {
      if (static_cast<double>(generator()) / 4294967296.0 * static_cast<double>(n - c) < static_cast<double>(left)) {
        p.columns.push_back(static_cast<std::int32_t>(c));
        p.entry_rows.push_back(static_cast<std::int32_t>(r));
        --left;
      }
    }
    p.offsets.push_back(static_cast<std::int32_t>(p.columns.size()));
  }
  return p;
}

Rows uniform_rows(std::int64_t m, std::int64_t n, double sparsity, unsigned seed) {
  return make_rows(m, n, seed, [=](std::int64_t r) {
    return std::lround(static_cast<double>(n) * (1 - sparsity) * (0.6 + 0.8 * static_cast<double>(r * 37 % 100) / 99));
  });
}

/// Full, empty and nearly empty rows; whole cells and tiles without entries.
Rows hard_rows(std::int64_t m, std::int64_t n) {
  return make_rows(m, n, 3, [=](std::int64_t r) {
    return r / 64 % 3 == 1 ? 0 : r % 5 == 0 ? n : r % 5 == 1 ? 0 : r % 5;
  });
}

enum class Variant { rows, groups, tiles };

struct Run {
  Variant variant;
  SddmmMath math;
  SddmmTiling tiling;
  SddmmStorage storage = {};
  std::string name() const {
    if (variant == Variant::rows) return "rows";
    if (variant == Variant::groups) return "groups";
    return "tiles of " + std::to_string(tiling.tile_cols) + ", " + std::to_string(tiling.splits) + " parts" +
           (storage.transpose_a ? ", A transposed" : "") + (storage.transpose_b ? ", B transposed" : "");
  }
};

/// Operands with NaN between their rows, their f64 products and the largest errors allowed; runs any variant on them.
template <class In, class Out>
class Problem {
 public:
  Problem(Rows rows, std::int64_t k, std::int64_t lda, std::int64_t ldb, std::int64_t batch = 1, bool shared_b = false,
          std::int64_t offset = 0, bool positive = false)
      : rows_(std::move(rows)), k_(k), batch_(batch), device_(cuda_device()), stream_(cuda_stream(device_)) {
    const std::vector<float> a = fill(rows_.m * batch, lda, 1, offset, positive);
    const std::vector<float> b = fill(rows_.n * (shared_b ? 1 : batch), ldb, 2, offset, positive);
    a_ = put(a);
    b_ = put(b);
    const auto turned = [&](const std::vector<float>& x, std::int64_t count, std::int64_t ld, std::int64_t matrices,
                            Tensor& copy) {  // columns [8, 8 + count) of matrices [k, turned_ld], NaN around them
      const std::int64_t turned_ld = (count + 8 + 7) / 8 * 8 + 8;
      std::vector<float> y(static_cast<std::size_t>(matrices * k * turned_ld), std::numeric_limits<float>::quiet_NaN());
      for (std::int64_t z = 0; z < matrices; ++z) {
        for (std::int64_t r = 0; r < count; ++r) {
          for (std::int64_t c = 0; c < k; ++c)
            y[static_cast<std::size_t>((z * k + c) * turned_ld + 8 + r)] =
                x[static_cast<std::size_t>(offset + (z * count + r) * ld + c)];
        }
      }
      copy = put(y);
      return Dense<const In>{
          reinterpret_cast<const In*>(copy.raw()) + 8, k, count, turned_ld, batch, matrices > 1 ? k * turned_ld : 0};
    };
    turned_left_ = turned(a, rows_.m, lda, batch, turned_a_);
    turned_right_ = turned(b, rows_.n, ldb, shared_b ? 1 : batch, turned_b_);
    left_ = {reinterpret_cast<const In*>(a_.raw()) + offset, rows_.m, k, lda, batch, batch > 1 ? rows_.m * lda : 0};
    right_ = {reinterpret_cast<const In*>(b_.raw()) + offset, rows_.n, k, ldb, batch,
              batch > 1 && !shared_b ? rows_.n * ldb : 0};
    offsets_ = Tensor::from(rows_.offsets, {rows_.m + 1}).to(device_);
    columns_ = Tensor::from(rows_.columns, {rows_.nnz()}).to(device_);
    entry_rows_ = Tensor::from(rows_.entry_rows, {rows_.nnz()}).to(device_);
    plan_ =
        Tensor::zeros({static_cast<std::int64_t>(sddmm_plan_bytes(rows_.m, rows_.n, rows_.nnz()))}, DType::u8, device_);
    sddmm_plan(stream_, pattern(), plan_.raw());
    for (std::int64_t z = 0; z < batch; ++z) {
      for (std::size_t i = 0; i < rows_.columns.size(); ++i) {
        const float* x = a.data() + offset + z * left_.batch_stride + rows_.entry_rows[i] * lda;
        const float* y = b.data() + offset + z * right_.batch_stride + rows_.columns[i] * ldb;
        double sum = 0, size = 0;
        float chain = 0;
        for (std::int64_t j = 0; j < k; ++j) {
          const double product = static_cast<double>(x[j]) * static_cast<double>(y[j]);
          sum += product;
          size += std::abs(product);
          chain = std::fma(x[j], y[j], chain);
        }
        expected_.push_back(sum);
        size_.push_back(size);
        chain_error_ += (chain - sum) * (chain - sum);
      }
    }
  }

  static Device cuda_device() {
    for (const Device device : devices()) {
      if (device.is_cuda()) return device;
    }
    return kCpu;
  }

  bool supports(const SddmmStorage& storage) const {
    return sddmm_tiles_supports<In>(stream_, storage.transpose_a ? turned_left_ : left_,
                                    storage.transpose_b ? turned_right_ : right_, storage);
  }
  bool supports() const { return sddmm_tiles_supports<In>(stream_, left_, right_); }
  Pattern pattern() const {
    return {rows_.m, rows_.n, rows_.nnz(), offsets_.template data<std::int32_t>(),
            columns_.template data<std::int32_t>()};
  }
  const Rows& rows() const { return rows_; }
  std::vector<std::uint8_t> plan() const { return plan_.template to_vector<std::uint8_t>(); }

  std::vector<Out> values(const Run& run, float scale) const {
    const std::int64_t count = rows_.nnz() * batch_;
    const Tensor out = Tensor::from(std::vector<std::uint8_t>(static_cast<std::size_t>(count) * sizeof(Out), 0xff),
                                    {count * static_cast<std::int64_t>(sizeof(Out))})
                           .to(device_);
    Csr<Out> c{
        rows_.m, rows_.n, rows_.nnz(), pattern().row_offsets, pattern().col_indices, static_cast<Out*>(out.raw())};
    c.batch = batch_;
    c.values_stride = rows_.nnz();
    if (run.variant == Variant::rows) {
      if constexpr (sizeof(In) == 4) sddmm<float>(stream_, left_, right_, c, scale);
    } else if (run.variant == Variant::groups) {
      sddmm_groups<In, Out>(stream_, left_, right_, c, scale, entry_rows_.template data<std::int32_t>());
    } else {
      const Tensor scratch = Tensor::from(std::vector<std::uint8_t>(sddmm_tiles_scratch_bytes(c, run.tiling), 0xff),
                                          {static_cast<std::int64_t>(sddmm_tiles_scratch_bytes(c, run.tiling))})
                                 .to(device_);
      if constexpr (sizeof(In) == 4) {
        if (run.math == SddmmMath::half)
          run_half(run, c, scale, scratch);
        else
          sddmm_tiles<In, Out>(stream_, left_, right_, c, scale, run.math, run.tiling, plan_.raw(), scratch.raw());
      } else {
        sddmm_tiles<In, Out>(stream_, run.storage.transpose_a ? turned_left_ : left_,
                             run.storage.transpose_b ? turned_right_ : right_, c, scale, run.math, run.tiling,
                             plan_.raw(), scratch.raw(), {}, run.storage);
      }
    }
    const std::vector<std::uint8_t> bytes = out.template to_vector<std::uint8_t>();
    std::vector<Out> values(static_cast<std::size_t>(count));
    if (count > 0) std::memcpy(values.data(), bytes.data(), bytes.size());
    return values;
  }

  /// By f16 copies of single matrices, whose padding is NaN.
  void run_half(const Run& run, const Csr<Out>& c, float scale, const Tensor& scratch) const {
    const std::int64_t ld = half_ld(k_);
    const auto nans = [&](std::int64_t bytes) {
      return Tensor::from(std::vector<std::uint8_t>(static_cast<std::size_t>(bytes), 0xff), {bytes}).to(device_);
    };
    const Tensor x = nans(rows_.m * ld * 2), y = nans(rows_.n * ld * 2), factors = nans((rows_.m + rows_.n) * 4);
    auto *left = static_cast<Half*>(x.raw()), *right = static_cast<Half*>(y.raw());
    auto* by_row = static_cast<float*>(factors.raw());
    half_rows(stream_, left_, left, by_row);
    half_rows(stream_, right_, right, by_row + rows_.m);
    sddmm_tiles<Half, float>(stream_, {left, rows_.m, k_, ld}, {right, rows_.n, k_, ld}, c, scale, run.math, run.tiling,
                             plan_.raw(), scratch.raw(), {by_row, by_row + rows_.m});
  }

  /// Every entry within `tolerance` of sum |a b|; the same bits twice.
  void check(const Run& run, double tolerance) const {
    SCOPED_TRACE(run.name() + ", [" + std::to_string(rows_.m) + ", " + std::to_string(rows_.n) + "] k " +
                 std::to_string(k_));
    const float scale = -0.75f;
    const std::vector<Out> first = values(run, scale), second = values(run, scale);
    ASSERT_EQ(first.size(), expected_.size());
    if (first.empty()) return;
    EXPECT_EQ(std::memcmp(first.data(), second.data(), first.size() * sizeof(Out)), 0);
    std::size_t wrong = 0;
    for (std::size_t i = 0; i < first.size(); ++i) {
      const double error = std::abs(static_cast<double>(number(first[i])) - scale * expected_[i]);
      if (error <= tolerance * std::abs(scale) * size_[i] + 1e-30) continue;
      if (wrong++ < 4) {
        ADD_FAILURE() << "entry " << i << " (row " << rows_.entry_rows[i % rows_.columns.size()] << ", column "
                      << rows_.columns[i % rows_.columns.size()] << ") is " << number(first[i]) << "; must be "
                      << scale * expected_[i];
      }
    }
    EXPECT_EQ(wrong, 0u);
  }

  /// Root-mean-square error over that of a plain f32 chain of multiply-adds.
  double error_over_chain(const Run& run) const {
    const std::vector<Out> got = values(run, 1.0f);
    double sum = 0;
    for (std::size_t i = 0; i < got.size(); ++i) {
      const double error = static_cast<double>(number(got[i])) - expected_[i];
      sum += error * error;
    }
    return std::sqrt(sum / chain_error_);
  }

 private:
  static float number(float x) { return x; }
  static float number(Bf16 x) { return to_float(x); }

  std::vector<float> fill(std::int64_t rows, std::int64_t ld, unsigned seed, std::int64_t offset, bool positive) const {
    std::vector<float> x(static_cast<std::size_t>(rows * ld + offset + 16), std::numeric_limits<float>::quiet_NaN());
    std::mt19937 generator(seed);
    std::uniform_real_distribution<float> draw(positive ? 0.0f : -1.0f, 1.0f);
    for (std::int64_t r = 0; r < rows; ++r) {
      for (std::int64_t c = 0; c < k_; ++c) {
        float value = draw(generator);
        if (sizeof(In) == 2) value = to_float(to_bf16(value));
        x[static_cast<std::size_t>(offset + r * ld + c)] = value;
      }
    }
    return x;
  }

  Tensor put(const std::vector<float>& x) const {
    if constexpr (sizeof(In) == 4) {
      return Tensor::from(x, {static_cast<std::int64_t>(x.size())}).to(device_);
    } else {
      std::vector<std::uint8_t> bytes(x.size() * 2);
      for (std::size_t i = 0; i < x.size(); ++i) {
        const Bf16 value = to_bf16(x[i]);
        std::memcpy(bytes.data() + 2 * i, &value, 2);
      }
      return Tensor::from(bytes, {static_cast<std::int64_t>(bytes.size())}).to(device_);
    }
  }

  Rows rows_;
  std::int64_t k_, batch_;
  Device device_;
  CudaStream stream_;
  Tensor a_, b_, turned_a_, turned_b_, offsets_, columns_, entry_rows_, plan_;
  Dense<const In> left_, right_, turned_left_, turned_right_;
  std::vector<double> expected_, size_;
  double chain_error_ = 0;
};

constexpr double kF32 = 2e-6, kTf32 = 3e-3, kHalf = 1e-3, kBf16Out = 6e-3;
constexpr SddmmMath kSplit = SddmmMath::split_tf32;

class SddmmCuda : public ::testing::Test {
 protected:
  void SetUp() override {
    if (Problem<float, float>::cuda_device().is_cpu()) GTEST_SKIP() << cuda_unavailable_reason();
  }
  template <class In, class Out>
  void check_tiles(const Problem<In, Out>& problem, SddmmMath math, double tolerance) {
    if (!problem.supports()) GTEST_SKIP() << "no tile kernels on this device";
    for (const int splits : {1, 3}) {
      problem.check({Variant::tiles, math, {128, splits}}, tolerance);
      if (math != kSplit) problem.check({Variant::tiles, math, {256, splits}}, tolerance);
    }
  }
};

TEST_F(SddmmCuda, PlanNamesEveryRun) {
  for (const Rows& rows : {uniform_rows(1, 1, 0, 1), uniform_rows(70, 130, 0.5, 2), hard_rows(200, 193),
                           uniform_rows(193, 600, 0.4, 2), uniform_rows(65, 64, 0.9, 3), hard_rows(70, 800)}) {
    const Problem<float, float> problem(rows, 1, 4, 4);
    const std::vector<std::uint8_t> bytes = problem.plan();
    const SddmmPlan plan = sddmm_plan_view(bytes.data(), rows.m, rows.n, rows.nnz());
    std::vector<std::uint8_t> cells(static_cast<std::size_t>(plan.cell_rows * plan.cell_cols));
    for (std::int64_t r = 0; r < rows.m; ++r) {
      std::int32_t entry = rows.offsets[static_cast<std::size_t>(r)];
      const std::int32_t end = rows.offsets[static_cast<std::size_t>(r) + 1];
      for (std::int64_t t = 0; t < plan.groups; ++t) {
        EXPECT_EQ(plan.starts[t * rows.m + r], entry);
        for (; entry < end && rows.columns[static_cast<std::size_t>(entry)] < (t + 1) * kGroup; ++entry)
          cells[static_cast<std::size_t>(r / kCell * plan.cell_cols +
                                         rows.columns[static_cast<std::size_t>(entry)] / kCell)] = 1;
      }
    }
    for (std::size_t i = 0; i < cells.size(); ++i) EXPECT_EQ(plan.cells[i], cells[i]);
    EXPECT_EQ(plan.masks != nullptr, rows.m >= 64 && rows.nnz() * 4 > rows.m * rows.n);
    if (plan.masks == nullptr) continue;
    std::vector<std::uint32_t> masks(plan.mask_bytes() / 4);
    for (std::size_t i = 0; i < rows.columns.size(); ++i) {
      const std::int64_t r = rows.entry_rows[i], c = rows.columns[i];
      const std::int64_t block = r / kMaskRows * plan.groups * 2 + c / kMaskCols;
      masks[static_cast<std::size_t>((block * kMaskRows + r % kMaskRows) * 4 + c % kMaskCols / 32)] |= 1u << (c % 32);
    }
    EXPECT_EQ(std::memcmp(plan.masks, masks.data(), plan.mask_bytes()), 0);
  }
}

TEST_F(SddmmCuda, EveryVariantAgreesInF32) {
  for (const std::int64_t k : {1, 4, 31, 32, 33, 100, 260}) {
    const Problem<float, float> problem(uniform_rows(150, 210, 0.7, 4), k, (k + 3) / 4 * 4 + 4, (k + 3) / 4 * 4);
    problem.check({Variant::rows, kSplit, {}}, kF32);
    problem.check({Variant::groups, kSplit, {}}, kF32);
    check_tiles(problem, kSplit, kF32);
    check_tiles(problem, SddmmMath::half, kHalf);
  }
}

TEST_F(SddmmCuda, RowsTakeAnyAlignmentAndTilesSaySo) {
  for (const std::int64_t k : {1, 2, 7, 49, 66}) {
    const Problem<float, float> problem(uniform_rows(90, 131, 0.8, 5), k, k, k + 3, 2, false, 1);
    problem.check({Variant::rows, kSplit, {}}, kF32);
    problem.check({Variant::groups, kSplit, {}}, kF32);
    EXPECT_FALSE(problem.supports());
    const Problem<Bf16, float> narrow(uniform_rows(9, 13, 0.8, 5), k, 8 * k + 4, 8 * k);
    narrow.check({Variant::groups, SddmmMath::bf16, {}}, kF32);
    EXPECT_FALSE(narrow.supports());
  }
}

TEST_F(SddmmCuda, TakesHardShapes) {
  for (const Rows& rows : {uniform_rows(1, 1, 0, 1), uniform_rows(1, 300, 0.5, 1), uniform_rows(300, 1, 0, 1),
                           hard_rows(390, 260), make_rows(64, 64, 1, [](std::int64_t) { return 0; }),
                           make_rows(3, 40000, 1, [](std::int64_t r) { return r == 1 ? 40000 : 1; })}) {
    const Problem<float, float> problem(rows, 40, 44, 40);
    problem.check({Variant::rows, kSplit, {}}, kF32);
    problem.check({Variant::groups, kSplit, {}}, kF32);
    check_tiles(problem, kSplit, kF32);
    check_tiles(problem, SddmmMath::tf32, kTf32);
    check_tiles(problem, SddmmMath::half, kHalf);
    check_tiles(Problem<Bf16, float>(rows, 72, 80, 72), SddmmMath::bf16, kF32);
  }
}

TEST_F(SddmmCuda, TakesBatches) {
  for (const bool shared : {false, true}) {
    const Problem<float, float> problem(hard_rows(200, 150), 68, 72, 68, 3, shared);
    problem.check({Variant::rows, kSplit, {}}, kF32);
    problem.check({Variant::groups, kSplit, {}}, kF32);
    check_tiles(problem, kSplit, kF32);
    check_tiles(problem, SddmmMath::tf32, kTf32);
    check_tiles(Problem<Bf16, Bf16>(hard_rows(200, 150), 64, 64, 72, 3, shared), SddmmMath::bf16, kBf16Out);
  }
}

TEST_F(SddmmCuda, TakesMoreTilesThanMultiprocessors) {
  // A persistent block runs several items, and its warpgroups change places between them.
  const Rows rows = uniform_rows(2100, 1700, 0.97, 6);
  check_tiles(Problem<Bf16, float>(rows, 136, 136, 136), SddmmMath::bf16, kF32);
  check_tiles(Problem<float, float>(rows, 72, 72, 72), SddmmMath::tf32, kTf32);
  check_tiles(Problem<float, float>(rows, 72, 72, 72), kSplit, kF32);
  check_tiles(Problem<float, float>(rows, 136, 136, 136), SddmmMath::half, kHalf);
}

TEST_F(SddmmCuda, TakesOperandsStoredTransposed) {
  for (const SddmmStorage storage : {SddmmStorage{true, false}, SddmmStorage{false, true}, SddmmStorage{true, true}}) {
    const auto check = [&](const Problem<Bf16, float>& problem) {
      if (!problem.supports(storage)) GTEST_SKIP() << "no tile kernels on this device";
      for (const int cols : {128, 256}) {
        for (const int splits : {1, 3}) {
          const SddmmTiling tiling{cols, splits};
          problem.check({Variant::tiles, SddmmMath::bf16, tiling, storage}, kF32);
          if (!problem.supports()) continue;
          EXPECT_EQ(problem.values({Variant::tiles, SddmmMath::bf16, tiling, storage}, 1.0f),
                    problem.values({Variant::tiles, SddmmMath::bf16, tiling}, 1.0f));
        }
      }
    };
    for (const Rows& rows : {uniform_rows(1, 1, 0, 1), uniform_rows(1, 300, 0.5, 1), uniform_rows(300, 1, 0, 1),
                             hard_rows(390, 261), make_rows(64, 64, 1, [](std::int64_t) { return 0; }),
                             make_rows(3, 5000, 1, [](std::int64_t r) { return r == 1 ? 5000 : 1; })}) {
      for (const std::int64_t k : {1, 16, 64, 72, 200}) check(Problem<Bf16, float>(rows, k, (k + 7) / 8 * 8, 208));
    }
    check(Problem<Bf16, float>(hard_rows(200, 150), 65, 72, 72, 3, true));   // a batch, B shared
    check(Problem<Bf16, float>(hard_rows(200, 150), 65, 72, 72, 3, false));  // k odd
    check(Problem<Bf16, float>(uniform_rows(2100, 1700, 0.97, 6), 136, 136, 136));
  }
  const SddmmStorage turned{true, false};
  EXPECT_FALSE((Problem<float, float>(uniform_rows(9, 9, 0, 1), 8, 8, 8).supports(turned)));  // bf16 alone
}

TEST_F(SddmmCuda, TilesTakeDenseRowsAndColumnsOffTheirWords) {
  // Every way of filling a warp's packed rows: all columns at once, by halves, by quarters; runs that start anywhere.
  for (const double sparsity : {0.0, 0.1, 0.3, 0.5, 0.65, 0.8}) {
    const Problem<Bf16, float> problem(uniform_rows(200, 700, sparsity, 9), 24, 24, 24);
    check_tiles(problem, SddmmMath::bf16, kF32);
  }
  check_tiles(Problem<Bf16, Bf16>(uniform_rows(130, 520, 0.2, 9), 24, 24, 24), SddmmMath::bf16, kBf16Out);
  check_tiles(Problem<float, float>(uniform_rows(130, 520, 0.2, 9), 24, 24, 24), SddmmMath::tf32, kTf32);
  check_tiles(Problem<float, float>(uniform_rows(130, 520, 0.2, 9), 24, 24, 24), SddmmMath::half, kHalf);
}

TEST_F(SddmmCuda, SplitTf32IsAsAccurateAsF32) {
  for (const bool positive : {false, true}) {
    for (const std::int64_t k : {64, 256, 2048}) {
      const Problem<float, float> problem(uniform_rows(130, 140, 0.9, 8), k, k, k, 1, false, 0, positive);
      if (!problem.supports()) GTEST_SKIP() << "no tile kernels on this device";
      EXPECT_LT(problem.error_over_chain({Variant::tiles, kSplit, {128, 1}}), 2.0) << "k " << k;
    }
  }
}

#else

TEST(SddmmCuda, NeedsCuda) { GTEST_SKIP() << cuda_unavailable_reason(); }

#endif

TEST(SddmmTiling, IsAPureChoiceWithinTheProblem) {
  for (const std::int64_t k : {1, 49, 256, 12544}) {
    for (const std::int64_t m : {1, 64, 512, 4096}) {
      double seconds = 0;
      const SddmmTiling x = choose_sddmm_tiling(m, 512, k, m * 51, 1, 132, SddmmMath::split_tf32, &seconds);
      const SddmmTiling y = choose_sddmm_tiling(m, 512, k, m * 51, 1, 132, SddmmMath::split_tf32);
      EXPECT_EQ(x.tile_cols, 128);
      EXPECT_EQ(x.tile_cols, y.tile_cols);
      EXPECT_EQ(x.splits, y.splits);
      EXPECT_GE(x.splits, 1);
      EXPECT_LE(x.splits, (k + 31) / 32);
      EXPECT_GT(seconds, 0);
    }
  }
}

TEST(SddmmTiling, SplitsWhatHasFewTilesAndALongSum) {
  EXPECT_GT(choose_sddmm_tiling(256, 256, 12544, 6553, 1, 132, SddmmMath::split_tf32).splits, 16);
  EXPECT_EQ(choose_sddmm_tiling(4096, 4096, 4096, 1677721, 1, 132, SddmmMath::split_tf32).splits, 1);
  EXPECT_EQ(choose_sddmm_tiling(4096, 4096, 4096, 1677721, 1, 132, SddmmMath::bf16).tile_cols, 256);
}

}  // namespace
}  // namespace lacuna::kernels
