#include <algorithm>
#include <cmath>

#include "kernels/adafactor/adafactor.h"
#include "kernels/adafactor/rules.h"
#include "kernels/common/parallel.h"

namespace lacuna::kernels {
namespace {

constexpr std::int64_t kChunk = 16384;  // entries behind one partial sum where there are no rows to go by

/// Sums of one row or chunk; added up in order, so that threads do not change the bits.
struct Partial {
  double u = 0, value = 0;
};

std::int64_t num_partials(const EntryPattern& p, bool factored) {
  return factored ? p.rows : (p.nnz + kChunk - 1) / kChunk;
}

/// Row i's stored entries: values [begin, end), columns by column(k).
struct Row {
  std::int64_t begin, end;
};
Row row_of(const EntryPattern& p, std::int64_t i) {
  return p.row_offsets ? Row{p.row_offsets[i], p.row_offsets[i + 1]} : Row{i * p.cols, (i + 1) * p.cols};
}
std::int64_t column_of(const EntryPattern& p, const Row& row, std::int64_t k) {
  return p.col_indices ? p.col_indices[k] : k - row.begin;
}

template <class T>
void update_row_means(const EntryPattern& p, const T* grad, T scale, const AdafactorRule<T>& rule, T* means) {
#pragma omp parallel for schedule(static) if (worth_threads(p.nnz))
  for (std::int64_t i = 0; i < p.rows; ++i) {
    const Row row = row_of(p, i);
    if (row.begin == row.end) continue;
    double sum = 0;
    for (std::int64_t k = row.begin; k < row.end; ++k) sum += rule.squared(grad[k] * scale);
    means[i] = rule.decayed(means[i], static_cast<T>(sum / static_cast<double>(row.end - row.begin)));
  }
}

template <class T>
void update_col_means(const EntryPattern& p, const T* grad, T scale, const AdafactorRule<T>& rule, T* means) {
#pragma omp parallel for schedule(static) if (worth_threads(p.nnz))
  for (std::int64_t j = 0; j < p.cols; ++j) {
    const std::int64_t begin = p.col_offsets ? p.col_offsets[j] : 0,
                       end = p.col_offsets ? p.col_offsets[j + 1] : p.rows;
    if (begin == end) continue;
    double sum = 0;
    for (std::int64_t k = begin; k < end; ++k)
      sum += rule.squared(grad[p.permutation ? p.permutation[k] : k * p.cols + j] * scale);
    means[j] = rule.decayed(means[j], static_cast<T>(sum / static_cast<double>(end - begin)));
  }
}

/// factor[j]^2 = col_means[j] / mean of row_means over column j's entries; 0 for an empty column, which nobody reads. Roots,
/// because in f32 the product of a silent row's mean and a silent column's factor (eps1 each) would be 0.
template <class T>
void column_factors(const EntryPattern& p, const T* row_means, const T* col_means, T* factor) {
  if (!p.row_offsets) {
    double sum = 0;
    for (std::int64_t i = 0; i < p.rows; ++i) sum += row_means[i];
    for (std::int64_t j = 0; j < p.cols; ++j)
      factor[j] = static_cast<T>(std::sqrt(col_means[j] / (sum / static_cast<double>(p.rows))));
    return;
  }
#pragma omp parallel for schedule(static) if (worth_threads(p.nnz))
  for (std::int64_t j = 0; j < p.cols; ++j) {
    const std::int64_t begin = p.col_offsets[j], end = p.col_offsets[j + 1];
    double sum = 0;
    for (std::int64_t k = begin; k < end; ++k) sum += row_means[p.row_indices[k]];
    factor[j] = begin == end ? T(0) : static_cast<T>(std::sqrt(col_means[j] / (sum / static_cast<double>(end - begin))));
  }
}

}  // namespace

std::size_t adafactor_scratch_bytes(CpuStream, const EntryPattern& p, bool factored) {
  return static_cast<std::size_t>(num_partials(p, factored)) * sizeof(Partial) +
         static_cast<std::size_t>(factored ? p.cols : 0) * sizeof(double);  // factors of T, which is no wider
}

template <class T>
void adafactor_update(CpuStream, const EntryPattern& p, const AdafactorArrays<T>& a, const AdafactorCoefficients& c,
                      const UpdateGuard<T>& guard, void* scratch) {
  if (p.nnz == 0 || (guard.skip && *guard.skip != 0)) return;
  const T scale = guard.scale ? static_cast<T>(*guard.scale) : T(1);
  const AdafactorRule<T> rule(c);
  const bool factored = a.v == nullptr;
  const std::int64_t parts = num_partials(p, factored);
  auto* partials = static_cast<Partial*>(scratch);
  T* factor = reinterpret_cast<T*>(partials + parts);
  if (factored) {
    update_row_means(p, a.grad, scale, rule, a.row_means);
    update_col_means(p, a.grad, scale, rule, a.col_means);
    column_factors(p, a.row_means, a.col_means, factor);
  }
  const auto range = [&](std::int64_t part) {
    return factored ? row_of(p, part) : Row{part * kChunk, std::min(p.nnz, (part + 1) * kChunk)};
  };
  const auto update = [&](std::int64_t part, const Row& row, std::int64_t k) {
    const T root = factored ? std::sqrt(a.row_means[part]) * factor[column_of(p, row, k)] : std::sqrt(a.v[k]);
    return a.grad[k] * scale / root;
  };
#pragma omp parallel for schedule(static) if (worth_threads(p.nnz))
  for (std::int64_t part = 0; part < parts; ++part) {
    const Row row = range(part);
    Partial sums;
    for (std::int64_t k = row.begin; k < row.end; ++k) {
      if (!factored) a.v[k] = rule.decayed(a.v[k], rule.squared(a.grad[k] * scale));
      const double u = update(part, row, k), x = a.value[k];
      sums.u += u * u;
      sums.value += x * x;
    }
    partials[part] = sums;
  }
  Partial total;
  for (std::int64_t part = 0; part < parts; ++part) {
    total.u += partials[part].u;
    total.value += partials[part].value;
  }
  const AdafactorStep<T> step = adafactor_step<T>(c, total.u, total.value, p.nnz);
#pragma omp parallel for schedule(static) if (worth_threads(p.nnz))
  for (std::int64_t part = 0; part < parts; ++part) {
    const Row row = range(part);
    for (std::int64_t k = row.begin; k < row.end; ++k)
      rule.apply(a.value[k], update(part, row, k), a.m ? a.m + k : nullptr, step);
  }
}

#define LACUNA_INSTANTIATE(T)                                                                  \
  template void adafactor_update<T>(CpuStream, const EntryPattern&, const AdafactorArrays<T>&, \
                                    const AdafactorCoefficients&, const UpdateGuard<T>&, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
