// The tensor-core SpMM: layout and tilings on any machine; products against f64 where there is a Hopper GPU.
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

TEST(SpmmTensorLayout, SlabPositionsAreABijection) {
  std::set<int> bytes;
  for (int k = 0; k < layout::kSlabK; ++k) {
    for (int n = 0; n < layout::kMostCols; ++n) bytes.insert(layout::slab_byte(k, n));
  }
  EXPECT_EQ(static_cast<int>(bytes.size()), layout::kSlabK * layout::kMostCols);
  EXPECT_LT(*bytes.rbegin(), layout::kSlabK * layout::kMostCols * 4);
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

TEST(SpmmTensorTiling, IsWithinWhatTheKernelTakes) {
  for (const std::int64_t m : {1, 64, 65, 512, 4096, 33288}) {
    for (const std::int64_t k : {1, 64, 65, 2048, 40000}) {
      for (const std::int64_t n : {1, 49, 256, 3136, 12544}) {
        double seconds = 0;
        const SpmmTensorTiling tiling = choose_spmm_tensor_tiling(m, k, n, m * k / 2 + 1, 132, &seconds);
        EXPECT_TRUE(tiling.rows == 128 || tiling.rows == 64);
        EXPECT_TRUE(tiling.cols == 64 || (tiling.cols == 128 && tiling.rows == 128));
        EXPECT_GE(tiling.splits, 1);
        EXPECT_LE(tiling.splits, std::min<std::int64_t>(8, (k + 63) / 64));
        EXPECT_GT(seconds, 0);
      }
    }
  }
}

TEST(SpmmTensorTiling, CutsAlongKWhereTilesAreFewAndNotWhereTheyAreMany) {
  EXPECT_GT(choose_spmm_tensor_tiling(512, 2048, 256, 512 * 614, 132).splits, 1);
  const SpmmTensorTiling large = choose_spmm_tensor_tiling(4096, 4096, 4096, 4096 * 819, 132);
  EXPECT_EQ(large.splits, 1);
  EXPECT_EQ(large.rows, 128);
  EXPECT_EQ(large.cols, 128);
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

  /// `spread`: values and B are multiplied by powers of two from 2^-spread to 2^spread.
  /// By the tiling that is chosen, or by each of `tilings`. misaligned: B and C start off 16 bytes.
  void check(const Pattern& pattern, std::int64_t n, std::int64_t extra_ld, bool with_bias, Activation activation,
             bool positive = false, int spread = 0, std::vector<SpmmTensorTiling> tilings = {},
             bool misaligned = false);
  void compare(const Pattern& pattern, const std::vector<float>& values, const std::vector<float>& b,
               const std::vector<float>& bias, const std::vector<float>& got, std::int64_t n, std::int64_t b_ld,
               std::int64_t c_ld, bool with_bias, Activation activation);

  CudaStream stream_;
  std::vector<void*> allocated_;
};

/// The product twice, over poisoned C and poisoned padding of B.
void SpmmTensor::check(const Pattern& pattern, std::int64_t n, std::int64_t extra_ld, bool with_bias,
                       Activation activation, bool positive, int spread, std::vector<SpmmTensorTiling> tilings,
                       bool misaligned) {
  SCOPED_TRACE("m " + std::to_string(pattern.m) + ", k " + std::to_string(pattern.k) + ", n " + std::to_string(n) +
               ", nnz " + std::to_string(pattern.nnz()) + ", spread " + std::to_string(spread));
  const std::int64_t m = pattern.m, k = pattern.k, b_ld = n + extra_ld, c_ld = n + extra_ld;
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

  if (misaligned) b.insert(b.begin(), 1, 0.0f);
  const float* b_start = upload(b) + misaligned;
  if (misaligned) b.erase(b.begin());
  float* c = static_cast<float*>(allocate((m * c_ld + 1) * sizeof(float))) + misaligned;
  const Dense<const float> b_view{b_start, k, n, b_ld};
  const Dense<float> c_view{c, m, n, c_ld};
  const Csr<const float> a_view{m, k, pattern.nnz(), upload(pattern.offsets), upload(pattern.columns), upload(values)};
  const Epilogue<const float> epilogue{with_bias ? upload(bias) : nullptr, activation};
  ASSERT_TRUE(spmm_tensor_supports(stream_, a_view, b_view, c_view));
  void* scratch = allocate(spmm_tensor_scratch_bytes(a_view, b_view));
  if (tilings.empty()) {
    tilings.push_back(m > 0 && n > 0 && k > 0 ? choose_spmm_tensor_tiling(m, k, n, pattern.nnz(), 132)
                                              : SpmmTensorTiling{});
  }
  for (const SpmmTensorTiling& tiling : tilings) {
    SCOPED_TRACE("tiling " + std::to_string(tiling.rows) + " x " + std::to_string(tiling.cols) + " / " +
                 std::to_string(tiling.splits));
    const std::vector<unsigned char> poison(m * c_ld * sizeof(float), 0xff);
    runtime::copy(stream_, 0, c, poison.data(), poison.size());
    spmm_tensor(stream_, a_view, b_view, c_view, epilogue, tiling, scratch);
    const std::vector<float> got = download(c, m * c_ld);
    spmm_tensor(stream_, a_view, b_view, c_view, epilogue, tiling, scratch);
    const std::vector<float> again = download(c, m * c_ld);
    EXPECT_EQ(got.empty() ? 0 : std::memcmp(got.data(), again.data(), got.size() * sizeof(float)), 0) << "bits differ";
    compare(pattern, values, b, bias, got, n, b_ld, c_ld, with_bias, activation);
  }
}

/// got [m, n] against f64 and against a plain chain of f32.
void SpmmTensor::compare(const Pattern& pattern, const std::vector<float>& values, const std::vector<float>& b,
                         const std::vector<float>& bias, const std::vector<float>& got, std::int64_t n,
                         std::int64_t b_ld, std::int64_t c_ld, bool with_bias, Activation activation) {
  const std::int64_t m = pattern.m;
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

std::vector<SpmmTensorTiling> all_tilings(std::int64_t k) {
  std::vector<SpmmTensorTiling> tilings;
  for (const SpmmTensorTiling shape : {SpmmTensorTiling{128, 128}, {128, 64}, {64, 64}}) {
    for (const int splits : {1, 2, 3, 5, 8}) {
      if (splits <= std::max<std::int64_t>(1, (k + 63) / 64)) tilings.push_back({shape.rows, shape.cols, splits});
    }
  }
  return tilings;
}

TEST_F(SpmmTensor, HardShapes) {
  check(random_pattern(1, 1, 1.0, Rows::all, 1), 1, 0, true, Activation::none);
  check(random_pattern(33, 65, 0.3, Rows::all, 2), 7, 1, true, Activation::gelu);
  check(random_pattern(100, 100, 0, Rows::none, 6), 100, 0, true, Activation::none);
  check(random_pattern(64, 0, 0, Rows::none, 7), 64, 0, true, Activation::none);
  check(random_pattern(0, 64, 0, Rows::none, 8), 64, 0, false, Activation::none);
  check(random_pattern(64, 64, 0.2, Rows::all, 9), 0, 0, false, Activation::none);
  check(random_pattern(200, 200, 1.0, Rows::all, 10), 200, 0, false, Activation::none);
  check(random_pattern(5, 40000, 0.05, Rows::all, 11), 64, 0, false, Activation::none);  // dense in several pieces
  check(random_pattern(4000, 96, 0.1, Rows::all, 12), 200, 0, false, Activation::none);
  check(random_pattern(2000, 96, 0.1, Rows::all, 13), 1200, 0, false, Activation::none);  // more tiles than processors
}

TEST_F(SpmmTensor, EveryTiling) {
  const auto every = [&](const Pattern& pattern, std::int64_t n, std::int64_t extra_ld, bool with_bias,
                         Activation activation, bool misaligned) {
    check(pattern, n, extra_ld, with_bias, activation, false, 0, all_tilings(pattern.k), misaligned);
  };
  every(random_pattern(300, 517, 0.1, Rows::all, 3), 130, 2, true, Activation::relu, false);
  every(random_pattern(129, 1000, 0.2, Rows::every_third, 4), 260, 0, false, Activation::none, false);
  every(random_pattern(257, 333, 0.1, Rows::one_full, 5), 131, 5, true, Activation::none, true);
  every(random_pattern(70, 640, 0.3, Rows::all, 14), 49, 0, true, Activation::gelu, false);
  every(random_pattern(64, 64, 0.5, Rows::all, 15), 64, 0, false, Activation::none, true);
}

TEST_F(SpmmTensor, LargeMatricesGoThroughInGroupsOfRows) {
  // 40,000 columns: 768 rows at once. Row 800 is full.
  Pattern pattern = random_pattern(900, 40000, 0, Rows::none, 16);
  for (std::int64_t row = 0; row <= 900; ++row) pattern.offsets[row] = static_cast<std::int32_t>(row > 800 ? 40000 : 0);
  for (std::int32_t column = 0; column < 40000; ++column) pattern.columns.push_back(column);
  for (const std::int64_t n : {4, 5}) check(pattern, n, 0, true, Activation::none);
}

TEST_F(SpmmTensor, StaysWithinTwiceThePlainChain) {
  for (const double density : {0.5, 0.2, 0.1, 0.03}) {
    for (const bool positive : {false, true})
      check(random_pattern(256, 1024, density, Rows::all, 21), 128, 0, false, Activation::none, positive);
  }
  for (const int spread : {4, 10})
    check(random_pattern(256, 1024, 0.1, Rows::all, 22), 128, 0, false, Activation::none, false, spread);
}

TEST_F(SpmmTensor, RefusesABatch) {
  const Pattern pattern = random_pattern(40, 40, 0.2, Rows::all, 5);
  float* x = static_cast<float*>(allocate(64 * 64 * sizeof(float)));
  const Csr<const float> a{40, 40, pattern.nnz(), upload(pattern.offsets), upload(pattern.columns), x};
  const Dense<float> c{x, 40, 40, 40};
  EXPECT_TRUE(spmm_tensor_supports(stream_, a, Dense<const float>{x, 40, 40, 40}, c));
  EXPECT_TRUE(spmm_tensor_supports(stream_, a, Dense<const float>{x + 1, 40, 40, 41}, c));
  EXPECT_FALSE(spmm_tensor_supports(stream_, a, Dense<const float>{x, 40, 40, 40, 2, 1600}, c));
}

#endif

}  // namespace
}  // namespace lacuna::kernels
