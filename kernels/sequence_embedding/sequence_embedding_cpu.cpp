#include <algorithm>

#include "kernels/common/parallel.h"
#include "kernels/sequence_embedding/sequence_embedding.h"

namespace lacuna::kernels {
namespace {

constexpr std::int64_t kFeatures = 16;  // features per task: one cache line of a table row
constexpr std::int64_t kColumns = 256;  // whose random words lie on the stack at a time

/// Words of columns [begin, end) of up to kFeatures rows; unset when nothing is dropped.
struct Words {
  std::uint32_t of[kFeatures][kColumns];
  Words(const DropoutRule& rule, std::int64_t feature, std::int64_t rows, std::int64_t n, std::int64_t begin,
        std::int64_t end) {
    if (!rule.active()) return;
    for (std::int64_t f = 0; f < rows; ++f) dropout_words(rule, (feature + f) * n + begin, end - begin, of[f]);
  }
};

/// visit(first feature, features, columns' begin and end, words): tasks own features and take the columns in order.
template <class F>
void for_tiles(std::int64_t d, std::int64_t n, const DropoutRule& rule, F&& visit) {
  const std::int64_t tasks = (d + kFeatures - 1) / kFeatures;
#pragma omp parallel for schedule(static) if (worth_threads(d * n))
  for (std::int64_t task = 0; task < tasks; ++task) {
    const std::int64_t feature = task * kFeatures, rows = std::min(kFeatures, d - feature);
    for (std::int64_t begin = 0; begin < n; begin += kColumns) {
      const std::int64_t end = std::min(begin + kColumns, n);
      visit(feature, rows, begin, end, Words(rule, feature, rows, n, begin, end));
    }
  }
}

}  // namespace

template <class T>
void sequence_embedding(CpuStream, const SequenceEmbedding<T>& c) {
  using A = wide_t<T>;
  const A keep_scale = static_cast<A>(c.dropout.keep_scale);
  for_tiles(c.d, c.n, c.dropout,
            [&](std::int64_t feature, std::int64_t rows, std::int64_t begin, std::int64_t end, const Words& words) {
              for (std::int64_t j = begin; j < end; ++j) {
                const std::int64_t token = c.tokens[j];
                const bool valid = token >= 0 && token < c.vocab;
                const A* entries = valid ? c.table + token * c.d + feature : nullptr;
                const A* position = c.positions + j % c.length * c.d + feature;
                for (std::int64_t f = 0; f < rows; ++f) {
                  const T entry = valid ? static_cast<T>(entries[f]) : T(0);
                  T sum = static_cast<T>(static_cast<A>(entry) + static_cast<A>(static_cast<T>(position[f])));
                  if (c.dropout.active())
                    sum = static_cast<T>(
                        keep_or_drop(static_cast<A>(sum), words.of[f][j - begin], c.dropout.threshold, keep_scale));
                  c.out[(feature + f) * c.n + j] = sum;
                }
              }
            });
}

template <class T>
void sequence_embedding_gradient(CpuStream, const SequenceEmbeddingGradient<T>& c) {
  using A = wide_t<T>;
  const A keep_scale = static_cast<A>(c.dropout.keep_scale);
  std::fill(c.dpositions, c.dpositions + c.length * c.d, A(0));
  for_tiles(c.d, c.n, c.dropout,
            [&](std::int64_t feature, std::int64_t rows, std::int64_t begin, std::int64_t end, const Words& words) {
              for (std::int64_t j = begin; j < end; ++j) {
                A* position = c.dpositions + j % c.length * c.d + feature;
                for (std::int64_t f = 0; f < rows; ++f) {
                  const std::int64_t at = (feature + f) * c.n + j;
                  T kept = c.dout[at];
                  if (c.dropout.active())
                    kept = static_cast<T>(
                        keep_or_drop(static_cast<A>(kept), words.of[f][j - begin], c.dropout.threshold, keep_scale));
                  if (c.dsum != nullptr) c.dsum[at] = kept;
                  position[f] += kept;
                }
              }
            });
}

template <class T>
void one_hot(CpuStream, const std::int32_t* tokens, std::int64_t vocab, std::int64_t n, T* out) {
  std::fill(out, out + vocab * n, T(0));
  for (std::int64_t j = 0; j < n; ++j)
    if (tokens[j] >= 0 && tokens[j] < vocab) out[tokens[j] * n + j] = T(1);
}

#define LACUNA_INSTANTIATE(T)                                                                   \
  template void sequence_embedding<T>(CpuStream, const SequenceEmbedding<T>&);                  \
  template void sequence_embedding_gradient<T>(CpuStream, const SequenceEmbeddingGradient<T>&); \
  template void one_hot<T>(CpuStream, const std::int32_t*, std::int64_t, std::int64_t, T*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
LACUNA_INSTANTIATE(Bf16)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
