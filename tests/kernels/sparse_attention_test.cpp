// Fused sparse attention against f64 loops: every element type and precision, the hard shapes, dropout, equal bits on a
// second run. All on CUDA: skipped, visibly, without a device.
#include "kernels/sparse_attention/sparse_attention.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <cstring>
#include <limits>
#include <random>
#include <vector>

#include "core/device.h"
#include "core/tensor.h"
#include "kernels/dropout/pattern_dropout.h"
#include "tests/kernels/sparse_attention_plans.h"

namespace lacuna::kernels {
namespace {

#if LACUNA_HAS_CUDA

enum class Mode { bf16, tf32, f32 };

struct Case {
  std::vector<Pattern> patterns;  // one, or one per head
  std::int64_t heads = 1;
  std::int64_t batch = 1;
  std::int64_t d = 64;
  double scale = 0.125;
  bool causal = false;
  double dropout_p = 0;
  std::int64_t shift = 0;  // elements by which the matrices are misaligned
};

constexpr std::uint64_t kSeed = 77, kSequence = 5;

struct Expected {
  std::vector<double> out, dq, dk, dv, lse;
  // What dq and dk would measure if nothing cancelled in the scores' gradient P * (dP - D): every entry P * (|dP| + |D|),
  // signs at random. Where rows are short dP - D is small beside its terms, and their rounding is measured against this.
  double dq_terms = 0, dk_terms = 0;
};

Expected naive(const Case& c, const std::vector<float> (&in)[4]) {
  const std::int64_t t = c.patterns[0].t, d = c.d, matrices = c.heads * c.batch;
  const auto n = static_cast<std::size_t>(matrices * t * d);
  Expected e{std::vector<double>(n), std::vector<double>(n), std::vector<double>(n), std::vector<double>(n),
             std::vector<double>(static_cast<std::size_t>(matrices * t), std::numeric_limits<double>::infinity())};
  const std::uint32_t threshold = dropout_threshold(c.dropout_p);
  for (std::int64_t x = 0; x < matrices; ++x) {
    const Pattern& p = c.patterns[c.patterns.size() == 1 ? 0 : static_cast<std::size_t>(x / c.batch)];
    const auto at = [&](std::int64_t row) { return static_cast<std::size_t>((x * t + row) * d); };
    for (std::int64_t i = 0; i < t; ++i) {
      const std::int64_t begin = p.offsets[static_cast<std::size_t>(i)],
                         end = p.offsets[static_cast<std::size_t>(i) + 1];
      const auto count = static_cast<std::size_t>(end - begin);
      std::vector<double> prob(count), dp(count), keep(count, 1);
      double most = -std::numeric_limits<double>::infinity(), sum = 0, mean = 0;
      for (std::size_t e2 = 0; e2 < count; ++e2) {
        const std::int64_t j = p.columns[static_cast<std::size_t>(begin) + e2];
        for (std::int64_t f = 0; f < d; ++f) {
          const auto u = static_cast<std::size_t>(f);
          prob[e2] += c.scale * in[0][at(i) + u] * in[1][at(j) + u];
          dp[e2] += static_cast<double>(in[3][at(i) + u]) * in[2][at(j) + u];
        }
        if (c.dropout_p > 0) {
          const RowKey key = dropout_row_key(kSeed, kSequence, x, t, i);
          const bool dropped = is_dropped(key, dropout_column_word(static_cast<std::uint32_t>(j)), threshold);
          keep[e2] = dropped ? 0 : 1 / (1 - c.dropout_p);
        }
        most = std::max(most, prob[e2]);
      }
      for (double& v : prob) sum += v = std::exp(v - most);
      if (count) e.lse[static_cast<std::size_t>(x * t + i)] = most + std::log(sum);
      for (std::size_t e2 = 0; e2 < count; ++e2) mean += (prob[e2] /= sum) * (dp[e2] *= keep[e2]);
      for (std::size_t e2 = 0; e2 < count; ++e2) {
        const std::int64_t j = p.columns[static_cast<std::size_t>(begin) + e2];
        const double ds = c.scale * prob[e2] * (dp[e2] - mean), kept = prob[e2] * keep[e2];
        const double terms = c.scale * prob[e2] * (std::abs(dp[e2]) + std::abs(mean));
        for (std::size_t f = 0; f < static_cast<std::size_t>(d); ++f) {
          e.out[at(i) + f] += kept * in[2][at(j) + f];
          e.dq[at(i) + f] += ds * in[1][at(j) + f];
          e.dk[at(j) + f] += ds * in[0][at(i) + f];
          e.dv[at(j) + f] += kept * in[3][at(i) + f];
          e.dq_terms += std::pow(terms * in[1][at(j) + f], 2);
          e.dk_terms += std::pow(terms * in[0][at(i) + f], 2);
        }
      }
    }
  }
  e.dq_terms = std::sqrt(e.dq_terms);
  e.dk_terms = std::sqrt(e.dk_terms);
  return e;
}

template <class T>
T stored(float x) {
  if constexpr (sizeof(T) == 2)
    return to_bf16(x);
  else
    return x;
}
float read(float x) { return x; }
float read(Bf16 x) { return to_float(x); }

/// Device memory for count elements, NaN all over, of which the matrix starts `shift` elements in.
template <class T>
struct Matrix {
  Tensor bytes;
  T* data = nullptr;
  std::size_t count = 0;
  Matrix(Device device, std::size_t n, std::int64_t shift) : count(n) {
    bytes = Tensor::from(std::vector<std::uint8_t>((n + 32) * sizeof(T), 0xff),
                         {static_cast<std::int64_t>((n + 32) * sizeof(T))})
                .to(device);
    data = static_cast<T*>(bytes.raw()) + shift;
  }
  std::vector<T> host() const {
    const std::vector<std::uint8_t> all = bytes.to_vector<std::uint8_t>();
    std::vector<T> out(count);
    std::memcpy(out.data(), all.data() + (reinterpret_cast<const char*>(data) - static_cast<const char*>(bytes.raw())),
                count * sizeof(T));
    return out;
  }
  void fill(const std::vector<T>& values) {
    std::vector<std::uint8_t> all(bytes.nbytes(), 0xff);
    std::memcpy(all.data() + (reinterpret_cast<const char*>(data) - static_cast<const char*>(bytes.raw())),
                values.data(), count * sizeof(T));
    bytes.copy_from(Tensor::from(all, bytes.shape()));
  }
};

double norm(const std::vector<double>& x) {
  double sum = 0;
  for (const double v : x) sum += v * v;
  return std::sqrt(sum);
}

/// ||got - want|| / max(||want||, floor).
template <class T>
double error(const std::vector<T>& got, const std::vector<double>& want, double floor) {
  double wrong = 0;
  for (std::size_t i = 0; i < got.size(); ++i) {
    const double difference = static_cast<double>(read(got[i])) - want[i];
    wrong += difference * difference;  // NaN stays
  }
  const double size = std::max(norm(want), floor);
  return size > 0 ? std::sqrt(wrong) / size : std::sqrt(wrong);
}

/// Rows of tokens: `parts` operands of all heads side by side, [sequences * t, parts, heads, d], with a gap between rows.
struct TokenRows {
  std::int64_t heads, sequences, t, d, parts, gap;
  std::int64_t row() const { return parts * heads * d + gap; }
  AttentionLayout layout() const { return {row(), d, t * row()}; }
  std::size_t size() const { return static_cast<std::size_t>(sequences * t * row()); }
  /// Calls f(place here, place in [heads * sequences, t, d]) for the rows of d elements of part `part`.
  template <class F>
  void each_row(std::int64_t part, F&& f) const {
    for (std::int64_t x = 0; x < heads * sequences; ++x)
      for (std::int64_t i = 0; i < t; ++i)
        f((x % sequences * t + i) * row() + (part * heads + x / sequences) * d, (x * t + i) * d);
  }
  template <class T>
  void put(std::vector<T>& to, std::int64_t part, const std::vector<T>& from) const {
    each_row(part,
             [&](std::int64_t here, std::int64_t there) { std::copy_n(from.begin() + there, d, to.begin() + here); });
  }
  template <class T>
  std::vector<T> get(const std::vector<T>& from, std::int64_t part) const {
    std::vector<T> to(static_cast<std::size_t>(heads * sequences * t * d));
    each_row(part,
             [&](std::int64_t here, std::int64_t there) { std::copy_n(from.begin() + here, d, to.begin() + there); });
    return to;
  }
};

/// The same from and to rows of tokens: the bits of `want` (out, dq, dk, dv).
template <class T>
void run_on_token_rows(CudaStream stream, Device device, AttentionProblem problem, std::int64_t sequences,
                       std::int64_t shift, const std::vector<PanelPlan>& rows, const std::vector<PanelPlan>& columns,
                       std::vector<Matrix<T>>& given, const std::vector<T> (&want)[4]) {
  const TokenRows three{problem.matrices / sequences, sequences, problem.t, problem.d, 3, shift};
  const TokenRows one{three.heads, sequences, problem.t, problem.d, 1, shift};
  problem.sequences = sequences, problem.in = three.layout(), problem.out = one.layout();
  const std::int64_t part = three.heads * three.d;
  Matrix<T> qkv(device, three.size(), shift), gradients(device, three.size(), shift), out(device, one.size(), shift),
      dout(device, one.size(), shift);
  std::vector<T> host(three.size());
  for (int i = 0; i < 3; ++i) three.put(host, i, given[static_cast<std::size_t>(i)].host());
  qkv.fill(host);
  host.resize(one.size());
  one.put(host, 0, given[3].host());
  dout.fill(host);
  Matrix<float> lse(device, static_cast<std::size_t>(problem.matrices * problem.t), 0);
  const Tensor scratch =
      Tensor::empty({static_cast<std::int64_t>(sparse_attention_backward_scratch_bytes<T>(stream, problem, columns))},
                    DType::u8, device);
  sparse_attention_forward<T>(stream, problem, rows, qkv.data, qkv.data + part, qkv.data + 2 * part, out.data,
                              lse.data);
  sparse_attention_backward<T>(stream, problem, rows, columns, qkv.data, qkv.data + part, qkv.data + 2 * part, out.data,
                               lse.data, dout.data, gradients.data, gradients.data + part, gradients.data + 2 * part,
                               scratch.raw());
  const std::vector<T> made = gradients.host();
  const std::vector<T> results[4] = {one.get(out.host(), 0), three.get(made, 0), three.get(made, 1),
                                     three.get(made, 2)};
  for (std::size_t i = 0; i < 4; ++i)
    EXPECT_EQ(std::memcmp(results[i].data(), want[i].data(), want[i].size() * sizeof(T)), 0)
        << "operand " << i << " of token rows";
}

/// cell_tiles: tiles from which on cells are computed whole, 0: none; negative: the columns' plan takes the rows' cells.
template <class T>
void run_case(Mode mode, const Case& c, const char* what, const std::vector<int>& cell_tiles) {
  SCOPED_TRACE(what);
  const Device device{DeviceType::cuda, 0};
  const std::int64_t t = c.patterns[0].t, matrices = c.heads * c.batch;
  const auto n = static_cast<std::size_t>(matrices * t * c.d);
  std::mt19937 generator(static_cast<unsigned>(n));
  std::normal_distribution<float> normal;
  std::vector<float> in[4];
  std::vector<Matrix<T>> given, made;
  for (auto& values : in) {
    std::vector<T> kept(n);
    values.resize(n);
    for (std::size_t i = 0; i < n; ++i) values[i] = read(kept[i] = stored<T>(normal(generator)));
    given.emplace_back(device, n, c.shift).fill(kept);
  }
  const Expected want = naive(c, in);
  CudaStream stream = cuda_stream(device);
  stream.allow_tf32 = mode == Mode::tf32;
  const std::int64_t window = attention_window<T>(c.d);
  for (const int cells_from : cell_tiles) {
    SCOPED_TRACE("cells from " + std::to_string(cells_from) + " tiles on");
    const int min_tiles = std::abs(cells_from);
    std::vector<Plan> kept_plans;
    std::vector<PanelPlan> rows, columns;
    if (!c.causal) {
      for (const Pattern& p : c.patterns) {
        kept_plans.push_back(make_plan(device, p, window, min_tiles));
        rows.push_back(kept_plans.back().view());
        kept_plans.push_back(
            make_plan(device, transpose(p), window, min_tiles, cells_from < 0 ? &rows.back() : nullptr));
        columns.push_back(kept_plans.back().view());
      }
    }
    const AttentionProblem problem{.matrices = matrices,
                                   .matrices_per_pattern = c.patterns.size() == 1 ? matrices : c.batch,
                                   .t = t,
                                   .d = c.d,
                                   .scale = c.scale,
                                   .causal = c.causal,
                                   .dropout_p = c.dropout_p,
                                   .seed = kSeed,
                                   .sequence = kSequence};
    Matrix<float> lse(device, static_cast<std::size_t>(matrices * t), 0);
    const Tensor scratch =
        Tensor::empty({static_cast<std::int64_t>(sparse_attention_backward_scratch_bytes<T>(stream, problem, columns))},
                      DType::u8, device);
    std::vector<T> results[2][4];
    for (auto& result : results) {
      made.clear();
      for (int i = 0; i < 4; ++i) made.emplace_back(device, n, c.shift);
      sparse_attention_forward<T>(stream, problem, rows, given[0].data, given[1].data, given[2].data, made[0].data,
                                  lse.data);
      sparse_attention_backward<T>(stream, problem, rows, columns, given[0].data, given[1].data, given[2].data,
                                   made[0].data, lse.data, given[3].data, made[1].data, made[2].data, made[3].data,
                                   scratch.raw());
      for (std::size_t i = 0; i < 4; ++i) result[i] = made[i].host();
    }
    run_on_token_rows<T>(stream, device, problem, c.batch, c.shift, rows, columns, given, results[0]);
    // Scores of about scale * sqrt(d): their own error grows with them, and so does that of what they weigh.
    const double spread = std::max(1.0, 0.5 * std::abs(c.scale) * std::sqrt(static_cast<double>(c.d)));
    const double tolerance = spread * (mode == Mode::bf16 ? 1.2e-2 : mode == Mode::tf32 ? 3e-3 : 5e-6);
    const std::vector<double>* wanted[4] = {&want.out, &want.dq, &want.dk, &want.dv};
    const char* names[4] = {"out", "dq", "dk", "dv"};
    const double floors[4] = {0, want.dq_terms, want.dk_terms, 0};
    for (std::size_t i = 0; i < 4; ++i) {
      EXPECT_EQ(std::memcmp(results[0][i].data(), results[1][i].data(), n * sizeof(T)), 0)
          << names[i] << " on a second run";
      EXPECT_LT(error(results[0][i], *wanted[i], floors[i]), tolerance) << names[i];
    }
    const std::vector<float> sums = lse.host();
    for (std::size_t i = 0; i < sums.size(); ++i) {
      if (std::isinf(want.lse[i]))
        ASSERT_TRUE(std::isinf(sums[i]) && sums[i] > 0) << "lse of row " << i;
      else
        ASSERT_NEAR(sums[i], want.lse[i], tolerance * (1 + std::abs(want.lse[i]))) << "row " << i;
    }
  }
}

class SparseAttentionOnCuda : public ::testing::TestWithParam<Mode> {
 protected:
  void SetUp() override {
    const std::string reason = cuda_unavailable_reason();
    if (!reason.empty()) GTEST_SKIP() << "no CUDA device: " << reason;
  }
  static void run(const Case& c, const char* what) {
    if (GetParam() == Mode::bf16 && c.d == 128)
      run_case<Bf16>(GetParam(), c, what, c.causal ? std::vector<int>{0} : std::vector<int>{0, 1, 24, -1, -24});
    else if (GetParam() == Mode::bf16)
      run_case<Bf16>(GetParam(), c, what, {0});
    else
      run_case<float>(GetParam(), c, what, {0});
  }
};

TEST_P(SparseAttentionOnCuda, AgreesWithItsDefinition) {
  for (const std::int64_t d : {32, 64, 128}) {
    for (const std::int64_t t : {1, 16, 17, 65, 129, 333}) {
      const double scale = 1 / std::sqrt(static_cast<double>(d));
      run({{random_pattern(t, 0.1, static_cast<unsigned>(t))}, 2, 1, d, scale}, "random");
      run({{causal_pattern(t)}, 1, 2, d, scale, true}, "causal");
    }
  }
}

TEST_P(SparseAttentionOnCuda, TakesHardPatterns) {
  for (const std::int64_t d : {64, 128}) {
    run({{pattern_of(40, [](std::int64_t, std::int64_t) { return false; })}, 1, 1, d}, "empty");
    run({{pattern_of(150, [](std::int64_t, std::int64_t) { return true; })}, 1, 2, d}, "full");
    run({{pattern_of(270, [](std::int64_t i, std::int64_t) { return i == 133; })}, 1, 1, d}, "one full row");
    run({{pattern_of(270, [](std::int64_t, std::int64_t j) { return j == 133; })}, 1, 1, d}, "one full column");
    run({{pattern_of(301, [](std::int64_t i, std::int64_t j) { return i % 3 == 0 && (i * 7 + j * 13) % 11 == 0; })},
         2,
         2,
         d},
        "empty rows");
    run({{band_pattern(500, 40)}, 2, 1, d}, "band");
    run({{pattern_of(400, [](std::int64_t i, std::int64_t j) { return j <= i && j % 4 == i % 4; })}, 1, 1, d},
        "one class of columns");
    run({{random_pattern(257, 0.05, 3), band_pattern(257, 70), random_pattern(257, 0.5, 4)}, 3, 2, d}, "per head");
  }
  std::vector<Pattern> many;
  for (unsigned i = 0; i < 35; ++i) many.push_back(random_pattern(33, 0.3, i));
  run({many, 35, 1, 64, 0.2, false, 0.2}, "more heads than a launch takes patterns");
}

TEST_P(SparseAttentionOnCuda, TakesAnyScaleAndAddress) {
  for (const double scale : {-0.2, 0.0, 1.0}) run({{random_pattern(100, 0.3, 9)}, 1, 1, 64, scale}, "scale");
  for (const std::int64_t shift : {1, 3}) {
    Case c{{random_pattern(130, 0.2, 9)}, 2, 1, 128, 0.1};
    c.shift = shift;
    run(c, "misaligned");
    c.causal = true;
    c.patterns = {causal_pattern(130)};
    run(c, "misaligned, causal");
  }
}

TEST_P(SparseAttentionOnCuda, DropsTheSameForwardAndBackward) {
  for (const std::int64_t d : {64, 128}) {
    run({{random_pattern(260, 0.2, 9)}, 2, 2, d, 0.1, false, 0.3}, "dropout");
    run({{causal_pattern(260)}, 2, 1, d, 0.1, true, 0.1}, "dropout, causal");
  }
}

INSTANTIATE_TEST_SUITE_P(Modes, SparseAttentionOnCuda, ::testing::Values(Mode::bf16, Mode::tf32, Mode::f32),
                         [](const auto& tested) {
                           return tested.param == Mode::bf16 ? "Bf16" : tested.param == Mode::tf32 ? "Tf32" : "F32";
                         });

#else

TEST(SparseAttentionOnCuda, NeedsCuda) { GTEST_SKIP() << "no CUDA device: " << cuda_unavailable_reason(); }

#endif

}  // namespace
}  // namespace lacuna::kernels
