// The bf16 product whose sparse operand becomes dense on the way: against f64 where there is a Hopper GPU.
#include "kernels/bf16_product/bf16_product.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <string>
#include <vector>

#include "kernels/runtime/runtime.h"
#include "kernels/sddmm/sddmm_tiles.h"

namespace lacuna::kernels {
namespace {

TEST(Bf16ProductScratch, RowsStartOn16Bytes) {
  EXPECT_EQ(bf16_product_ld(1), 8);
  EXPECT_EQ(bf16_product_ld(4096), 4096);
  EXPECT_EQ(bf16_product_scratch_bytes(3, 9), 3u * 16 * 2);
}

#if LACUNA_HAS_CUDA

enum class Rows { all, every_third, one_full, none };

struct Sparse {
  std::int64_t rows, cols;
  std::vector<std::int32_t> offsets, columns;
  std::vector<Bf16> values;
  std::int64_t nnz() const { return static_cast<std::int64_t>(columns.size()); }
};

Sparse random_sparse(std::int64_t rows, std::int64_t cols, double density, Rows which, unsigned seed) {
  std::mt19937 random(seed);
  std::uniform_real_distribution<double> uniform;
  std::normal_distribution<float> normal;
  Sparse a{rows, cols, {0}, {}, {}};
  for (std::int64_t i = 0; i < rows; ++i) {
    double d = density;
    if (which == Rows::none || (which == Rows::every_third && i % 3 != 1)) d = 0;
    if (which == Rows::one_full) d = i == rows / 2 ? 1 : 0.03;
    for (std::int64_t j = 0; j < cols; ++j) {
      if (uniform(random) >= d) continue;
      a.columns.push_back(static_cast<std::int32_t>(j));
      a.values.push_back(Bf16(normal(random)));
    }
    a.offsets.push_back(static_cast<std::int32_t>(a.nnz()));
  }
  return a;
}

class Bf16Product : public ::testing::Test {
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

  template <class T>
  T* upload(const std::vector<T>& values) {
    void* pointer = runtime::allocate(stream_, 0, values.size() * sizeof(T) + 256);
    allocated_.push_back(pointer);
    runtime::copy(stream_, 0, pointer, values.data(), values.size() * sizeof(T));
    runtime::synchronize(stream_, 0);
    return static_cast<T*>(pointer);
  }
  std::vector<Bf16> download(const Bf16* from, std::int64_t count) {
    std::vector<Bf16> values(count);
    runtime::copy(stream_, 0, values.data(), from, count * sizeof(Bf16));
    runtime::synchronize(stream_, 0);
    return values;
  }

  void check(const Sparse& a, std::int64_t n, bool with_bias = false, Activation activation = Activation::none,
             std::int64_t extra_ld = 0);
  void check_one_way(const Sparse& a, std::int64_t n, bool transpose, bool with_bias, Activation activation,
                     std::int64_t extra_ld);

  CudaStream stream_;
  std::vector<void*> allocated_;
};

/// op(A) B + bias in f64, and the sum of what was added up, without signs.
void reference(const Sparse& a, const std::vector<Bf16>& b, std::int64_t n, std::int64_t b_ld, bool transpose,
               std::vector<double>& sums, std::vector<double>& magnitudes) {
  for (std::int64_t i = 0; i < a.rows; ++i) {
    for (std::int32_t e = a.offsets[i]; e < a.offsets[i + 1]; ++e) {
      const std::int64_t to = transpose ? a.columns[e] : i, from = transpose ? i : a.columns[e];
      for (std::int64_t j = 0; j < n; ++j) {
        const double product = double{to_float(a.values[e])} * to_float(b[from * b_ld + j]);
        sums[to * n + j] += product;
        magnitudes[to * n + j] += std::fabs(product);
      }
    }
  }
}

/// Twice, over poison: the same bits, and f64's to a rounding.
void Bf16Product::check_one_way(const Sparse& a, std::int64_t n, bool transpose, bool with_bias, Activation activation,
                                std::int64_t extra_ld) {
  SCOPED_TRACE("A [" + std::to_string(a.rows) + ", " + std::to_string(a.cols) + "], nnz " + std::to_string(a.nnz()) +
               ", n " + std::to_string(n) + (transpose ? ", transposed" : ""));
  const std::int64_t m = transpose ? a.cols : a.rows, k = transpose ? a.rows : a.cols, ld = n + extra_ld;
  std::mt19937 random(7);
  std::normal_distribution<float> normal;
  std::vector<float> bias(m);
  for (float& x : bias) x = normal(random);
  std::vector<Bf16> b(k * ld, Bf16(std::numeric_limits<float>::quiet_NaN()));
  for (std::int64_t i = 0; i < k; ++i) {
    for (std::int64_t j = 0; j < n; ++j) b[i * ld + j] = Bf16(normal(random));
  }
  const Dense<const Bf16> b_view{upload(b), k, n, ld};
  const std::vector<Bf16> poison(m * ld, Bf16(std::numeric_limits<float>::quiet_NaN()));
  Bf16* c = upload(poison);
  const Dense<Bf16> c_view{c, m, n, ld};
  const Csr<const Bf16> csr{a.rows, a.cols, a.nnz(), upload(a.offsets), upload(a.columns), upload(a.values)};
  const Epilogue<const float> epilogue{with_bias ? upload(bias) : nullptr, activation};
  ASSERT_TRUE(bf16_product_supports(stream_, a.rows, a.cols, b_view, c_view));
  void* plan = upload(std::vector<unsigned char>(sddmm_plan_bytes(a.rows, a.cols, a.nnz())));
  sddmm_plan(stream_, {a.rows, a.cols, a.nnz(), csr.row_offsets, csr.col_indices}, plan);
  void* scratch = upload(std::vector<unsigned char>(bf16_product_scratch_bytes(a.rows, a.cols), 0xff));

  bf16_product(stream_, csr, plan, b_view, c_view, transpose, epilogue, scratch);
  const std::vector<Bf16> got = download(c, m * ld);
  runtime::copy(stream_, 0, scratch,
                std::vector<unsigned char>(bf16_product_scratch_bytes(a.rows, a.cols), 0xff).data(),
                bf16_product_scratch_bytes(a.rows, a.cols));
  runtime::copy(stream_, 0, c, poison.data(), poison.size() * sizeof(Bf16));
  bf16_product(stream_, csr, plan, b_view, c_view, transpose, epilogue, scratch);
  const std::vector<Bf16> again = download(c, m * ld);
  EXPECT_EQ(std::memcmp(got.data(), again.data(), got.size() * sizeof(Bf16)), 0) << "bits differ";

  std::vector<double> sums(m * n), magnitudes(m * n);
  reference(a, b, n, ld, transpose, sums, magnitudes);
  std::int64_t wrong = 0, touched = 0;
  for (std::int64_t i = 0; i < m; ++i) {
    for (std::int64_t j = 0; j < n; ++j) {
      double want = sums[i * n + j] + (with_bias ? bias[i] : 0.0);
      double slack = 1e-5 * magnitudes[i * n + j] + 1e-6;
      if (activation == Activation::relu) want = std::max(want, 0.0);
      if (activation == Activation::gelu) slack += std::fabs(sums[i * n + j]) / 200;  // rounded before the bias
      if (activation == Activation::gelu) want = 0.5 * want * std::erfc(-want / std::sqrt(2.0));
      wrong += !(std::fabs(to_float(got[i * ld + j]) - want) <= std::fabs(want) / 250 + slack);
    }
    for (std::int64_t j = n; j < ld; ++j) touched += got[i * ld + j].bits != poison[0].bits;
  }
  EXPECT_EQ(wrong, 0);
  EXPECT_EQ(touched, 0) << "columns behind C were written";
}

void Bf16Product::check(const Sparse& a, std::int64_t n, bool with_bias, Activation activation, std::int64_t extra_ld) {
  check_one_way(a, n, false, with_bias, activation, extra_ld);
  check_one_way(a, n, true, with_bias, activation, extra_ld);
}

TEST_F(Bf16Product, HardShapes) {
  check(random_sparse(1, 1, 1.0, Rows::all, 1), 8);
  check(random_sparse(33, 65, 0.3, Rows::all, 2), 16, true, Activation::gelu, 8);
  check(random_sparse(100, 100, 0, Rows::none, 3), 104, true);
  check(random_sparse(129, 257, 0.5, Rows::every_third, 4), 264, true, Activation::relu);
  check(random_sparse(300, 1000, 0, Rows::one_full, 5), 72);
  check(random_sparse(200, 200, 1.0, Rows::all, 6), 200, false, Activation::none, 56);
  check(random_sparse(5, 3001, 0.05, Rows::all, 7), 64);
}

TEST_F(Bf16Product, MoreTilesThanBlocks) {
  check(random_sparse(2500, 300, 0.1, Rows::all, 8), 2400);  // 200 tiles forward, 40 transposed
  check(random_sparse(300, 2500, 0.1, Rows::all, 9), 2400);
}

TEST_F(Bf16Product, RefusesRowsThatDoNotStartOn16Bytes) {
  Bf16* data = upload(std::vector<Bf16>(64 * 64, Bf16(0.0f)));
  const auto supports = [&](std::int64_t offset, std::int64_t n, std::int64_t ld, std::int64_t k) {
    return bf16_product_supports(stream_, 16, k, Dense<const Bf16>{data + offset, k, n, ld},
                                 Dense<Bf16>{data, 16, n, 64});
  };
  EXPECT_TRUE(supports(0, 16, 64, 16));
  EXPECT_TRUE(supports(8, 16, 64, 16));
  EXPECT_FALSE(supports(1, 16, 64, 16));
  EXPECT_FALSE(supports(0, 12, 64, 16));
  EXPECT_FALSE(supports(0, 16, 60, 16));
  EXPECT_FALSE(supports(0, 16, 64, 0));
}

#endif

}  // namespace
}  // namespace lacuna::kernels
