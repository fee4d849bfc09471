// The tensor-core SpMM: its layouts on any machine; plan, packing and product against f64 where there is a Hopper GPU.
#include "kernels/spmm_tensor/spmm_tensor.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <set>
#include <string>
#include <vector>

#include "kernels/runtime/runtime.h"
#include "kernels/spmm_tensor/layout.h"

namespace lacuna::kernels {
namespace {

namespace layout = spmm_tensor_layout;

TEST(SpmmTensorLayout, TilePositionsAreABijection) {
  std::set<int> bytes;
  for (int row = 0; row < layout::kPanelRows; ++row) {
    for (int k = 0; k < layout::kSlabK; ++k) {
      const int byte = layout::tile_byte(row, k);
      EXPECT_EQ(byte % 2, 0);
      EXPECT_EQ(byte / layout::kRowBytes, row);
      bytes.insert(byte);
    }
  }
  EXPECT_EQ(static_cast<int>(bytes.size()), layout::kPanelRows * layout::kSlabK);
  EXPECT_LT(*bytes.rbegin(), layout::kPanelBytes);
}

TEST(SpmmTensorLayout, SlabPositionsAreABijection) {
  std::set<int> bytes;
  for (int k = 0; k < layout::kSlabK; ++k) {
    for (int n = 0; n < layout::kTileN; ++n) bytes.insert(layout::slab_byte(k, n));
  }
  EXPECT_EQ(static_cast<int>(bytes.size()), layout::kSlabK * layout::kTileN);
  EXPECT_LT(*bytes.rbegin(), layout::kSlabK * layout::kTileN * 4);
}

TEST(SpmmTensorLayout, SlabReadsMeetNoBankTwice) {
  // A lane reads 8 bytes (two columns), half a warp at a time, at k = 2t or 2t + 1.
  for (int warp = 0; warp < 8; ++warp) {
    for (int first = 0; first < 32; first += 16) {
      for (int odd = 0; odd < 2; ++odd) {
        std::set<int> banks;
        for (int lane = first; lane < first + 16; ++lane) {
          const int column = warp * 16 + layout::column_of_row(lane / 4), k = 2 * (lane % 4) + odd;
          const int at = layout::slab_byte(k, column);
          EXPECT_EQ(layout::slab_byte(k, column + 1), at + 4);
          EXPECT_EQ(layout::slab_byte(k + 8, column), at + 1024);  // as the consumers step
          for (int b = 0; b < 8; b += 4) banks.insert((at + b) / 4 % 32);
        }
        EXPECT_EQ(static_cast<int>(banks.size()), 32);
      }
    }
  }
}

TEST(SpmmTensorLayout, SlotsAreAPermutation) {
  for (const int padded : {8, 16, 104, 120, 128, 136, 256, 2048}) {
    std::set<int> slots;
    for (int e = 0; e < padded; ++e) slots.insert(layout::slot_of(e, padded));
    EXPECT_EQ(static_cast<int>(slots.size()), padded);
    EXPECT_EQ(*slots.begin(), 0);
    EXPECT_EQ(*slots.rbegin(), padded - 1);
  }
}

TEST(SpmmTensorPlan, SizesHoldEveryPadding) {
  const SpmmTensorPlan plan = spmm_tensor_plan_sizes(33, 70, 10);
  EXPECT_EQ(plan.panels, 2);
  EXPECT_EQ(plan.slabs, 2);
  EXPECT_EQ(plan.capacity, 40);  // 10 + 7 * 4, in eights
  EXPECT_EQ(spmm_tensor_plan_sizes(1000, 1000, 2).capacity, 16);
  EXPECT_EQ(spmm_tensor_plan_sizes(0, 0, 0).capacity, 0);
}

#if LACUNA_HAS_CUDA

struct Pattern {
  std::int64_t m, k;
  std::vector<std::int32_t> offsets, columns;
  std::int64_t nnz() const { return static_cast<std::int64_t>(columns.size()); }
};

enum class Rows { all, every_third, one_full, none };

Pattern random_pattern(std::int64_t m, std::int64_t k, double density, Rows rows, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform;
  Pattern pattern{m, k, {0}, {}};
  for (std::int64_t i = 0; i < m; ++i) {
    double d = density;
    if (rows == Rows::none || (rows == Rows::every_third && i % 3 != 1)) d = 0;
    if (rows == Rows::one_full) d = i == m / 2 ? 1 : 0.03;
    for (std::int64_t j = 0; j < k; ++j) {
      if (uniform(random) < d) pattern.columns.push_back(static_cast<std::int32_t>(j));
    }
    pattern.offsets.push_back(static_cast<std::int32_t>(pattern.nnz()));
  }
  return pattern;
}

class SpmmTensor : public ::testing::Test {
 protected:
  void SetUp() override {
    std::string why;
    const auto devices = runtime::cuda_devices(&why);
    if (devices.empty()) GTEST_SKIP() << "no CUDA device: " << why;
    if (devices[0].compute_capability != 90) GTEST_SKIP() << "needs compute capability 9.0, not " << devices[0].name;
    stream_ = runtime::open_cuda_device(0);
  }
  void TearDown() override {
    for (void* pointer : allocated_) runtime::release(stream_, 0, pointer);
  }

  void* allocate(std::size_t bytes, unsigned char fill = 0xff) {
    const std::vector<unsigned char> filling(bytes, fill);
    return upload(filling);
  }
  template <class T>
  T* upload(const std::vector<T>& values) {
    void* pointer = runtime::allocate(stream_, 0, values.size() * sizeof(T) + 256);
    allocated_.push_back(pointer);
    runtime::copy(stream_, 0, pointer, values.data(), values.size() * sizeof(T));
    runtime::synchronize(stream_, 0);
    return static_cast<T*>(pointer);
  }
  template <class T>
  std::vector<T> download(const T* from, std::size_t count) {
    std::vector<T> values(count);
    runtime::copy(stream_, 0, values.data(), from, count * sizeof(T));
    runtime::synchronize(stream_, 0);
    return values;
  }

  SpmmTensorPlan build(const Pattern& pattern) {
    SpmmTensorPlan plan = spmm_tensor_plan_sizes(pattern.m, pattern.k, pattern.nnz());
    plan = spmm_tensor_place(plan, allocate(spmm_tensor_plan_bytes(plan)));
    spmm_tensor_build(stream_, plan, upload(pattern.offsets), upload(pattern.columns),
                      allocate(spmm_tensor_build_scratch_bytes(stream_, plan)));
    return plan;
  }

  /// `spread`: values and B are multiplied by powers of two from 2^-spread to 2^spread.
  void check(const Pattern& pattern, std::int64_t n, std::int64_t extra_ld, bool with_bias, Activation activation,
             bool positive = false, int spread = 0);

  CudaStream stream_;
  std::vector<void*> allocated_;
};

/// The product twice, over poisoned C and poisoned padding of B; against f64 and against a plain chain of f32.
void SpmmTensor::check(const Pattern& pattern, std::int64_t n, std::int64_t extra_ld, bool with_bias,
                       Activation activation, bool positive, int spread) {
  SCOPED_TRACE("m " + std::to_string(pattern.m) + ", k " + std::to_string(pattern.k) + ", n " + std::to_string(n) +
               ", nnz " + std::to_string(pattern.nnz()) + ", spread " + std::to_string(spread));
  const std::int64_t m = pattern.m, k = pattern.k, b_ld = (n + extra_ld + 3) / 4 * 4, c_ld = n + extra_ld;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::uniform_int_distribution<int> exponent(-spread, spread);
  const auto draw = [&] {
    const float x = std::ldexp(normal(random), exponent(random));
    return positive ? std::fabs(x) : x;
  };
  std::vector<float> values(pattern.nnz()), bias(m), b(k * b_ld, std::numeric_limits<float>::quiet_NaN());
  for (float& x : values) x = draw();
  for (float& x : bias) x = draw();
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t j = 0; j < n; ++j) b[i * b_ld + j] = draw();
  }

  const SpmmTensorPlan plan = build(pattern);
  void* packed = allocate(spmm_tensor_packed_bytes(plan));
  spmm_tensor_pack(stream_, plan, upload(pattern.offsets), upload(values), packed);
  float* c = static_cast<float*>(allocate(m * c_ld * sizeof(float)));
  const Dense<const float> b_view{upload(b), k, n, b_ld};
  const Dense<float> c_view{c, m, n, c_ld};
  const Epilogue<const float> epilogue{with_bias ? upload(bias) : nullptr, activation};
  ASSERT_TRUE(spmm_tensor_supports(stream_, plan, b_view, c_view));
  spmm_tensor(stream_, plan, packed, b_view, c_view, epilogue);
  const std::vector<float> got = download(c, m * c_ld);
  spmm_tensor(stream_, plan, packed, b_view, c_view, epilogue);
  const std::vector<float> again = download(c, m * c_ld);
  EXPECT_EQ(got.empty() ? 0 : std::memcmp(got.data(), again.data(), got.size() * sizeof(float)), 0) << "bits differ";

  double error_squared = 0, chain_squared = 0;
  std::int64_t wrong = 0, touched = 0;
  std::vector<double> sum(n), magnitude(n);
  std::vector<float> chain(n);
  for (std::int64_t i = 0; i < m; ++i) {
    std::fill(sum.begin(), sum.end(), with_bias ? bias[i] : 0.0);
    std::fill(magnitude.begin(), magnitude.end(), with_bias ? std::fabs(bias[i]) : 0.0);
    std::fill(chain.begin(), chain.end(), 0.0f);
    for (std::int32_t e = pattern.offsets[i]; e < pattern.offsets[i + 1]; ++e) {
      for (std::int64_t j = 0; j < n; ++j) {
        const double product = double{values[e]} * b[pattern.columns[e] * b_ld + j];
        sum[j] += product;
        magnitude[j] += std::fabs(product);
        chain[j] = std::fma(values[e], b[pattern.columns[e] * b_ld + j], chain[j]);
      }
    }
    for (std::int64_t j = 0; j < n; ++j) {
      double want = sum[j];
      if (activation == Activation::relu) want = std::max(want, 0.0);
      if (activation == Activation::gelu) want = 0.5 * want * std::erfc(-want / std::sqrt(2.0));
      const double error = std::fabs(got[i * c_ld + j] - want);
      wrong += !(error <= 2e-6 * magnitude[j] + (activation == Activation::gelu ? 1e-6 : 0));
      error_squared += error * error;
      chain_squared += std::pow((with_bias ? chain[j] + bias[i] : chain[j]) - sum[j], 2);
    }
    for (std::int64_t j = n; j < c_ld; ++j) {
      std::uint32_t bits;
      std::memcpy(&bits, &got[i * c_ld + j], sizeof(bits));
      touched += bits != 0xffffffffu;
    }
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(touched, 0) << "columns behind C were written";
  if (activation == Activation::none && pattern.nnz() >= 16 * m && m > 0) {
    EXPECT_LE(std::sqrt(error_squared), 2 * std::sqrt(chain_squared)) << "no longer f32";
  }
}

TEST_F(SpmmTensor, PlanHoldsEveryEntryOnce) {
  for (const double density : {0.02, 0.3, 1.0}) {
    const Pattern pattern = random_pattern(75, 210, density, Rows::all, 3);
    const SpmmTensorPlan plan = build(pattern);
    const std::int64_t lists = plan.panels * plan.slabs;
    const auto offsets = download(plan.list_offsets, lists + 1);
    const auto sources = download(plan.sources, plan.capacity);
    const auto positions = download(plan.positions, plan.capacity);
    ASSERT_EQ(offsets[0], 0);
    ASSERT_LE(offsets[lists], plan.capacity);
    std::vector<std::set<std::int32_t>> found(lists), expected(lists);
    for (std::int64_t i = 0; i < pattern.m; ++i) {
      for (std::int32_t e = pattern.offsets[i]; e < pattern.offsets[i + 1]; ++e)
        expected[i / layout::kPanelRows * plan.slabs + pattern.columns[e] / layout::kSlabK].insert(e);
    }
    for (std::int64_t list = 0; list < lists; ++list) {
      EXPECT_EQ(offsets[list + 1] - offsets[list], (static_cast<int>(expected[list].size()) + 7) / 8 * 8);
      for (std::int32_t at = offsets[list]; at < offsets[list + 1]; ++at) {
        const std::int32_t e = sources[at];
        ASSERT_TRUE(e >= 0 && e < pattern.nnz());
        found[list].insert(e);
        const auto row =
            std::upper_bound(pattern.offsets.begin(), pattern.offsets.end(), e) - pattern.offsets.begin() - 1;
        EXPECT_EQ(positions[at],
                  layout::tile_byte(static_cast<int>(row % layout::kPanelRows), pattern.columns[e] % layout::kSlabK));
      }
      EXPECT_EQ(found[list], expected[list]);
    }
    const SpmmTensorPlan second = build(pattern);
    EXPECT_EQ(download(second.sources, offsets[lists]), download(plan.sources, offsets[lists]));
  }
}

TEST_F(SpmmTensor, HardShapes) {
  check(random_pattern(1, 1, 1.0, Rows::all, 1), 1, 0, true, Activation::none);
  check(random_pattern(33, 65, 0.3, Rows::all, 2), 7, 1, true, Activation::gelu);
  check(random_pattern(300, 517, 0.1, Rows::all, 3), 130, 2, true, Activation::relu);
  check(random_pattern(129, 1000, 0.2, Rows::every_third, 4), 260, 0, false, Activation::none);
  check(random_pattern(257, 333, 0.1, Rows::one_full, 5), 131, 5, true, Activation::none);
  check(random_pattern(100, 100, 0, Rows::none, 6), 100, 0, true, Activation::none);
  check(random_pattern(64, 0, 0, Rows::none, 7), 64, 0, true, Activation::none);
  check(random_pattern(0, 64, 0, Rows::none, 8), 64, 0, false, Activation::none);
  check(random_pattern(64, 64, 0.2, Rows::all, 9), 0, 0, false, Activation::none);
  check(random_pattern(200, 200, 1.0, Rows::all, 10), 200, 0, false,
        Activation::none);  // dense: lists past the staging
  check(random_pattern(5, 40000, 0.05, Rows::all, 11), 64, 0, false, Activation::none);  // k past 32,767
  check(random_pattern(4000, 96, 0.1, Rows::all, 12), 200, 0, false, Activation::none);
  check(random_pattern(2000, 96, 0.1, Rows::all, 13), 1200, 0, false, Activation::none);  // more tiles than processors
}

TEST_F(SpmmTensor, StaysWithinTwiceThePlainChain) {
  for (const double density : {0.5, 0.2, 0.1, 0.03}) {
    for (const bool positive : {false, true})
      check(random_pattern(256, 1024, density, Rows::all, 21), 128, 0, false, Activation::none, positive);
  }
  for (const int spread : {4, 10})
    check(random_pattern(256, 1024, 0.1, Rows::all, 22), 128, 0, false, Activation::none, false, spread);
}

TEST_F(SpmmTensor, DensifyIsThePackedMatrix) {
  for (const std::int64_t ld : {210, 216, 213}) {
    const Pattern pattern = random_pattern(75, 210, 0.3, Rows::all, 3);
    const SpmmTensorPlan plan = build(pattern);
    std::vector<float> values(pattern.nnz());
    for (std::size_t i = 0; i < values.size(); ++i) values[i] = static_cast<float>(i % 251) + 1;  // exact in bf16
    Bf16* packed = static_cast<Bf16*>(allocate(plan.capacity * sizeof(Bf16)));
    spmm_tensor_pack_bf16<float>(stream_, plan, upload(values), packed);
    Bf16* dense = static_cast<Bf16*>(allocate(pattern.m * ld * sizeof(Bf16)));
    spmm_tensor_densify(stream_, plan, packed, Dense<Bf16>{dense, pattern.m, pattern.k, ld});
    const auto got = download(dense, pattern.m * ld);
    std::vector<float> want(pattern.m * ld, 0);
    for (std::int64_t i = 0; i < pattern.m; ++i) {
      for (std::int32_t e = pattern.offsets[i]; e < pattern.offsets[i + 1]; ++e)
        want[i * ld + pattern.columns[e]] = values[e];
      for (std::int64_t j = 0; j < pattern.k; ++j)
        ASSERT_EQ(to_float(got[i * ld + j]), want[i * ld + j]) << i << ' ' << j;
      for (std::int64_t j = pattern.k; j < ld; ++j) ASSERT_EQ(got[i * ld + j].bits, 0xffff) << "written behind a row";
    }
  }
}

TEST_F(SpmmTensor, RefusesWhatTheTensorCopyCannotRead) {
  const Pattern pattern = random_pattern(40, 40, 0.2, Rows::all, 5);
  const SpmmTensorPlan plan = build(pattern);
  float* b = static_cast<float*>(allocate(64 * 64 * sizeof(float)));
  const Dense<float> c{b, 40, 40, 40};
  EXPECT_TRUE(spmm_tensor_supports(stream_, plan, Dense<const float>{b, 40, 40, 40}, c));
  EXPECT_FALSE(spmm_tensor_supports(stream_, plan, Dense<const float>{b + 1, 40, 40, 40}, c));
  EXPECT_FALSE(spmm_tensor_supports(stream_, plan, Dense<const float>{b, 40, 40, 41}, c));
  EXPECT_FALSE(spmm_tensor_supports(stream_, plan, Dense<const float>{b, 40, 40, 40, 2, 1600}, c));
}

#endif

}  // namespace
}  // namespace lacuna::kernels
