// Selection of whole units on the CPU.
#include "kernels/select/unit_loops.h"
#include "kernels/select/units.h"
#include "kernels/simd/panels.h"

namespace lacuna::kernels {

template <class T>
void unit_scores(CpuStream, const Pattern& p, const T* scores, std::int64_t unit_rows, std::int64_t unit_cols, T* out) {
  const std::int64_t count = ((p.rows + unit_rows - 1) / unit_rows) * ((p.cols + unit_cols - 1) / unit_cols);
#pragma omp parallel for schedule(static) if (p.rows * p.cols >= kLeastParallelWork)
  for (std::int64_t unit = 0; unit < count; ++unit) out[unit] = unit_score(p, scores, unit_rows, unit_cols, unit);
}

void expand_units(CpuStream, const Pattern& p, const std::uint8_t* keep_unit, std::int64_t unit_rows,
                  std::int64_t unit_cols, std::uint8_t* keep) {
  const std::int64_t grid_cols = (p.cols + unit_cols - 1) / unit_cols;
#pragma omp parallel for schedule(static) if (p.rows * p.cols >= kLeastParallelWork)
  for (std::int64_t r = 0; r < p.rows; ++r) {
    const std::int64_t end = entry_at(p, r, p.cols);
    for (std::int64_t i = entry_at(p, r, 0); i < end; ++i)
      keep[i] = keep_unit[r / unit_rows * grid_cols + column_of(p, r, i) / unit_cols];
  }
}

template <class T>
void top_n_of_m(CpuStream, const Pattern& p, const T* scores, std::int64_t n, std::int64_t m, std::uint8_t* keep) {
  const std::int64_t groups = (p.cols + m - 1) / m;
#pragma omp parallel for schedule(static) if (p.rows * p.cols >= kLeastParallelWork)
  for (std::int64_t r = 0; r < p.rows; ++r)
    for (std::int64_t g = 0; g < groups; ++g) keep_top_n(p, scores, n, m, r, g, keep);
}

#define LACUNA_INSTANTIATE(T)                                                                        \
  template void unit_scores<T>(CpuStream, const Pattern&, const T*, std::int64_t, std::int64_t, T*); \
  template void top_n_of_m<T>(CpuStream, const Pattern&, const T*, std::int64_t, std::int64_t, std::uint8_t*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
