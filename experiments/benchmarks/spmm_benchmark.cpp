// CPU SpMM against the dense product of the same shape, over sparsities. Arguments: m, k, n, percent of zeros.
//   cmake -S . -B build-bench -DLACUNA_BUILD_BENCHMARKS=ON && cmake --build build-bench --target benchmarks && build-bench/benchmarks
#include <benchmark/benchmark.h>

#include "core/ops/matmul.h"
#include "core/ops/select.h"
#include "core/ops/spmm.h"
#include "core/random.h"

namespace lacuna {
namespace {

Tensor normal(const Shape& shape, std::uint64_t seed) {
  return random_normal(shape, 0, 1, {seed, 0}, DType::f32, kCpu);
}

void set_rates(benchmark::State& state, double flops) {
  state.counters["flop/s"] = benchmark::Counter(flops, benchmark::Counter::kIsIterationInvariantRate);
}

void sparse(benchmark::State& state) {
  const std::int64_t m = state.range(0), k = state.range(1), n = state.range(2);
  const Tensor scores = normal({m * k}, 1);
  const TopologyPtr topology =
      Topology::from_mask(top_k_mask(scores, m * k * (100 - state.range(3)) / 100).reshape({m, k}));
  const SparseTensor a{normal({topology->nnz()}, 2), topology};
  const Tensor b = normal({k, n}, 3), c = Tensor::empty({m, n}, DType::f32);
  for (auto _ : state) spmm_into(c, a, b, Route::sparse);
  set_rates(state, 2.0 * static_cast<double>(topology->nnz() * n));
}

void dense(benchmark::State& state) {
  const std::int64_t m = state.range(0), k = state.range(1), n = state.range(2);
  const Tensor a = normal({m, k}, 2), b = normal({k, n}, 3);
  for (auto _ : state) benchmark::DoNotOptimize(matmul(a, b).raw());
  set_rates(state, 2.0 * static_cast<double>(m * k * n));
}

BENCHMARK(dense)->Args({1024, 1024, 1024})->Args({512, 2048, 2048})->UseRealTime()->Unit(benchmark::kMillisecond);
BENCHMARK(sparse)
    ->ArgsProduct({{1024}, {1024}, {1024}, {50, 70, 80, 90, 95, 98}})
    ->ArgsProduct({{512}, {2048}, {2048}, {80, 90, 95}})
    ->UseRealTime()
    ->Unit(benchmark::kMillisecond);

}  // namespace
}  // namespace lacuna

BENCHMARK_MAIN();
