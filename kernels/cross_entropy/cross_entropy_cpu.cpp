#include <algorithm>
#include <cmath>
#include <limits>

#include "kernels/cross_entropy/cross_entropy.h"

namespace lacuna::kernels {
namespace {

constexpr std::int64_t kColumns = 64;  // columns walked together: rows are read in runs, sums stay in cache
constexpr std::int64_t kParallelFrom = 1 << 14;

std::int64_t blocks_of(std::int64_t n) { return (n + kColumns - 1) / kColumns; }

/// Columns [begin, begin + width): log of the sum of exponentials, and the plain sum.
template <class T>
void column_statistics(const Dense<const T>& logits, std::int64_t begin, std::int64_t width, double* log_sum_exp,
                       double* total) {
  using A = acc_t<T>;
  A largest[kColumns];
  double exponentials[kColumns] = {};
  std::fill_n(largest, width, -std::numeric_limits<A>::infinity());
  std::fill_n(total, width, 0.0);
  for (std::int64_t c = 0; c < logits.rows; ++c) {
    const T* row = logits.data + c * logits.ld + begin;
    for (std::int64_t j = 0; j < width; ++j) {
      largest[j] = row[j] > largest[j] ? row[j] : largest[j];
      total[j] += static_cast<double>(row[j]);
    }
  }
  // An infinite maximum would turn into inf - inf; shifting by 0 gives the right infinity instead.
  for (std::int64_t j = 0; j < width; ++j) largest[j] = std::isinf(largest[j]) ? A(0) : largest[j];
  for (std::int64_t c = 0; c < logits.rows; ++c) {
    const T* row = logits.data + c * logits.ld + begin;
    for (std::int64_t j = 0; j < width; ++j) exponentials[j] += static_cast<double>(std::exp(row[j] - largest[j]));
  }
  for (std::int64_t j = 0; j < width; ++j) {
    log_sum_exp[j] = static_cast<double>(largest[j]) + std::log(exponentials[j]);
  }
}

}  // namespace

template <class T>
void cross_entropy(CpuStream, const Dense<const T>& logits, const std::int32_t* targets, double label_smoothing,
                   acc_t<T>* loss, const CrossEntropySaved<acc_t<T>>& saved, acc_t<T>* scratch) {
  const std::int64_t n = logits.cols;
  const double classes = static_cast<double>(logits.rows);
#pragma omp parallel for schedule(static) if (logits.rows * n >= kParallelFrom)
  for (std::int64_t block = 0; block < blocks_of(n); ++block) {
    const std::int64_t begin = block * kColumns, width = std::min(kColumns, n - begin);
    double log_sum_exp[kColumns], total[kColumns];
    column_statistics(logits, begin, width, log_sum_exp, total);
    for (std::int64_t j = 0; j < width; ++j) {
      const std::int32_t target = targets[begin + j];
      saved.log_sum_exp[begin + j] = static_cast<acc_t<T>>(log_sum_exp[j]);
      double value = 0;
      if (target >= logits.rows) {
        value = std::numeric_limits<double>::quiet_NaN();
      } else if (target >= 0) {
        value = log_sum_exp[j] - (1 - label_smoothing) * logits.data[target * logits.ld + begin + j];
        if (label_smoothing > 0) value -= label_smoothing / classes * total[j];
      }
      scratch[begin + j] = static_cast<acc_t<T>>(value);
    }
  }
  double sum = 0, count = 0;
  for (std::int64_t j = 0; j < n; ++j) {
    if (targets[j] < 0) continue;
    sum += static_cast<double>(scratch[j]);
    count += 1;
  }
  saved.count[0] = static_cast<acc_t<T>>(count);
  loss[0] = static_cast<acc_t<T>>(sum / count);
}

template <class T>
void cross_entropy_gradient(CpuStream, const Dense<const T>& logits, const std::int32_t* targets,
                            double label_smoothing, const acc_t<T>* dloss,
                            const CrossEntropySaved<const acc_t<T>>& saved, const Dense<T>& dlogits) {
  const std::int64_t n = logits.cols;
  using A = acc_t<T>;
  const A factor = dloss[0] / saved.count[0];
  const A uniform = static_cast<A>(label_smoothing / static_cast<double>(logits.rows));
  const A on_target = static_cast<A>(1 - label_smoothing);
#pragma omp parallel for schedule(static) if (logits.rows * n >= kParallelFrom)
  for (std::int64_t c = 0; c < logits.rows; ++c) {
    const T* row = logits.data + c * logits.ld;
    T* out = dlogits.data + c * dlogits.ld;
    for (std::int64_t j = 0; j < n; ++j) {
      const A softmax = std::exp(row[j] - saved.log_sum_exp[j]);
      const A difference = softmax - (targets[j] == c ? on_target : A(0)) - uniform;
      out[j] = targets[j] < 0 ? T(0) : static_cast<T>(factor * difference);
    }
  }
}

template <class T>
void count_correct(CpuStream, const Dense<const T>& logits, const std::int32_t* targets, float* correct,
                   float* scratch) {
  const std::int64_t n = logits.cols;
#pragma omp parallel for schedule(static) if (logits.rows * n >= kParallelFrom)
  for (std::int64_t block = 0; block < blocks_of(n); ++block) {
    const std::int64_t begin = block * kColumns, width = std::min(kColumns, n - begin);
    acc_t<T> largest[kColumns];
    std::int64_t index[kColumns];
    std::fill_n(largest, width, -std::numeric_limits<acc_t<T>>::infinity());
    std::fill_n(index, width, 0);
    for (std::int64_t c = 0; c < logits.rows; ++c) {
      const T* row = logits.data + c * logits.ld + begin;
      for (std::int64_t j = 0; j < width; ++j) {
        if (row[j] > largest[j]) largest[j] = row[j], index[j] = c;
      }
    }
    for (std::int64_t j = 0; j < width; ++j) {
      scratch[begin + j] = targets[begin + j] >= 0 && index[j] == targets[begin + j] ? 1.0f : 0.0f;
    }
  }
  double total = 0;
  for (std::int64_t j = 0; j < n; ++j) total += static_cast<double>(scratch[j]);
  correct[0] = static_cast<float>(total);
}

#define LACUNA_INSTANTIATE(T)                                                                                          \
  template void cross_entropy<T>(CpuStream, const Dense<const T>&, const std::int32_t*, double, acc_t<T>*,             \
                                 const CrossEntropySaved<acc_t<T>>&, acc_t<T>*);                                       \
  template void cross_entropy_gradient<T>(CpuStream, const Dense<const T>&, const std::int32_t*, double,               \
                                          const acc_t<T>*, const CrossEntropySaved<const acc_t<T>>&, const Dense<T>&); \
  template void count_correct<T>(CpuStream, const Dense<const T>&, const std::int32_t*, float*, float*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
