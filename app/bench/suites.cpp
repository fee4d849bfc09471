#include "app/bench/suites.h"

#include <fmt/format.h>

#include <algorithm>
#include <cstdlib>
#include <filesystem>

#include "app/bench/dlmc.h"
#include "app/bench/patterns.h"
#include "core/errors.h"
#include "data/smtx.h"
#include "layers/attention_patterns.h"

namespace lacuna::bench {

namespace {

constexpr std::size_t kQuickMatrices = 16;

Op parse_op(const std::string& text) {
  for (const Op op : kAllOps)
    if (text == to_string(op)) return op;
  throw ConfigError("--op", fmt::format("'{}'; must be spmm, spmm_transposed, sddmm, sparse_softmax, "
                                        "sparse_softmax_backward, attention or attention_training",
                                        text));
}

Precision parse_precision(const std::string& text, Device device) {
  for (const Precision p : kAllPrecisions) {
    if (text != to_string(p)) continue;
    if (device.is_cpu() && p != Precision::f32)
      throw ConfigError("--dtype", fmt::format("'{}' on the CPU; the CPU's kernels are f32", text));
    return p;
  }
  throw ConfigError("--dtype", fmt::format("'{}'; must be f32, tf32 or bf16", text));
}

/// Options with the defaults of a suite beneath them.
struct Plan {
  const Options& options;
  Device device;
  std::vector<MatrixCase> cases;

  std::vector<Op> ops(std::vector<Op> usual) const {
    if (options.ops.empty()) return usual;
    std::vector<Op> chosen;
    for (const std::string& text : options.ops) chosen.push_back(parse_op(text));
    return chosen;
  }
  std::vector<Precision> precisions(std::vector<Precision> usual) const {
    if (options.dtypes.empty()) return device.is_cpu() ? std::vector{Precision::f32} : usual;
    std::vector<Precision> chosen;
    for (const std::string& text : options.dtypes) chosen.push_back(parse_precision(text, device));
    return chosen;
  }
  template <class T>
  static std::vector<T> given_or(const std::vector<T>& given, std::vector<T> usual) {
    return given.empty() ? usual : given;
  }

  void generated(const PatternSpec& spec, std::int64_t m, std::int64_t k, double sparsity, const std::string& family,
                 const MatrixCase& rest) {
    MatrixCase c = rest;
    const std::string text = to_string(spec);
    c.family = family.empty() ? text.substr(0, text.find(':')) : family;
    c.name = fmt::format("{}/{}x{}/{:g}", family.empty() ? text : family, m, k, sparsity);
    c.source = fmt::format("{} seed={}", text, options.seed);
    c.load = [=, seed = options.seed] { return generate_pattern(spec, m, k, sparsity, seed); };
    cases.push_back(std::move(c));
  }

  void files(const std::vector<std::string>& paths) {
    for (const SmtxFile& file : find_smtx(paths)) {
      MatrixCase c;
      c.family = file.family;
      c.name = file.name;
      c.source = file.path.string();
      c.load = [path = file.path] { return read_smtx(path); };
      c.n = given_or(options.n, paper_columns(file.family, file.path.stem().string()));
      if (c.n.empty()) {
        throw ConfigError("--smtx",
                          fmt::format("{}: its path names no layer of the DLMC's transformer or rn50, so N is "
                                      "unknown; give --n",
                                      c.source));
      }
      c.batch = given_or(options.batch, {1});
      if (file.family == "rn50" && !options.batch.empty()) {  // images lie side by side in the columns
        std::vector<std::int64_t> wide;
        for (const std::int64_t n : c.n)
          for (const std::int64_t images : options.batch) wide.push_back(n * images);
        c.n = wide;
        c.batch = {1};
      }
      c.ops = ops({Op::spmm, Op::sddmm});
      c.precisions = precisions({Precision::f32});
      cases.push_back(std::move(c));
    }
  }

  void rnn() {  // the paper's recurrent layers: vanilla, GRU, LSTM
    for (const std::int64_t h :
         device.is_cpu() ? std::vector<std::int64_t>{1024, 2048} : std::vector<std::int64_t>{1024, 2048, 4096, 8192}) {
      for (const std::int64_t gates : {1, 3, 4}) {
        for (const double s : given_or(options.sparsity, {0.7, 0.8, 0.9})) {
          generated({}, gates * h, h, s, "rnn",
                    {.n = given_or(options.n, {32, 128}),
                     .batch = given_or(options.batch, {1}),
                     .ops = ops({Op::spmm, Op::sddmm}),
                     .precisions = precisions({Precision::f32})});
        }
      }
    }
  }

  void square() {
    for (const std::int64_t size : given_or(options.m, device.is_cpu() ? std::vector<std::int64_t>{1024}
                                                                       : std::vector<std::int64_t>{1024, 2048, 4096})) {
      for (const double s : given_or(options.sparsity, {0.5, 0.7, 0.8, 0.9, 0.95, 0.98})) {
        generated({PatternKind::cov, 0.3}, size, size, s, "square",
                  {.n = given_or(options.n, {size}),
                   .batch = given_or(options.batch, {1}),
                   .ops = ops({Op::spmm, Op::spmm_transposed, Op::sddmm}),
                   .precisions = precisions({Precision::f32, Precision::tf32})});
      }
    }
  }

  void attention(std::int64_t tokens, std::int64_t features, std::int64_t heads, std::int64_t band) {
    MatrixCase c;
    c.family = "attention";
    c.n = given_or(options.n, {features});
    c.batch = given_or(options.batch, {heads});
    c.ops = ops({Op::sparse_softmax, Op::sparse_softmax_backward, Op::attention, Op::attention_training});
    c.precisions = precisions({Precision::f32, Precision::tf32});
    const RandomKey key{options.seed, 7};
    const auto add = [&](const std::string& name, const std::string& what, std::function<TopologyPtr()> load) {
      c.name = fmt::format("attention/{}/{}", name, tokens);
      c.source = fmt::format("{}, {} tokens", what, tokens);
      c.load = std::move(load);
      cases.push_back(c);
    };
    add(fmt::format("band{}+random0.95", band),
        fmt::format("causal band {}, off-band sparsity 0.95 with probability ~ 1/distance", band),
        [=] { return band_and_random(tokens, band, 0.95, key); });
    add(fmt::format("band{}", band), fmt::format("causal band {}", band), [=] { return causal_band(tokens, band); });
    c.ops = ops({Op::attention, Op::attention_training});  // a softmax of every place would measure the memory's size
    add("causal", "every key up to the query", [=] { return full_causal(tokens); });
  }

  /// A little of everything, in seconds on any machine.
  void quick() {
    const std::vector<Op> products{Op::spmm, Op::spmm_transposed, Op::sddmm, Op::sparse_softmax,
                                   Op::sparse_softmax_backward};
    const MatrixCase rest{.n = given_or(options.n, {256}),
                          .batch = given_or(options.batch, {1}),
                          .ops = ops(products),
                          .precisions = precisions({Precision::f32, Precision::tf32})};
    const auto add = [&](const char* pattern, std::int64_t m, std::int64_t k, double s) {
      generated(parse_pattern(pattern), m, k, s, "", rest);
    };
    add("uniform", 512, 512, 0.5);
    add("uniform", 512, 512, 0.9);
    add("uniform", 512, 512, 0.98);
    add("cov:0.3", 512, 2048, 0.8);
    add("cov:1", 512, 512, 0.9);
    add("banded", 512, 512, 0.9);
    add("power_law", 1024, 256, 0.9);
    add("uniform", 333, 257, 0.85);  // nothing divides anything
    attention(512, 64, 2, 64);
  }

  void lists() {
    const std::vector<std::int64_t> sizes = given_or(options.m, {1024});
    std::vector<PatternSpec> specs;
    for (const std::string& text : given_or(options.patterns, {std::string("uniform")}))
      specs.push_back(parse_pattern(text));
    for (const PatternSpec& spec : specs) {
      for (const std::int64_t m : sizes) {
        for (const std::int64_t k : given_or(options.k, {m})) {
          for (const double s : given_or(options.sparsity, {0.9})) {
            generated(spec, m, k, s, "",
                      {.n = given_or(options.n, {m}),
                       .batch = given_or(options.batch, {1}),
                       .ops = ops({Op::spmm}),
                       .precisions = precisions({Precision::f32})});
          }
        }
      }
    }
  }
};

void check_numbers(const Options& o) {
  const auto positive = [](const char* name, const std::vector<std::int64_t>& values) {
    for (const std::int64_t v : values)
      if (v < 1 || v > INT32_MAX) throw ConfigError(name, fmt::format("{}; must be from 1 to {}", v, INT32_MAX));
  };
  positive("--m", o.m);
  positive("--k", o.k);
  positive("--n", o.n);
  positive("--batch", o.batch);
  for (const double s : o.sparsity)
    if (!(s >= 0 && s < 1)) throw ConfigError("--sparsity", fmt::format("{}; must be in [0, 1), 0.9 for 90 %", s));
  if (!(o.budget_ms >= 0)) throw ConfigError("--budget-ms", fmt::format("{}; must not be negative", o.budget_ms));
}

std::vector<std::string> dlmc_paths(const Options& options) {
  if (!options.smtx.empty()) return options.smtx;
  const char* root = std::getenv("LACUNA_DATA_DIR");
  const std::filesystem::path folder = std::filesystem::path(root ? root : "") / "dlmc";
  std::error_code error;
  if (root == nullptr || !std::filesystem::is_directory(folder, error)) {
    throw ConfigError(
        "--suite",
        "dlmc needs the matrices: give --smtx FOLDER, or set LACUNA_DATA_DIR to the folder that holds dlmc/");
  }
  return {folder.string()};
}

}  // namespace

std::vector<MatrixCase> plan_cases(const Options& options, Device device) {
  check_numbers(options);
  Plan plan{options, device, {}};
  const bool lists = !options.m.empty() || !options.k.empty() || !options.patterns.empty();
  const std::string& suite = options.suite;
  if (suite == "dlmc")
    plan.files(dlmc_paths(options));
  else if (!options.smtx.empty())
    plan.files(options.smtx);
  if (suite == "rnn")
    plan.rnn();
  else if (suite == "square")
    plan.square();
  else if (suite == "attention")
    device.is_cpu() ? plan.attention(2048, 64, 2, 128) : plan.attention(12288, 128, 8, 256);
  else if (suite == "quick")
    plan.quick();
  else if (!suite.empty() && suite != "dlmc")
    throw ConfigError("--suite", fmt::format("'{}'; must be dlmc, rnn, square, attention or quick", suite));
  else if (lists)
    plan.lists();
  if (!suite.empty() && (!options.patterns.empty() || !options.k.empty() || (!options.m.empty() && suite != "square")))
    throw ConfigError("--suite",
                      fmt::format("'{}' has its own matrices; --pattern, --m and --k belong to generated ones", suite));

  std::vector<MatrixCase> kept;
  for (const MatrixCase& c : plan.cases) {
    bool any = false;
    for (const Op op : c.ops)
      for (const Precision p : c.precisions)
        for (const std::int64_t n : columns_of(c, op))
          for (const std::int64_t b : c.batch) any = any || matches(options.filter, problem_name(op, p, c.name, n, b));
    if (any) kept.push_back(c);
  }
  if (options.quick && kept.size() > kQuickMatrices) {  // evenly spaced, first and last included
    std::vector<MatrixCase> few;
    for (std::size_t i = 0; i < kQuickMatrices; ++i) few.push_back(kept[i * (kept.size() - 1) / (kQuickMatrices - 1)]);
    kept = std::move(few);
  }
  if (kept.empty()) {
    throw ConfigError("bench kernels", plan.cases.empty()
                                           ? "nothing to measure; give --suite, --smtx, --pattern or --m"
                                           : fmt::format("--filter '{}' leaves nothing to measure", options.filter));
  }
  return kept;
}

TimingBudget budget_of(const Options& options, Device device) {
  double ms = options.budget_ms > 0 ? options.budget_ms : device.is_cpu() ? 150 : 10;
  if (options.budget_ms == 0 && options.quick) ms /= 3;
  return {.seconds = ms * 1e-3, .least_blocks = options.quick ? 1 : 2};
}

std::vector<std::int64_t> columns_of(const MatrixCase& matrix, Op op) {
  return is_product(op) ? matrix.n : std::vector<std::int64_t>{1};
}

std::string problem_name(Op op, Precision precision, const std::string& matrix, std::int64_t n, std::int64_t batch) {
  std::string name = fmt::format("{}/{}/{} n={}", to_string(op), to_string(precision), matrix, n);
  if (batch != 1) name += fmt::format(" b={}", batch);
  return name;
}

bool matches(const std::string& filter, const std::string& text) {
  if (filter.empty()) return true;
  for (std::size_t begin = 0; begin <= filter.size();) {
    const std::size_t end = std::min(filter.find(',', begin), filter.size());
    if (end > begin && text.find(filter.substr(begin, end - begin)) != std::string::npos) return true;
    begin = end + 1;
  }
  return false;
}

}  // namespace lacuna::bench
