#include "layers/attention_patterns.h"

#include <algorithm>
#include <cmath>
#include <limits>

#include <fmt/format.h>

#include "core/errors.h"
#include "kernels/random/philox.h"
#include "layers/shapes.h"

namespace lacuna {

namespace {

constexpr std::int64_t kMaxIndex = std::numeric_limits<std::int32_t>::max();

/// Collects rows in order.
class CsrBuilder {
 public:
  CsrBuilder(const char* where, std::int64_t t, double expected_entries) : where_(where), t_(t) {
    // Refused before the vector is filled: a full triangle of 65,536 tokens would take 8 GiB.
    if (t > kMaxIndex || expected_entries > static_cast<double>(kMaxIndex)) {
      throw IndexError(
          where, fmt::format("a pattern of {} x {} with about {:.0f} entries; at most {} fit 32-bit indices", t, t,
                             expected_entries, kMaxIndex));
    }
    offsets_.reserve(static_cast<std::size_t>(t) + 1);
    offsets_.push_back(0);
    columns_.reserve(static_cast<std::size_t>(expected_entries * 1.01) + 64);
  }
  void push(std::int64_t column) { columns_.push_back(static_cast<std::int32_t>(column)); }
  void push_range(std::int64_t begin, std::int64_t end) {
    for (std::int64_t j = begin; j < end; ++j) push(j);
  }
  /// Turns the entries pushed since `mark` around: distances ascend as columns descend.
  void reverse_from(std::size_t mark) {
    std::reverse(columns_.begin() + static_cast<std::ptrdiff_t>(mark), columns_.end());
  }
  std::size_t mark() const { return columns_.size(); }
  void end_row() {
    if (columns_.size() > static_cast<std::size_t>(kMaxIndex)) {
      throw IndexError(where_, fmt::format("more than {} entries", kMaxIndex));
    }
    offsets_.push_back(static_cast<std::int32_t>(columns_.size()));
  }
  TopologyPtr finish() {
    const auto nnz = static_cast<std::int64_t>(columns_.size());
    return Topology::from_csr(t_, t_, Tensor::from(offsets_, {t_ + 1}), Tensor::from(columns_, {nnz}));
  }

 private:
  const char* where_;
  std::int64_t t_;
  std::vector<std::int32_t> offsets_;
  std::vector<std::int32_t> columns_;
};

/// Entries with distance < band.
double band_entries(std::int64_t t, std::int64_t band) {
  const double width = static_cast<double>(std::min(t, band));
  return width * static_cast<double>(t) - width * (width - 1) / 2;
}

/// Exponential draws, one per call, from the words of a key in turn.
class Exponentials {
 public:
  explicit Exponentials(RandomKey key) : key_(key) {}
  double next() {
    if (at_ == 4) {
      block_ = philox(key_.seed, key_.sequence, counter_++);
      at_ = 0;
    }
    return -std::log1p(-static_cast<double>(uniform_from_word(block_.v[at_++])));
  }

 private:
  RandomKey key_;
  std::uint64_t counter_ = 0;
  Philox4 block_{};
  int at_ = 4;
};

/// hazard[d]: sum of -log(1 - p(e)) over band <= e < d, so that no distance in [a, b) is drawn with probability
/// exp(hazard[a] - hazard[b]).
std::vector<double> cumulative_hazard(std::int64_t t, std::int64_t band, double c) {
  // A sure draw would be infinite, and infinities do not subtract; the largest exponential drawn is log(2^24) = 16.6.
  constexpr double kSure = 64;
  std::vector<double> hazard(static_cast<std::size_t>(t) + 1, 0.0);
  for (std::int64_t d = band; d < t; ++d) {
    const double p = c / static_cast<double>(d);
    const auto i = static_cast<std::size_t>(d);
    hazard[i + 1] = hazard[i] + (p < 1 ? std::min(kSure, -std::log1p(-p)) : kSure);
  }
  return hazard;
}

}  // namespace

TopologyPtr causal_band(std::int64_t t, std::int64_t band) {
  require_positive("causal_band", "t", t);
  require_positive("causal_band", "band", band);
  CsrBuilder builder("causal_band", t, band_entries(t, band));
  for (std::int64_t i = 0; i < t; ++i) {
    builder.push_range(std::max<std::int64_t>(0, i - band + 1), i + 1);
    builder.end_row();
  }
  return builder.finish();
}

TopologyPtr full_causal(std::int64_t t) { return causal_band(t, t); }

double random_attention_scale(std::int64_t t, std::int64_t band, double off_band_sparsity) {
  if (!(off_band_sparsity >= 0 && off_band_sparsity <= 1)) {
    throw ValueError("band_and_random", fmt::format("off_band_sparsity is {}; must be in [0, 1]", off_band_sparsity));
  }
  double pairs = 0;
  for (std::int64_t d = band; d < t; ++d) pairs += static_cast<double>(t - d);
  double wanted = pairs * (1 - off_band_sparsity);
  if (wanted == 0) return 0;
  // Sum over d of (t - d) min(1, c / d) = wanted. Distances up to c are certain; they grow from the band outwards until
  // c fits the rest.
  double rest = 0;
  for (std::int64_t d = band; d < t; ++d) rest += static_cast<double>(t - d) / static_cast<double>(d);
  for (std::int64_t d = band; d < t; ++d) {
    const double c = wanted / rest;
    if (c <= static_cast<double>(d)) return c;
    wanted -= static_cast<double>(t - d);
    rest -= static_cast<double>(t - d) / static_cast<double>(d);
    if (wanted <= 0) return static_cast<double>(d);
  }
  return static_cast<double>(t);  // off_band_sparsity 0: everything
}

TopologyPtr band_and_random(std::int64_t t, std::int64_t band, double off_band_sparsity, RandomKey key) {
  require_positive("band_and_random", "t", t);
  require_positive("band_and_random", "band", band);
  const double c = random_attention_scale(t, band, off_band_sparsity);
  const double off_band = 0.5 * static_cast<double>(t) * static_cast<double>(t + 1) - band_entries(t, band);
  CsrBuilder builder("band_and_random", t, band_entries(t, band) + off_band * (1 - off_band_sparsity));
  const std::vector<double> hazard = cumulative_hazard(t, band, c);
  Exponentials draw(key);
  for (std::int64_t i = 0; i < t; ++i) {
    // Jump from one drawn distance to the next: the first d whose hazard passes the exponential drawn.
    const std::size_t mark = builder.mark();
    std::int64_t d = std::min(band, i + 1);
    while (c > 0 && d <= i) {
      const double target = hazard[static_cast<std::size_t>(d)] + draw.next();
      // hazard[d + 1] > target, searched over the distances of this row: d .. i.
      const auto first = hazard.begin() + d + 1;
      const auto last = hazard.begin() + i + 2;
      const auto found = std::upper_bound(first, last, target);
      if (found == last) break;
      d = found - hazard.begin() - 1;
      builder.push(i - d);
      ++d;
    }
    builder.reverse_from(mark);
    builder.push_range(std::max<std::int64_t>(0, i - band + 1), i + 1);
    builder.end_row();
  }
  return builder.finish();
}

TopologyPtr strided(std::int64_t t, std::int64_t stride, std::int64_t band) {
  require_positive("strided", "t", t);
  require_positive("strided", "stride", stride);
  require_positive("strided", "band", band);
  const double expected =
      band_entries(t, band) + 0.5 * static_cast<double>(t) * static_cast<double>(t) / static_cast<double>(stride);
  CsrBuilder builder("strided", t, expected);
  for (std::int64_t i = 0; i < t; ++i) {
    const std::int64_t band_begin = std::max<std::int64_t>(0, i - band + 1);
    for (std::int64_t j = i % stride; j < band_begin; j += stride) builder.push(j);
    builder.push_range(band_begin, i + 1);
    builder.end_row();
  }
  return builder.finish();
}

AttentionPatterns::AttentionPatterns(std::vector<TopologyPtr> patterns) : topologies_(std::move(patterns)) {
  if (topologies_.empty()) throw ValueError("attention", "no pattern; one for all heads or one per head must be given");
  for (const TopologyPtr& pattern : topologies_) {
    if (pattern->rows() != pattern->cols() || pattern->rows() != topologies_.front()->rows()) {
      throw ValueError("attention", fmt::format("patterns of {} x {} beside {} x {}; all must be square, of one size",
                                                pattern->rows(), pattern->cols(), topologies_.front()->rows(),
                                                topologies_.front()->cols()));
    }
  }
}

std::int64_t AttentionPatterns::entries(std::int64_t heads) const {
  if (topologies_.size() == 1) return heads * topologies_.front()->nnz();
  std::int64_t sum = 0;
  for (const TopologyPtr& pattern : topologies_) sum += pattern->nnz();
  return sum;
}

void AttentionPatterns::to(Device device) {
  for (TopologyPtr& pattern : topologies_) pattern = pattern->to(device);
}

}  // namespace lacuna
