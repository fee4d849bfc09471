// The f64 reference sees planted faults, and what is written of measurements can be read again.
#include <gtest/gtest.h>

#include <cmath>
#include <limits>
#include <sstream>

#include "app/bench/output.h"
#include "app/bench/patterns.h"
#include "app/bench/report.h"
#include "app/bench/runner.h"

namespace lacuna::bench {
namespace {

constexpr std::size_t kCache = 1 << 20;

Problem small_problem(Op op, Pool& pool, std::int64_t batch = 1, Precision precision = Precision::f32) {
  const std::int64_t k = is_attention(op) ? 24 : 31;
  return make_problem(op, precision, generate_pattern({PatternKind::cov, 1}, 24, k, 0.7, 4), 17, batch, pool);
}

/// The first of our contenders.
Prepared prepared(const Problem& p) {
  for (const Contender& c : contenders())
    if (c.kind == Kind::ours && c.supports(p)) return c.prepare(p);
  ADD_FAILURE() << "nothing supports " << to_string(p.op);
  return {};
}

Tensor result_of(const Prepared& made, int call) {
  const Tensor result = made.run(call);
  return made.extract ? made.extract(result, call) : result;
}

class BenchReference : public ::testing::TestWithParam<Op> {};

TEST_P(BenchReference, PassesOursAndSeesFaults) {
  for (const std::int64_t batch : {1, 3}) {
    Pool pool(kCpu, 1, kCache);
    const Problem p = small_problem(GetParam(), pool, batch);
    Reference reference(p);
    const Tensor good = result_of(prepared(p), 1);
    const CheckResult check = reference.check(1, good);
    EXPECT_TRUE(check.passed()) << check.max_error << " " << check.worst;
    EXPECT_EQ(check.checked_rows, check.total_rows);
    EXPECT_FALSE(reference.check(0, good).passed()) << "the operands of another call";

    const std::int64_t last = good.numel() - 1;
    for (const std::int64_t at : {std::int64_t{0}, last / 2, last}) {
      Tensor wrong = good.clone();
      wrong.data<float>()[at] = wrong.data<float>()[at] * 1.001f + 1e-3f;
      EXPECT_FALSE(reference.check(1, wrong).passed()) << "element " << at << " of " << to_string(p.op);
      wrong.data<float>()[at] = std::numeric_limits<float>::quiet_NaN();
      EXPECT_FALSE(reference.check(1, wrong).passed()) << "NaN";
    }
  }
}

TEST_P(BenchReference, SamplesLargeProblems) {
  Pool pool(kCpu, 1, kCache);
  const Problem p = small_problem(GetParam(), pool, 2);
  Reference reference(p, 1, 100);
  const CheckResult check = reference.check(0, result_of(prepared(p), 0));
  EXPECT_TRUE(check.passed()) << check.worst;
  EXPECT_GE(check.checked_rows, 2);
  EXPECT_LT(check.checked_rows, check.total_rows);
}

INSTANTIATE_TEST_SUITE_P(Ops, BenchReference, ::testing::ValuesIn(kAllOps),
                         [](const auto& op) { return std::string(to_string(op.param)); });

TEST(BenchContenders, AllAgreeOnTheCpu) {
  for (const Op op : kAllOps) {
    Pool pool(kCpu, 2, kCache);
    const Problem p = small_problem(op, pool);
    Reference reference(p);
    int count = 0;
    for (const Contender& c : contenders()) {
      if (!c.supports(p)) continue;
      ++count;
      const Prepared made = c.prepare(p);
      if (!made.checked) {
        made.run(made.checked_call);
        continue;
      }
      const CheckResult check = reference.check(made.checked_call, result_of(made, made.checked_call));
      EXPECT_TRUE(check.passed()) << to_string(op) << " " << c.name << ": " << check.worst;
    }
    EXPECT_GE(count, 2) << to_string(op);
  }
}

TEST(BenchContenders, OursTakeBf16) {
  for (const Op op : kAllOps) {
    if (op == Op::sparse_softmax || op == Op::sparse_softmax_backward) continue;  // scores stay f32
    for (const std::int64_t batch : {1, 3}) {
      Pool pool(kCpu, 2, kCache);
      const Problem p = small_problem(op, pool, batch, Precision::bf16);
      Reference reference(p);
      int count = 0;
      for (const Contender& c : contenders()) {
        if (c.kind != Kind::ours || !c.supports(p)) continue;
        ++count;
        const Prepared made = c.prepare(p);
        const Tensor result = result_of(made, 1);
        EXPECT_EQ(result.dtype(), DType::bf16) << to_string(op);
        const CheckResult check = reference.check(1, result);
        EXPECT_TRUE(check.passed()) << to_string(op) << " " << c.name << ": " << check.worst;
      }
      EXPECT_EQ(count, 1) << to_string(op);
    }
  }
}

TEST(BenchContenders, AblationsComputeTheSame) {
  for (const std::int64_t batch : {1, 3}) {
    Pool pool(kCpu, 2, kCache);
    const Problem p = small_problem(Op::spmm, pool, batch);
    Reference reference(p);
    int count = 0;
    for (const Contender& c : ablations()) {
      if (!c.supports(p)) continue;
      ++count;
      const Prepared made = c.prepare(p);
      made.run(0);
      const CheckResult check = reference.check(made.checked_call, result_of(made, made.checked_call));
      EXPECT_TRUE(check.passed()) << c.name << ": " << check.worst;
      for (const Contender& other : contenders()) EXPECT_NE(other.name, c.name) << "only on request";
    }
    EXPECT_EQ(count, 4);
  }
}

TEST(BenchPool, WindowsRotateAndStayInside) {
  Pool pool(kCpu, 1, kCache);
  const Problem p = small_problem(Op::spmm, pool);
  EXPECT_GT(p.rotation, 1);
  EXPECT_NE(p.operand(1, 0).raw(), p.operand(1, 1).raw());
  EXPECT_NE(p.result(0).raw(), p.result(1).raw());
  for (int call = 0; call < 2000; ++call) {
    EXPECT_EQ(p.operand(0, call).numel(), p.nnz);
    EXPECT_EQ(p.operand(1, call).data<float>()[5], p.host_operand(1, call)[5]);
  }
}

Measurement measurement(const char* contender, Kind kind, const char* matrix, double sparsity, double seconds) {
  Measurement m;
  m.family = "uniform";
  m.matrix = matrix;
  m.m = m.k = m.n = 100;
  m.nnz = static_cast<std::int64_t>((1 - sparsity) * 10000);
  m.sparsity = sparsity;
  m.contender = contender;
  m.kind = kind;
  m.timing = {{seconds, seconds, seconds}, 5, 10, "host"};
  m.flops = 2.0 * static_cast<double>(m.nnz) * 100;
  m.dense_flops = 2e6;
  m.least_bytes = 1000;
  return m;
}

std::vector<Measurement> example() {
  std::vector<Measurement> all;
  const auto add = [&](const char* matrix, double sparsity, double ours, double a, double b, double dense) {
    all.push_back(measurement("lacuna", Kind::ours, matrix, sparsity, ours));
    all.push_back(measurement("a", Kind::sparse, matrix, sparsity, a));
    all.push_back(measurement("b", Kind::sparse, matrix, sparsity, b));
    all.push_back(measurement("dense, \"fast\"", Kind::dense, matrix, sparsity, dense));
  };
  add("x/0.5", 0.5, 4e-6, 8e-6, 9e-6, 1e-6);
  add("x/0.8", 0.8, 2e-6, 9e-6, 4e-6, 1e-6);
  add("x/0.95", 0.95, 1e-6, 0.5e-6, 0.9e-6, 4e-6);
  Measurement failed = measurement("late", Kind::ours, "x/0.5", 0.5, 1e-9);
  failed.status = Status::failed;
  failed.check.max_error = std::numeric_limits<double>::infinity();
  failed.note = "line\nbreak";
  all.push_back(failed);
  return all;
}

const Comparison& comparison(const Summary& s, const std::string& baseline) {
  for (const Comparison& c : s.comparisons)
    if (c.baseline == baseline) return c;
  throw std::runtime_error("no comparison with " + baseline);
}

TEST(BenchSummary, ComparesWithTheBestOfEachProblem) {
  const std::vector<Measurement> all = example();
  const Summary s = summarize(all, {});
  EXPECT_EQ(s.problems, 3);
  EXPECT_EQ(s.failed, 1);
  EXPECT_EQ(s.errors, 0);
  const Comparison& best = comparison(s, kBestSparse);  // 2, 2, 0.5
  ASSERT_EQ(best.ratios.size(), 3u) << "a failed contender is compared with nothing";
  EXPECT_NEAR(best.geometric_mean, std::cbrt(2.0), 1e-9);
  EXPECT_NEAR(best.slower, 1.0 / 3, 1e-9);
  EXPECT_NEAR(best.lowest, 0.5, 1e-9);
  EXPECT_EQ(best.ratios.front().baseline->contender, "a");
  ASSERT_EQ(best.bins.size(), 3u);
  EXPECT_EQ(best.bins[2].label, "0.95");
  const Comparison& dense = comparison(s, "dense, \"fast\"");  // 0.25, 0.5, 4
  EXPECT_NEAR(dense.overtakes_at, 0.8 + 0.15 / 3, 1e-9);
  ASSERT_EQ(s.crossings.size(), 1u);
  EXPECT_NEAR(s.crossings[0].sparsity, 0.85, 1e-9);
  ASSERT_EQ(s.efficiencies.size(), 1u);
  EXPECT_NEAR(s.efficiencies[0].best_flops, 2.5e11, 1e3);
}

TEST(BenchSummary, ComparesWithCoarserDenseMath) {
  std::vector<Measurement> all = example();
  Measurement tf32 = measurement("dense", Kind::dense, "x/0.8", 0.8, 0.5e-6);
  tf32.precision = Precision::tf32;
  all.push_back(tf32);
  tf32.contender = "sparse";
  tf32.kind = Kind::sparse;
  all.push_back(tf32);
  const Summary s = summarize(all, {});
  EXPECT_NEAR(comparison(s, "dense (tf32)").geometric_mean, 0.25, 1e-9);
  EXPECT_EQ(comparison(s, "dense (tf32)").ratios.size(), 1u);
  EXPECT_THROW(comparison(s, "sparse (tf32)"), std::runtime_error);
}

TEST(BenchSummary, SparsitiesFallIntoNominalBins) {
  EXPECT_EQ(sparsity_label(0.1), "0.5");
  EXPECT_EQ(sparsity_label(0.72), "0.7");
  EXPECT_EQ(sparsity_label(0.91), "0.9");
  EXPECT_EQ(sparsity_label(0.96), "0.95");
  EXPECT_EQ(sparsity_label(1.0), "0.98");
}

TEST(BenchOutput, JsonKeepsItsSchema) {
  const std::vector<Measurement> all = example();
  DeviceLimits limits;
  limits.f32_flops = 1e12;
  const auto json = nlohmann::ordered_json::parse(
      to_json(all, summarize(all, limits), limits, {{"git", "x"}}, {{"suite", "x"}}).dump());
  EXPECT_EQ(json["schema"], kJsonSchema);
  for (const char* key : {"environment", "options", "limits", "results", "summary"})
    EXPECT_TRUE(json.contains(key)) << key;
  ASSERT_EQ(json["results"].size(), all.size());
  const auto& first = json["results"][0];
  const std::vector<std::string> wanted{"op",
                                        "dtype",
                                        "family",
                                        "matrix",
                                        "source",
                                        "m",
                                        "k",
                                        "nnz",
                                        "n",
                                        "batch",
                                        "sparsity",
                                        "row_cov",
                                        "contender",
                                        "kind",
                                        "status",
                                        "median_us",
                                        "p10_us",
                                        "p90_us",
                                        "blocks",
                                        "calls_per_block",
                                        "rotation",
                                        "timed_by",
                                        "gflops",
                                        "share_of_peak",
                                        "share_of_l1",
                                        "share_of_copy",
                                        "max_error",
                                        "bound",
                                        "checked_rows",
                                        "total_rows",
                                        "repeats",
                                        "note"};
  std::vector<std::string> found;
  for (const auto& [key, value] : first.items()) found.push_back(key);
  EXPECT_EQ(found, wanted);
  EXPECT_NEAR(first["median_us"].get<double>(), 4, 1e-9);
  EXPECT_NEAR(first["share_of_peak"].get<double>(), 0.25, 1e-9);
  EXPECT_TRUE(first["share_of_l1"].is_null());
  EXPECT_TRUE(json["results"].back()["median_us"].is_null());
  EXPECT_TRUE(json["results"].back()["max_error"].is_null()) << "infinity is no JSON number";
  EXPECT_TRUE(json["limits"]["clock_hz"].is_null());
  for (const char* key : {"op", "dtype", "ours", "baseline", "count", "geometric_mean", "min", "p10", "median", "p90",
                          "max", "slower_share", "overtakes_at_sparsity", "by_sparsity", "by_family"})
    EXPECT_TRUE(json["summary"]["comparisons"][0].contains(key)) << key;
}

TEST(BenchOutput, CsvHasOneLineEach) {
  const std::vector<Measurement> all = example();
  const std::string csv = to_csv(all, {});
  EXPECT_EQ(csv.substr(0, 16), "op,dtype,family,");
  EXPECT_NE(csv.find(",\"dense, \"\"fast\"\"\","), std::string::npos);
  EXPECT_NE(csv.find("\"line\nbreak\""), std::string::npos);
  EXPECT_EQ(std::count(csv.begin(), csv.end(), '\n'), static_cast<std::ptrdiff_t>(all.size()) + 2);
}

TEST(BenchOutput, ReportIsSelfContainedAndEscaped) {
  std::vector<Measurement> all = example();
  for (Measurement& m : all) m.matrix = "<b>" + m.matrix;
  const std::string html = render_html({"Kernels", "now", {{"command", "a & b"}}}, summarize(all, {}), all);
  EXPECT_NE(html.find("<svg"), std::string::npos);
  EXPECT_NE(html.find("a &amp; b"), std::string::npos);
  EXPECT_NE(html.find("&lt;b&gt;x/0.5"), std::string::npos);
  for (const char* outside : {"<script", "<b>x", "http://", "https://", "src="})
    EXPECT_EQ(html.find(outside), std::string::npos) << outside;
}

}  // namespace
}  // namespace lacuna::bench
