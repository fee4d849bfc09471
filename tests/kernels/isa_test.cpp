// Every compiled instruction set that this machine runs computes the same products, not only the one that is picked.
#include <gtest/gtest.h>

#include <cmath>
#include <random>
#include <vector>

#include "kernels/sddmm/sddmm_cpu_tasks.h"
#include "kernels/simd/simd_dispatch.h"
#include "kernels/spmm/spmm_cpu_tasks.h"

namespace lacuna::kernels {
namespace {

constexpr std::int64_t kRows = 5, kCols = 6;
const std::vector<std::int32_t> kOffsets{0, 0, 6, 8, 11, 11};
const std::vector<std::int32_t> kColumns{0, 1, 2, 3, 4, 5, 1, 4, 0, 2, 5};

template <class T>
std::vector<T> random_values(std::size_t count, unsigned seed) {
  std::mt19937 generator(seed);
  std::vector<T> values(count);
  for (T& x : values) x = static_cast<T>(static_cast<double>(generator()) / 2147483648.0 - 1);
  return values;
}

template <class T>
void check_spmm(void (*rows)(const SpmmTask<T>&), int lanes) {
  for (int vectors = 1; vectors <= kSlabVectors; ++vectors) {
    const std::int64_t padded = vectors * lanes;
    for (const std::int64_t width : {padded, padded - lanes + 1}) {
      const std::vector<T> values = random_values<T>(kColumns.size(), 1), bias = random_values<T>(kRows, 3);
      const std::vector<T> slab = random_values<T>(static_cast<std::size_t>(kCols * padded), 2);
      std::vector<T> c(static_cast<std::size_t>(kRows * (width + 3)), T(99));
      rows({.row_offsets = kOffsets.data(),
            .col_indices = kColumns.data(),
            .values = values.data(),
            .row_begin = 0,
            .row_end = kRows,
            .slab = slab.data(),
            .out = {.vectors = vectors,
                    .width = width,
                    .c = c.data(),
                    .ldc = width + 3,
                    .bias = bias.data(),
                    .relu = true}});
      for (std::int64_t r = 0; r < kRows; ++r) {
        for (std::int64_t j = 0; j < width; ++j) {
          double sum = static_cast<double>(bias[static_cast<std::size_t>(r)]);
          for (std::int32_t i = kOffsets[static_cast<std::size_t>(r)]; i < kOffsets[static_cast<std::size_t>(r) + 1];
               ++i) {
            sum +=
                static_cast<double>(values[static_cast<std::size_t>(i)]) *
                static_cast<double>(slab[static_cast<std::size_t>(kColumns[static_cast<std::size_t>(i)] * padded + j)]);
          }
          EXPECT_NEAR(static_cast<double>(c[static_cast<std::size_t>(r * (width + 3) + j)]), std::max(sum, 0.0), 2e-6);
        }
        for (std::int64_t j = width; j < width + 3; ++j)
          EXPECT_EQ(c[static_cast<std::size_t>(r * (width + 3) + j)], T(99));
      }
    }
  }
}

template <class T>
void check_sddmm(void (*rows)(const SddmmTask<T>&), int lanes) {
  for (int vectors = 1; vectors <= kChunkVectors; ++vectors) {
    const std::int64_t padded = vectors * lanes, width = padded - 1;
    const std::vector<T> a = random_values<T>(static_cast<std::size_t>(kRows * width), 1);
    std::vector<T> panel = random_values<T>(static_cast<std::size_t>(kCols * padded), 2);
    for (std::int64_t j = 0; j < kCols; ++j) panel[static_cast<std::size_t>(j * padded + width)] = 0;
    std::vector<T> values(kColumns.size(), T(1));
    rows({.row_offsets = kOffsets.data(),
          .col_indices = kColumns.data(),
          .values = values.data(),
          .row_begin = 0,
          .row_end = kRows,
          .a = a.data(),
          .lda = width,
          .width = width,
          .vectors = vectors,
          .panel = panel.data(),
          .first = false,
          .factor = T(2)});
    for (std::int64_t r = 0; r < kRows; ++r) {
      for (std::int32_t i = kOffsets[static_cast<std::size_t>(r)]; i < kOffsets[static_cast<std::size_t>(r) + 1]; ++i) {
        double sum = 1;
        for (std::int64_t x = 0; x < width; ++x) {
          sum +=
              static_cast<double>(a[static_cast<std::size_t>(r * width + x)]) *
              static_cast<double>(panel[static_cast<std::size_t>(kColumns[static_cast<std::size_t>(i)] * padded + x)]);
        }
        EXPECT_NEAR(static_cast<double>(values[static_cast<std::size_t>(i)]), 2 * sum, 2e-5);
      }
    }
  }
}

TEST(Isa, BaselineComputesTheProducts) {
  check_spmm<float>(isa_baseline::spmm_rows<float>, 4);
  check_spmm<double>(isa_baseline::spmm_rows<double>, 2);
  check_sddmm<float>(isa_baseline::sddmm_rows<float>, 4);
  check_sddmm<double>(isa_baseline::sddmm_rows<double>, 2);
}

#if defined(__x86_64__)
TEST(Isa, Avx2ComputesTheProducts) {
  if (best_isa(Isa::avx2) != Isa::avx2) GTEST_SKIP() << "this machine has no AVX2";
  check_spmm<float>(isa_avx2::spmm_rows<float>, 8);
  check_spmm<double>(isa_avx2::spmm_rows<double>, 4);
  check_sddmm<float>(isa_avx2::sddmm_rows<float>, 8);
  check_sddmm<double>(isa_avx2::sddmm_rows<double>, 4);
}

TEST(Isa, Avx512ComputesTheProducts) {
  if (best_isa() != Isa::avx512) GTEST_SKIP() << "this machine has no AVX-512";
  check_spmm<float>(isa_avx512::spmm_rows<float>, 16);
  check_spmm<double>(isa_avx512::spmm_rows<double>, 8);
  check_sddmm<float>(isa_avx512::sddmm_rows<float>, 16);
  check_sddmm<double>(isa_avx512::sddmm_rows<double>, 8);
}
#endif

}  // namespace
}  // namespace lacuna::kernels
