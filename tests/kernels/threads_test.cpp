// The bits of a sparse product do not depend on how many threads share it.
#include <gtest/gtest.h>

#include <omp.h>

#include <random>
#include <vector>

#include "kernels/sddmm/sddmm.h"
#include "kernels/spmm/spmm.h"

namespace lacuna::kernels {
namespace {

struct Problem {
  std::int64_t rows, cols, other, batch;
  std::vector<std::int32_t> offsets{0}, columns;
  std::vector<float> values, left, right;

  Problem(std::int64_t m, std::int64_t k, std::int64_t n, std::int64_t matrices)
      : rows(m), cols(k), other(n), batch(matrices) {
    std::mt19937 generator(5);
    for (std::int64_t r = 0; r < m; ++r) {
      for (std::int64_t c = 0; c < k; ++c) {
        if (generator() % 10 == 0) columns.push_back(static_cast<std::int32_t>(c));
      }
      offsets.push_back(static_cast<std::int32_t>(columns.size()));
    }
    const auto fill = [&](std::vector<float>& x, std::int64_t count) {
      x.resize(static_cast<std::size_t>(count));
      for (float& v : x) v = static_cast<float>(generator()) / 2147483648.0f - 1;
    };
    fill(values, batch * nnz());
    fill(left, batch * m * n);
    fill(right, batch * k * n);
  }
  std::int64_t nnz() const { return static_cast<std::int64_t>(columns.size()); }
  template <class T>
  Csr<T> csr(T* data) const {
    return {.rows = rows,
            .cols = cols,
            .nnz = nnz(),
            .row_offsets = offsets.data(),
            .col_indices = columns.data(),
            .values = data,
            .batch = batch,
            .values_stride = nnz()};
  }
  Dense<const float> dense(const std::vector<float>& x, std::int64_t num_rows) const {
    return {x.data(), num_rows, other, other, batch, num_rows * other};
  }
};

std::vector<float> run_spmm(const Problem& p, int threads) {
  omp_set_num_threads(threads);
  std::vector<float> out(static_cast<std::size_t>(p.batch * p.rows * p.other), -7);
  const Csr<const float> a = p.csr(p.values.data());
  const Dense<const float> b = p.dense(p.right, p.cols);
  std::vector<char> scratch(spmm_scratch_bytes<float>(CpuStream{}, a, b));
  spmm<float>(CpuStream{}, a, b, {out.data(), p.rows, p.other, p.other, p.batch, p.rows * p.other}, {}, scratch.data());
  return out;
}

std::vector<float> run_sddmm(const Problem& p, int threads) {
  omp_set_num_threads(threads);
  std::vector<float> out(static_cast<std::size_t>(p.batch * p.nnz()), -7);
  const Csr<float> c = p.csr(out.data());
  const Dense<const float> a = p.dense(p.left, p.rows), b = p.dense(p.right, p.cols);
  std::vector<char> scratch(sddmm_scratch_bytes<float>(CpuStream{}, a, b, c));
  sddmm<float>(CpuStream{}, a, b, c, 0.5f, scratch.data());
  return out;
}

TEST(Threads, DoNotChangeTheBitsOfSparseProducts) {
  const int before = omp_get_max_threads();
  for (const auto& [m, k, n, batch] :
       {std::tuple{150, 130, 200, 1}, {64, 300, 32, 5}, {3, 500, 90, 2}, {400, 40, 7, 3}}) {
    const Problem problem(m, k, n, batch);
    const std::vector<float> spmm_alone = run_spmm(problem, 1), sddmm_alone = run_sddmm(problem, 1);
    for (const int threads : {2, 3, 8}) {
      EXPECT_EQ(run_spmm(problem, threads), spmm_alone) << threads << " threads";
      EXPECT_EQ(run_sddmm(problem, threads), sddmm_alone) << threads << " threads";
    }
  }
  omp_set_num_threads(before);
}

}  // namespace
}  // namespace lacuna::kernels
