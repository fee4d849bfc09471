// The ways through a sparse product on the CPU: by pieces, for every instruction set that this machine runs, against
// f64; the plans that pick a way; and that neither the way of SDDMM nor the number of threads changes a bit.
#include <gtest/gtest.h>
#include <omp.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/sddmm/sddmm.h"
#include "kernels/sddmm/sddmm_cpu_ways.h"
#include "kernels/simd/simd_dispatch.h"
#include "kernels/spmm/spmm.h"
#include "kernels/spmm/spmm_cpu_ways.h"

namespace lacuna::kernels {
namespace {

/// Every third row is empty, row 1 is full, the others are random.
template <class T>
struct Problem {
  std::int64_t rows, cols, other, batch;
  std::vector<std::int32_t> offsets{0}, columns;
  std::vector<T> values, left, right, bias;

  Problem(std::int64_t m, std::int64_t k, std::int64_t n, std::int64_t matrices, unsigned percent = 60)
      : rows(m), cols(k), other(n), batch(matrices) {
    std::mt19937 generator(11);
    for (std::int64_t r = 0; r < m; ++r) {
      for (std::int64_t c = 0; c < k; ++c) {
        if (r == 1 || (r % 3 != 2 && generator() % 100 < percent)) columns.push_back(static_cast<std::int32_t>(c));
      }
      offsets.push_back(static_cast<std::int32_t>(columns.size()));
    }
    const auto fill = [&](std::vector<T>& x, std::int64_t count) {
      x.resize(static_cast<std::size_t>(count));
      for (T& v : x) v = static_cast<T>(static_cast<double>(generator()) / 2147483648.0 - 1);
    };
    fill(values, batch * nnz());
    fill(left, batch * m * (n + 1));
    fill(right, batch * k * (n + 3));
    fill(bias, m);
  }
  std::int64_t nnz() const { return static_cast<std::int64_t>(columns.size()); }
  template <class U>
  Csr<U> csr(U* data) const {
    return {.rows = rows,
            .cols = cols,
            .nnz = nnz(),
            .row_offsets = offsets.data(),
            .col_indices = columns.data(),
            .values = data,
            .batch = batch,
            .values_stride = nnz()};
  }
  Dense<const T> a() const { return {left.data(), rows, other, other + 1, batch, rows * (other + 1)}; }
  Dense<const T> b() const { return {right.data(), cols, other, other + 3, batch, cols * (other + 3)}; }

  void check_spmm(const std::vector<T>& c) const {  // [batch, rows, other], bias and relu
    double worst = 0;
    for (std::int64_t i = 0; i < batch; ++i) {
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int64_t j = 0; j < other; ++j) {
          double sum = static_cast<double>(bias[static_cast<std::size_t>(r)]), size = std::abs(sum);
          for (std::int32_t e = offsets[static_cast<std::size_t>(r)]; e < offsets[static_cast<std::size_t>(r) + 1];
               ++e) {
            const double product =
                static_cast<double>(values[static_cast<std::size_t>(i * nnz() + e)]) *
                static_cast<double>(b().data[i * b().batch_stride + columns[static_cast<std::size_t>(e)] * b().ld + j]);
            sum += product;
            size += std::abs(product);
          }
          const double got = static_cast<double>(c[static_cast<std::size_t>((i * rows + r) * other + j)]);
          worst = std::max(worst, std::abs(got - std::max(sum, 0.0)) / size);
          ASSERT_FALSE(std::isnan(got));
        }
      }
    }
    EXPECT_LT(worst, 20 * static_cast<double>(std::numeric_limits<T>::epsilon()));
  }
  void check_sddmm(const std::vector<T>& c) const {  // [batch, nnz], halved
    double worst = 0;
    for (std::int64_t i = 0; i < batch; ++i) {
      for (std::int64_t r = 0; r < rows; ++r) {
        for (std::int32_t e = offsets[static_cast<std::size_t>(r)]; e < offsets[static_cast<std::size_t>(r) + 1]; ++e) {
          double sum = 0, size = 1e-3;
          for (std::int64_t x = 0; x < other; ++x) {
            const double product =
                static_cast<double>(a().data[i * a().batch_stride + r * a().ld + x]) *
                static_cast<double>(b().data[i * b().batch_stride + columns[static_cast<std::size_t>(e)] * b().ld + x]);
            sum += product;
            size += std::abs(product);
          }
          const double got = static_cast<double>(c[static_cast<std::size_t>(i * nnz() + e)]);
          worst = std::max(worst, std::abs(got - sum / 2) / size);
          ASSERT_FALSE(std::isnan(got));
        }
      }
    }
    EXPECT_LT(worst, 20 * static_cast<double>(std::numeric_limits<T>::epsilon()));
  }
  SpmmProduct<T> spmm_product(const SpmmBuild<T>& build, std::vector<T>& out) const {
    return {build,
            csr(values.data()),
            b(),
            {out.data(), rows, other, other, batch, rows * other},
            {bias.data(), Activation::relu}};
  }
};

template <class T>
std::vector<T> poisoned(std::int64_t count) {
  return std::vector<T>(static_cast<std::size_t>(count), std::numeric_limits<T>::quiet_NaN());
}

/// Scratch full of NaNs: what is read before it is written shows.
template <class T>
std::vector<T> scratch_of(std::size_t bytes) {
  return poisoned<T>(static_cast<std::int64_t>(bytes / sizeof(T) + 1));
}

template <class T>
void check_pieces(const SpmmBuild<T>& spmm_build, const SddmmBuild<T>& sddmm_build) {
  for (const auto& [m, k, n, batch] : {std::tuple{7, 50, 75, 1}, {150, 33, 130, 3}, {2, 3, 1, 2}}) {
    const Problem<T> problem(m, k, n, batch);
    for (const std::int64_t piece : {1, 16, 64}) {
      const std::int64_t pieces = (k + piece - 1) / piece;
      std::vector<T> c = poisoned<T>(batch * m * n);
      const SpmmProduct<T> product = problem.spmm_product(spmm_build, c);
      std::vector<T> scratch = scratch_of<T>(spmm_by_pieces_bytes(spmm_build, {piece, pieces}, product.a, product.b));
      spmm_by_pieces(product, {piece, pieces}, scratch.data());
      problem.check_spmm(c);

      std::vector<T> values = poisoned<T>(batch * problem.nnz());
      const SddmmProduct<T> sampled{sddmm_build, problem.a(), problem.b(), problem.csr(values.data()), T(0.5)};
      scratch = scratch_of<T>(sddmm_by_pieces_bytes(sampled, {piece, pieces}));
      sddmm_by_pieces(sampled, {piece, pieces}, scratch.data());
      problem.check_sddmm(values);
    }
  }
}

#define LACUNA_CHECK(isa, bytes)                                                                            \
  check_pieces<float>({bytes / 4, isa::spmm_rows<float>, isa::spmm_cut<float>, isa::spmm_piece<float>},     \
                      {bytes / 4, isa::sddmm_rows<float>, isa::sddmm_piece<float>});                        \
  check_pieces<double>({bytes / 8, isa::spmm_rows<double>, isa::spmm_cut<double>, isa::spmm_piece<double>}, \
                       {bytes / 8, isa::sddmm_rows<double>, isa::sddmm_piece<double>})

TEST(CpuWays, PiecesComputeTheProductsOnTheBaseline) { LACUNA_CHECK(isa_baseline, 16); }

#if defined(__x86_64__)
TEST(CpuWays, PiecesComputeTheProductsOnAvx2) {
  if (best_isa(Isa::avx2) != Isa::avx2) GTEST_SKIP() << "this machine has no AVX2";
  LACUNA_CHECK(isa_avx2, 32);
}

TEST(CpuWays, PiecesComputeTheProductsOnAvx512) {
  if (best_isa() != Isa::avx512) GTEST_SKIP() << "this machine has no AVX-512";
  LACUNA_CHECK(isa_avx512, 64);
}
#endif
#undef LACUNA_CHECK

std::vector<float> run_spmm(const Problem<float>& p, int threads) {
  omp_set_num_threads(threads);
  std::vector<float> out = poisoned<float>(p.batch * p.rows * p.other);
  const Csr<const float> a = p.csr(p.values.data());
  std::vector<float> scratch = scratch_of<float>(spmm_scratch_bytes<float>(CpuStream{}, a, p.b()));
  spmm<float>(CpuStream{}, a, p.b(), {out.data(), p.rows, p.other, p.other, p.batch, p.rows * p.other},
              {p.bias.data(), Activation::relu}, scratch.data());
  return out;
}

std::vector<float> run_sddmm(const Problem<float>& p, int threads) {
  omp_set_num_threads(threads);
  std::vector<float> out = poisoned<float>(p.batch * p.nnz());
  const Csr<float> c = p.csr(out.data());
  std::vector<float> scratch = scratch_of<float>(sddmm_scratch_bytes<float>(CpuStream{}, p.a(), p.b(), c));
  sddmm<float>(CpuStream{}, p.a(), p.b(), c, 0.5f, scratch.data());
  return out;
}

TEST(CpuWays, ThreadsDoNotChangeTheBitsOfPieces) {
  const int before = omp_get_max_threads();
  for (const auto& [m, k, n, batch] : {std::tuple{150, 500, 330, 1}, {150, 500, 330, 3}}) {
    const Problem<float> p(m, k, n, batch);
    EXPECT_GT(plan_spmm_cpu(m, k, n, p.nnz(), 32, 128).piece, 0);  // else nothing is tested here
    EXPECT_GT(plan_sddmm_cpu(m, k, n, p.nnz(), 64, 256).piece, 0);
    const std::vector<float> spmm_alone = run_spmm(p, 1), sddmm_alone = run_sddmm(p, 1);
    p.check_spmm(spmm_alone);
    p.check_sddmm(sddmm_alone);
    for (const int threads : {2, 3, 8}) {
      EXPECT_EQ(run_spmm(p, threads), spmm_alone) << threads << " threads";
      EXPECT_EQ(run_sddmm(p, threads), sddmm_alone) << threads << " threads";
    }
  }
  omp_set_num_threads(before);
}

SddmmBuild<float> best_sddmm_build() {
#if defined(__x86_64__)
  if (best_isa() == Isa::avx512) return {16, isa_avx512::sddmm_rows<float>, isa_avx512::sddmm_piece<float>};
  if (best_isa() == Isa::avx2) return {8, isa_avx2::sddmm_rows<float>, isa_avx2::sddmm_piece<float>};
#endif
  return {4, isa_baseline::sddmm_rows<float>, isa_baseline::sddmm_piece<float>};
}

TEST(CpuWays, SddmmsTwoWaysAgreeInBits) {
  const Problem<float> p(150, 33, 130, 2);
  ASSERT_EQ(plan_sddmm_cpu(p.rows, p.cols, p.other, p.nnz(), 64, 256).piece, 0);  // so this goes by rows
  const std::vector<float> by_rows = run_sddmm(p, omp_get_max_threads());
  std::vector<float> by_pieces = poisoned<float>(p.batch * p.nnz());
  const SddmmProduct<float> product{best_sddmm_build(), p.a(), p.b(), p.csr(by_pieces.data()), 0.5f};
  std::vector<float> scratch = scratch_of<float>(sddmm_by_pieces_bytes(product, {10, 4}));
  sddmm_by_pieces(product, {10, 4}, scratch.data());
  EXPECT_EQ(by_pieces, by_rows);
}

TEST(CpuWays, DenserMatricesGoByPieces) {
  EXPECT_GT(plan_spmm_cpu(1024, 1024, 512, 1024 * 512, 32, 128).piece, 0);
  EXPECT_EQ(plan_spmm_cpu(1024, 1024, 512, 1024 * 10, 32, 128).piece, 0);
  EXPECT_GT(plan_sddmm_cpu(1024, 1024, 512, 1024 * 512, 64, 256).piece, 0);
  EXPECT_EQ(plan_sddmm_cpu(1024, 1024, 512, 1024 * 10, 64, 256).piece, 0);
  // A row of the panel is a 16-bit number.
  EXPECT_LT(plan_spmm_cpu(1 << 14, 1 << 14, 512, 1 << 27, 32, 128).piece, 1 << 16);
  EXPECT_EQ(plan_spmm_cpu(64, 64, 8, 1000, 32, 128).piece, 0);  // too little to cut anything
}

TEST(CpuWays, MoreWorkTakesLongerByThePlans) {
  for (const auto plan : {+[](std::int64_t x) { return plan_spmm_cpu(512, 512, 256, x, 32, 128).nanoseconds; },
                          +[](std::int64_t x) { return plan_sddmm_cpu(512, 512, 256, x, 64, 256).nanoseconds; }}) {
    double last = 0;
    for (std::int64_t nnz = 0; nnz <= 512 * 512; nnz += 512 * 8) {
      EXPECT_GT(plan(nnz), last);
      last = plan(nnz);
    }
  }
}

}  // namespace
}  // namespace lacuna::kernels
