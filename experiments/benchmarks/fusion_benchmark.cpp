// Fused ops beside the separate ops that they replace, forward and backward, on the CPU or the first CUDA device.
//   build-bench/benchmarks --benchmark_filter=fusion
// Arguments: rows, columns. bytes_per_second counts what docs/kernels/fusion.md predicts that an op must move at least,
// so on a GPU it is to be held against the memory's bandwidth; of a pair, compare the times.
#include <benchmark/benchmark.h>

#include <functional>

#include "core/device.h"
#include "core/ops/activation_dropout.h"
#include "core/ops/batch_norm.h"
#include "core/ops/batch_norm_relu.h"
#include "core/ops/conv.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/dropout.h"
#include "core/ops/layer_norm.h"
#include "core/ops/pointwise.h"
#include "core/ops/residual_norm.h"
#include "core/random.h"
#include "core/visit.h"
#include "kernels/cross_entropy/cross_entropy.h"

namespace lacuna {
namespace {

constexpr RandomKey kKey{1, 2};
constexpr double kDropout = 0.1;

Device bench_device() { return devices().back(); }

Tensor normal(const Shape& shape, std::uint64_t seed) {
  return random_normal(shape, 0, 1, {seed, 0}, DType::f32, bench_device());
}

Var leaf(const Shape& shape, std::uint64_t seed) { return Var(normal(shape, seed), true); }

/// `bytes` per element of a rows x columns matrix.
void measure(benchmark::State& state, double bytes, const std::function<void()>& step) {
  const Device device = bench_device();
  step();  // plans and allocations
  synchronize(device);
  for (auto _ : state) {
    step();
    synchronize(device);
  }
  state.SetLabel(to_string(device));
  const double elements = static_cast<double>(state.range(0)) * static_cast<double>(state.range(1));
  state.SetBytesProcessed(state.iterations() * static_cast<std::int64_t>(bytes * elements));
}

void clear(const std::vector<Var>& leaves) {
  for (const Var& v : leaves) v.clear_grad();
}

void fusion_residual_norm(benchmark::State& state, bool fused) {
  const std::int64_t f = state.range(0), n = state.range(1);
  const Var x = leaf({f, n}, 1), h = leaf({f, n}, 2), h_bias = leaf({f}, 3), gain = leaf({f}, 4), bias = leaf({f}, 5);
  const Tensor dr = normal({f, n}, 6), dy = normal({f, n}, 7);
  measure(state, fused ? 36 : f > 512 ? 88 : 80, [&] {
    Var r, y;
    if (fused) {
      const ResidualNormVars both = residual_norm(x, h, h_bias, gain, bias, kDropout, kKey);
      r = both.residual, y = both.normalised;
    } else {
      r = add(x, dropout(add_bias(h, h_bias), kDropout, kKey));
      y = layer_norm(r, gain, bias);
    }
    // One root, so that both gradients arrive in one backward pass, as in a model. The joint is free of kernels.
    const Tensor token = Tensor::empty({0}, DType::f32, bench_device());
    backward(record("joint", token, {r, y},
                    [&](const Tensor&, Grads& grads) {
                      grads.add(0, dr.clone());  // the ops may overwrite what arrives
                      grads.add(1, dy);
                    }),
             token);
    clear({x, h, h_bias, gain, bias});
  });
}

void fusion_batch_norm_relu(benchmark::State& state, bool fused) {
  const std::int64_t c = state.range(0), n = state.range(1);
  const Var x = leaf({c, n}, 1), gain = leaf({c}, 2), bias = leaf({c}, 3);
  const Tensor mean = normal({c}, 4), var = Tensor::full({c}, 1, DType::f32, bench_device()), dy = normal({c, n}, 5);
  measure(state, fused ? 32 : 52, [&] {
    backward(fused ? batch_norm_relu(x, gain, bias, mean, var, true) : relu(batch_norm(x, gain, bias, mean, var, true)),
             dy);
    clear({x, gain, bias});
  });
}

void fusion_activation_dropout(benchmark::State& state, bool fused) {
  const std::int64_t m = state.range(0), n = state.range(1);
  const Var x = leaf({m, n}, 1), bias = leaf({m}, 2);
  const Tensor dy = normal({m, n}, 3);
  measure(state, fused ? 20 : 48, [&] {
    backward(fused ? activation_dropout(x, bias, Activation::relu, kDropout, kKey)
                   : dropout(relu(add_bias(x, bias)), kDropout, kKey),
             dy);
    clear({x, bias});
  });
}

void fusion_depthwise_bias_relu(benchmark::State& state, bool fused) {
  const std::int64_t c = state.range(0), n = state.range(1);
  constexpr std::int64_t kSide = 14;
  const ImageShape image{n / (kSide * kSide), kSide, kSide};
  const Tensor w = normal({c, 9}, 1), x = normal({c, image.columns()}, 2), bias = normal({c}, 3);
  measure(state, fused ? 8 : 24, [&] {
    const Tensor y = fused ? depthwise_conv2d(w, x, image, {}, bias, Activation::relu)
                           : relu(add_bias(depthwise_conv2d(w, x, image, {}), bias));
    benchmark::DoNotOptimize(y.raw());
  });
}

void fusion_cross_entropy(benchmark::State& state, bool fused) {
  const std::int64_t classes = state.range(0), n = state.range(1);
  const Tensor logits = normal({classes, n}, 1);
  std::vector<std::int32_t> of(static_cast<std::size_t>(n));
  for (std::size_t j = 0; j < of.size(); ++j) of[j] = static_cast<std::int32_t>(j % static_cast<std::size_t>(classes));
  const Tensor targets = Tensor::from(of, {n}, bench_device());
  const Tensor one = Tensor::full({}, 1, DType::f32, bench_device());
  measure(state, fused ? 8 : 12, [&] {
    if (fused) {
      const Var x(logits, true);
      backward(cross_entropy(x, targets, 0.1));
      benchmark::DoNotOptimize(x.grad().raw());
      return;
    }
    const auto make = [&](const Shape& shape) { return Tensor::empty(shape, DType::f32, bench_device()); };
    const Tensor loss = make({}), lse = make({n}), count = make({}), scratch = make({n}), grad = make({classes, n});
    visit_float("benchmark", logits, [&](auto stream, auto zero) {
      using T = decltype(zero);
      const Dense<const T> view{logits.data<T>(), classes, n, n};
      const auto* t = targets.data<std::int32_t>();
      kernels::cross_entropy<T>(stream, view, t, 0.1, loss.data<T>(), {lse.data<T>(), count.data<T>()},
                                scratch.data<T>());
      kernels::cross_entropy_gradient<T>(stream, view, t, 0.1, one.data<T>(), {lse.data<T>(), count.data<T>()},
                                         {grad.data<T>(), classes, n, n});
    });
    benchmark::DoNotOptimize(grad.raw());
  });
}

/// The paper's models: hidden 1024 and filter 4096 at 12,288 tokens; MobileNet's middle blocks at batch 64.
#define LACUNA_PAIR(name, ...)                                                                                      \
  BENCHMARK_CAPTURE(name, separate, false)->ArgsProduct(__VA_ARGS__)->UseRealTime()->Unit(benchmark::kMillisecond); \
  BENCHMARK_CAPTURE(name, fused, true)->ArgsProduct(__VA_ARGS__)->UseRealTime()->Unit(benchmark::kMillisecond)
using Ranges = std::vector<std::vector<std::int64_t>>;
LACUNA_PAIR(fusion_residual_norm, Ranges{{512, 1024}, {12288}});
LACUNA_PAIR(fusion_batch_norm_relu, Ranges{{512}, {64 * 196}});
LACUNA_PAIR(fusion_activation_dropout, Ranges{{4096}, {12288}});
LACUNA_PAIR(fusion_depthwise_bias_relu, Ranges{{512}, {196, 64 * 196}});
LACUNA_PAIR(fusion_cross_entropy, Ranges{{256}, {12288, 98304}});
#undef LACUNA_PAIR

}  // namespace
}  // namespace lacuna
