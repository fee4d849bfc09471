#include "app/bench/runner.h"

#include <algorithm>
#include <cstring>
#include <limits>

#include "app/bench/patterns.h"
#include "core/errors.h"

namespace lacuna::bench {

namespace {

/// Restores the device's matmul precision, whatever happens in between.
class PrecisionScope {
 public:
  PrecisionScope(Device device, Precision precision) : device_(device), before_(matmul_precision(device)) {
    set_matmul_precision(device, precision == Precision::tf32 ? MatmulPrecision::tf32 : MatmulPrecision::highest);
  }
  ~PrecisionScope() { set_matmul_precision(device_, before_); }
  PrecisionScope(const PrecisionScope&) = delete;
  PrecisionScope& operator=(const PrecisionScope&) = delete;

 private:
  Device device_;
  MatmulPrecision before_;
};

/// Not finite everywhere, so that an element nobody writes shows.
void poison(const Tensor& result) {
  if (result.dtype() == DType::f32) {
    result.copy_from(
        Tensor::full(result.shape(), std::numeric_limits<double>::quiet_NaN(), DType::f32, result.device()));
    return;
  }
  const std::vector<std::uint8_t> ones(result.nbytes(), 0xFF);  // a NaN in bf16
  const Tensor host = Tensor::empty(result.shape(), result.dtype());
  std::copy(ones.begin(), ones.end(), static_cast<std::uint8_t*>(host.raw()));
  result.copy_from(host);
}

/// A contender that has passed its check, ready to take its turns.
struct Entrant {
  Measurement line;
  Prepared prepared;
  std::function<void(int)> run;
  std::unique_ptr<Stopwatch> watch;
};

/// Notes what went wrong instead of ending the run: the others go on.
template <class F>
void guarded(Measurement& line, F&& f) {
  try {
    f();
  } catch (const std::exception& error) {
    line.status = Status::error;
    line.note = error.what();
  }
}

/// Two more runs of one call agree in bits; of a large result its beginning is compared.
bool repeats(const Prepared& p, Device device) {
  constexpr std::int64_t kMost = 1 << 22;  // elements
  const auto beginning = [&](const Tensor& result) {
    synchronize(device);
    return result.reshape({result.numel()}).slice(0, std::min(result.numel(), kMost)).clone().to(kCpu);
  };
  const Tensor first = beginning(p.run(p.checked_call)), second = beginning(p.run(p.checked_call));
  return first.nbytes() == second.nbytes() && std::memcmp(first.raw(), second.raw(), first.nbytes()) == 0;
}

void check(Entrant& e, const Contender& contender, const Problem& problem, Reference& reference) {
  e.prepared = contender.prepare(problem);
  const Prepared& p = e.prepared;
  if (p.checked_call != 0) p.run(0);
  poison(problem.result(p.checked_call));
  Tensor result = p.run(p.checked_call);
  synchronize(problem.device);
  e.line.checked = p.checked;
  if (!p.checked) return;
  if (p.extract) result = p.extract(result, p.checked_call);
  e.line.check = reference.check(p.checked_call, result);
  if (!e.line.check.passed()) {
    e.line.status = Status::failed;
    e.line.note = e.line.check.worst;
  } else if (contender.kind == Kind::ours && !repeats(p, problem.device)) {
    e.line.repeats = false;
    e.line.status = Status::failed;
    e.line.note = "a second run gave other bits";
  }
}

/// Checks every contender, then lets those that passed take turns at the clock.
std::vector<Measurement> measure_problem(const Measurement& blank, const Problem& problem,
                                         const std::vector<Contender>& contenders, const TimingBudget& budget) {
  Reference reference(problem);
  std::vector<std::unique_ptr<Entrant>> field;  // addresses must hold: stopwatches refer to `run`
  for (const Contender& contender : contenders) {
    if (!contender.supports(problem)) continue;
    field.push_back(std::make_unique<Entrant>());
    Entrant& e = *field.back();
    e.line = blank;
    e.line.contender = contender.name;
    e.line.kind = contender.kind;
    guarded(e.line, [&] { check(e, contender, problem, reference); });
    if (e.line.status != Status::ok) {
      e.prepared = {};
      continue;
    }
    e.run = [&e](int call) { e.prepared.run(call); };
    guarded(e.line, [&] { e.watch = make_stopwatch(problem.device, e.run, problem.rotation); });
  }
  for (int round = 0; round < budget.rounds; ++round) {
    for (const auto& e : field)
      if (e->line.status == Status::ok) guarded(e->line, [&] { e->watch->measure(budget); });
  }
  std::vector<Measurement> lines;
  for (const auto& e : field) {
    if (e->line.status == Status::ok) e->line.timing = e->watch->timing();
    lines.push_back(e->line);
  }
  return lines;
}

}  // namespace

const char* to_string(Status status) {
  return status == Status::ok ? "ok" : status == Status::failed ? "failed" : "error";
}

std::vector<Measurement> run_cases(const std::vector<MatrixCase>& cases, const Options& options, Device device,
                                   const std::vector<Contender>& contenders,
                                   const std::function<void(const std::vector<Measurement>&)>& on_problem) {
  Pool pool(device, options.seed, cache_bytes(device));
  const TimingBudget budget = budget_of(options, device);
  std::vector<Measurement> all;
  for (const MatrixCase& c : cases) {
    TopologyPtr pattern;
    double row_cov = 0;
    for (const Precision precision : c.precisions) {
      const PrecisionScope scope(device, precision);
      for (const Op op : c.ops) {
        if (!is_product(op) && precision == Precision::tf32) continue;  // no products: the same as f32
        for (const std::int64_t n : columns_of(c, op)) {
          for (const std::int64_t batch : c.batch) {
            if (!matches(options.filter, problem_name(op, precision, c.name, n, batch))) continue;
            if (!pattern) {
              pattern = c.load();
              row_cov = row_length_cov(*pattern);
            }
            if (is_attention(op) && pattern->rows() != pattern->cols()) continue;
            Measurement line;
            line.op = op;
            line.precision = precision;
            line.family = c.family;
            line.matrix = c.name;
            line.source = c.source;
            line.row_cov = row_cov;
            line.m = pattern->rows();
            line.k = pattern->cols();
            line.n = n;
            line.batch = batch;
            line.nnz = pattern->nnz();
            std::vector<Measurement> lines;
            try {
              const Problem problem = make_problem(op, precision, pattern, n, batch, pool);
              line.sparsity = problem.sparsity();
              line.rotation = problem.rotation;
              line.flops = problem.flops();
              line.dense_flops = problem.dense_flops();
              line.gathered_bytes = problem.gathered_bytes();
              line.least_bytes = problem.least_bytes();
              lines = measure_problem(line, problem, contenders, budget);
            } catch (const Error& error) {  // no room for the operands, say: the other problems go on
              line.contender = "(operands)";
              line.status = Status::error;
              line.note = error.what();
              lines.push_back(line);
            }
            on_problem(lines);
            all.insert(all.end(), lines.begin(), lines.end());
          }
        }
      }
    }
  }
  return all;
}

}  // namespace lacuna::bench
