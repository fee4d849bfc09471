#include "app/bench/patterns.h"

#include <fmt/format.h>

#include <algorithm>
#include <bit>
#include <charconv>
#include <cmath>
#include <numbers>
#include <numeric>

#include "app/bench/statistics.h"
#include "core/errors.h"
#include "core/random.h"

namespace lacuna::bench {

namespace {

// Sequences of the seed, so that lengths, the order of rows and columns are drawn independently.
enum Sequence : std::uint64_t { kLengths = 1, kOrder = 2, kColumns = 1ull << 32 };

double standard_normal(std::uint64_t seed, std::uint64_t index) {
  const Philox4 block = random_block({seed, kLengths}, index);
  const double u = (block.v[0] + 1.0) / 4294967296.0;
  return std::sqrt(-2 * std::log(u)) * std::cos(2 * std::numbers::pi * (block.v[1] / 4294967296.0));
}

std::vector<double> row_weights(const PatternSpec& spec, std::int64_t m, std::int64_t k, double sparsity,
                                std::uint64_t seed) {
  std::vector<double> weights(static_cast<std::size_t>(m), 1.0);
  const double share = 1 - sparsity, mean = share * static_cast<double>(k);
  if (spec.kind == PatternKind::uniform) {  // the binomial by its normal approximation
    const double deviation = std::sqrt(mean * sparsity);
    for (std::size_t r = 0; r < weights.size(); ++r)
      weights[r] = std::max(0.0, mean + deviation * standard_normal(seed, r));
  } else if (spec.kind == PatternKind::cov) {  // log-normal: never negative, CoV^2 = exp(sigma^2) - 1
    const double sigma = std::sqrt(std::log1p(spec.parameter * spec.parameter));
    for (std::size_t r = 0; r < weights.size(); ++r) weights[r] = std::exp(sigma * standard_normal(seed, r));
  } else if (spec.kind == PatternKind::power_law) {
    const std::vector<std::int64_t> rank = random_permutation(m, {seed, kOrder});
    for (std::size_t r = 0; r < weights.size(); ++r)
      weights[r] = std::pow(static_cast<double>(rank[r] + 1), -spec.parameter);
  }
  if (std::accumulate(weights.begin(), weights.end(), 0.0) <= 0) std::fill(weights.begin(), weights.end(), 1.0);
  return weights;
}

/// `count` different columns of [0, k), ascending, to out. Draws into a bitmap (`bits`, zeros, left as zeros) until
/// enough are set; the rarer of set and unset bits is what is drawn.
void draw_columns(std::int64_t k, std::int64_t count, RandomKey key, std::vector<std::uint64_t>& bits,
                  std::int32_t* out) {
  const bool invert = 2 * count > k;
  const std::int64_t wanted = invert ? k - count : count;
  std::uint64_t index = 0;
  Philox4 block{};
  for (std::int64_t drawn = 0; drawn < wanted;) {
    if (index % 4 == 0) block = random_block(key, index / 4);
    const std::uint64_t column = (static_cast<std::uint64_t>(block.v[index % 4]) * static_cast<std::uint64_t>(k)) >> 32;
    ++index;
    std::uint64_t& word = bits[column / 64];
    const std::uint64_t bit = 1ull << (column % 64);
    drawn += (word & bit) == 0;
    word |= bit;
  }
  for (std::size_t w = 0; w < bits.size(); ++w) {
    const std::int64_t first = static_cast<std::int64_t>(w) * 64;
    std::uint64_t word = invert ? ~bits[w] : bits[w];
    if (k - first < 64) word &= (1ull << (k - first)) - 1;
    bits[w] = 0;
    for (; word != 0; word &= word - 1) *out++ = static_cast<std::int32_t>(first + std::countr_zero(word));
  }
}

}  // namespace

PatternSpec parse_pattern(const std::string& text) {
  const std::size_t colon = text.find(':');
  const std::string kind = text.substr(0, colon);
  const bool has_parameter = colon != std::string::npos;
  PatternSpec spec;
  if (kind == "uniform")
    spec = {PatternKind::uniform, 0};
  else if (kind == "cov")
    spec = {PatternKind::cov, 0.3};
  else if (kind == "banded")
    spec = {PatternKind::banded, 0};
  else if (kind == "power_law")
    spec = {PatternKind::power_law, 0.7};
  else
    throw ConfigError("--pattern", fmt::format("'{}'; must be uniform, cov:C, banded, power_law or power_law:E", text));
  if (!has_parameter) return spec;
  const char *begin = text.data() + colon + 1, *end = text.data() + text.size();
  double value = 0;
  const auto [rest, error] = std::from_chars(begin, end, value);
  const bool takes_one = spec.kind == PatternKind::cov || spec.kind == PatternKind::power_law;
  if (!takes_one || error != std::errc{} || rest != end || !(value >= 0 && value <= 10)) {
    throw ConfigError("--pattern", fmt::format("'{}'; {}", text,
                                               takes_one ? "the number after ':' must be from 0 to 10"
                                                         : "this kind takes no number"));
  }
  spec.parameter = value;
  return spec;
}

std::string to_string(const PatternSpec& spec) {
  switch (spec.kind) {
    case PatternKind::uniform:
      return "uniform";
    case PatternKind::cov:
      return fmt::format("cov:{:g}", spec.parameter);
    case PatternKind::banded:
      return "banded";
    case PatternKind::power_law:
      return fmt::format("power_law:{:g}", spec.parameter);
  }
  return "?";
}

std::vector<std::int64_t> proportional_lengths(const std::vector<double>& weights, std::int64_t total,
                                               std::int64_t most) {
  const std::size_t count = weights.size();
  std::vector<std::int64_t> lengths(count, 0);
  if (count == 0) return lengths;
  // The factor f with sum(min(f * weight, most)) = total, by bisection; rows at the limit leave the rest to the others.
  double low = 0, high = 1;
  const auto sum_at = [&](double f) {
    double sum = 0;
    for (const double w : weights) sum += std::min(f * w, static_cast<double>(most));
    return sum;
  };
  for (int i = 0; i < 200 && sum_at(high) < static_cast<double>(total); ++i) high *= 2;
  for (int i = 0; i < 100; ++i) {
    const double middle = (low + high) / 2;
    (sum_at(middle) < static_cast<double>(total) ? low : high) = middle;
  }
  // Rounded down, then one more where the remainder is largest, ties by index.
  std::vector<std::pair<double, std::size_t>> remainders;
  std::int64_t left = total;
  for (std::size_t r = 0; r < count; ++r) {
    const double exact = std::min(low * weights[r], static_cast<double>(most));
    lengths[r] = static_cast<std::int64_t>(exact);
    left -= lengths[r];
    remainders.emplace_back(static_cast<double>(lengths[r]) - exact, r);
  }
  std::sort(remainders.begin(), remainders.end());
  for (std::size_t i = 0; left > 0; i = (i + 1) % count) {
    std::int64_t& length = lengths[remainders[i].second];
    if (length < most) ++length, --left;
  }
  return lengths;
}

TopologyPtr generate_pattern(const PatternSpec& spec, std::int64_t m, std::int64_t k, double sparsity,
                             std::uint64_t seed) {
  if (m < 0 || k < 0 || !(sparsity >= 0 && sparsity <= 1)) {
    throw ValueError("pattern", fmt::format("{} x {} at sparsity {}; sizes must not be negative, sparsity in [0, 1]", m,
                                            k, sparsity));
  }
  const double exact = (1 - sparsity) * static_cast<double>(m) * static_cast<double>(k);
  if (exact > INT32_MAX) {
    throw ValueError("pattern", fmt::format("{} x {} at sparsity {} has {:.3g} entries; must be at most 2^31 - 1", m, k,
                                            sparsity, exact));
  }
  std::vector<std::int64_t> lengths;
  if (spec.kind == PatternKind::banded) {
    lengths.assign(static_cast<std::size_t>(m), std::llround((1 - sparsity) * static_cast<double>(k)));
  } else {
    lengths = proportional_lengths(row_weights(spec, m, k, sparsity, seed), std::llround(exact), k);
  }
  Tensor offsets = Tensor::empty({m + 1}, DType::i32);
  std::int32_t* begin = offsets.data<std::int32_t>();
  begin[0] = 0;
  for (std::int64_t r = 0; r < m; ++r)
    begin[r + 1] = static_cast<std::int32_t>(begin[r] + lengths[static_cast<std::size_t>(r)]);
  const std::int64_t nnz = begin[m];
  Tensor columns = Tensor::empty({nnz}, DType::i32);
  std::int32_t* out = columns.data<std::int32_t>();
#pragma omp parallel if (nnz > 100000)
  {
    std::vector<std::uint64_t> bits(static_cast<std::size_t>(k / 64 + 1), 0);
#pragma omp for schedule(dynamic, 64)
    for (std::int64_t r = 0; r < m; ++r) {
      const std::int64_t count = begin[r + 1] - begin[r];
      if (spec.kind == PatternKind::banded) {
        const double centre = (static_cast<double>(r) + 0.5) * static_cast<double>(k) / static_cast<double>(m);
        const std::int64_t first =
            std::clamp(static_cast<std::int64_t>(centre - static_cast<double>(count) / 2), std::int64_t{0}, k - count);
        std::iota(out + begin[r], out + begin[r + 1], static_cast<std::int32_t>(first));
      } else {
        draw_columns(k, count, {seed, kColumns + static_cast<std::uint64_t>(r)}, bits, out + begin[r]);
      }
    }
  }
  return Topology::from_csr(m, k, offsets, columns);
}

double row_length_cov(const Topology& topology) {
  const Tensor offsets = topology.row_offsets().to(kCpu);
  const std::int32_t* begin = offsets.data<std::int32_t>();
  std::vector<double> lengths;
  for (std::int64_t r = 0; r < topology.rows(); ++r) lengths.push_back(static_cast<double>(begin[r + 1] - begin[r]));
  return coefficient_of_variation(lengths);
}

}  // namespace lacuna::bench
