// Results and gradients of everything on the CPU but dense products have the same bits for any number of threads: sizes here
// are above what kernels share out (dense products are a library's: docs/running.md).
#include <gtest/gtest.h>
#include <omp.h>

#include <functional>

#include "core/ops/activation_dropout.h"
#include "core/ops/adafactor.h"
#include "core/ops/batch_norm.h"
#include "core/ops/batch_norm_relu.h"
#include "core/ops/conv.h"
#include "core/ops/cross_entropy.h"
#include "core/ops/dropout.h"
#include "core/ops/embedding.h"
#include "core/ops/heads.h"
#include "core/ops/layer_norm.h"
#include "core/ops/pointwise.h"
#include "core/ops/pool.h"
#include "core/ops/reduce.h"
#include "core/ops/residual_norm.h"
#include "core/ops/softmax.h"
#include "core/ops/sparse_attention.h"
#include "core/ops/spmm.h"
#include "core/ops/update.h"
#include "core/random.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

constexpr std::int64_t kRows = 48, kColumns = 3200;  // 153,600 elements
const RandomKey kKey{7, 7};

Var leaf(const Shape& shape, std::uint64_t sequence) {
  return Var(random_normal(shape, 0, 1, {3, sequence}, DType::f32, kCpu), true);
}

using Run = std::function<std::vector<Tensor>()>;

/// Results, then gradients of `leaves`, of a loss that weighs each element of the results by itself.
std::vector<Tensor> with_gradients(const std::vector<Var>& results, const std::vector<Var>& leaves) {
  Var loss;
  std::vector<Tensor> all;
  for (const Var& y : results) {
    all.push_back(y.data().clone());
    const Var part = y.shape().rank() == 0 ? y : sum(mul(y, y));
    loss = loss.defined() ? add(loss, part) : part;
  }
  backward(loss);
  for (const Var& v : leaves) all.push_back(v.grad());
  return all;
}

std::vector<std::pair<const char*, Run>> runs() {
  const Var x = leaf({kRows, kColumns}, 1), h = leaf({kRows, kColumns}, 2), gain = leaf({kRows}, 3),
            bias = leaf({kRows}, 4);
  const auto fresh = [](const Var& v) { return Var(v.data(), true); };
  const auto stats = [] { return std::pair{Tensor::zeros({kRows}, DType::f32), Tensor::full({kRows}, 1, DType::f32)}; };
  std::vector<std::int32_t> classes(kColumns);
  for (std::size_t j = 0; j < classes.size(); ++j) classes[j] = static_cast<std::int32_t>(j * 7 % 49) - 1;
  const Tensor targets = Tensor::from(classes, {kColumns});
  const ImageShape images{32, 10, 10};
  std::vector<std::pair<const char*, Run>> all;
  const auto one = [&](const char* name, std::vector<Var> inputs, std::function<Var(const std::vector<Var>&)> op) {
    all.emplace_back(name, [=] {
      std::vector<Var> in;
      for (const Var& v : inputs) in.push_back(fresh(v));
      return with_gradients({op(in)}, in);
    });
  };
  one("pointwise", {x, h}, [](const auto& v) { return gelu(mul(add(v[0], v[1]), v[0])); });
  one("add_bias", {x, bias}, [](const auto& v) { return add_bias(v[0], v[1]); });
  one("mean", {x}, [](const auto& v) { return mean(v[0]); });
  one("dropout", {x}, [](const auto& v) { return dropout(v[0], 0.3, kKey); });
  one("activation_dropout", {x, bias},
      [](const auto& v) { return activation_dropout(v[0], v[1], Activation::gelu, 0.3, kKey); });
  one("layer_norm", {x, gain, bias}, [](const auto& v) { return layer_norm(v[0], v[1], v[2]); });
  one("batch_norm", {x, gain, bias}, [=](const auto& v) {
    const auto [mean, var] = stats();
    return batch_norm(v[0], v[1], v[2], mean, var, true);
  });
  one("batch_norm_relu", {x, gain, bias}, [=](const auto& v) {
    const auto [mean, var] = stats();
    return batch_norm_relu(v[0], v[1], v[2], mean, var, true);
  });
  one("softmax", {x}, [](const auto& v) { return softmax(v[0], 0.7); });
  one("split_heads", {x, bias}, [](const auto& v) { return split_heads(v[0], v[1], 4, 3); });
  one("cross_entropy", {x}, [=](const auto& v) { return cross_entropy(v[0], targets, 0.1); });
  one("depthwise_conv2d", {leaf({kRows, 9}, 5), x},
      [=](const auto& v) { return depthwise_conv2d(v[0], v[1], images, {}); });
  one("unfold", {x}, [=](const auto& v) { return unfold(v[0], images, {}); });
  one("max_pool2d", {x}, [=](const auto& v) { return max_pool2d(v[0], images, {}); });
  one("avg_pool2d", {x}, [=](const auto& v) { return avg_pool2d(v[0], images, {}); });
  one("global_avg_pool", {x}, [=](const auto& v) { return global_avg_pool(v[0], images); });
  std::vector<std::int32_t> tokens = classes;
  for (std::int32_t& token : tokens) ++token;
  one("embedding", {leaf({50, kRows}, 6)},
      [tokens = Tensor::from(tokens, {kColumns})](const auto& v) { return embedding(v[0], tokens); });
  const TopologyPtr pattern = random_topology(200, kRows, 0.8, 1);  // so sparse that no route is dense
  one("spmm", {leaf({pattern->nnz()}, 8), x}, [=](const auto& v) { return spmm({v[0], pattern}, v[1]); });
  const TopologyPtr mask = random_topology(200, 200, 0.9, 2);
  const Var q = leaf({16, 200, kRows}, 9);
  one("sparse_attention", {q, leaf({16, 200, kRows}, 10), leaf({16, 200, kRows}, 11)},
      [=](const auto& v) { return sparse_attention(v[0], v[1], v[2], {mask}, 4, 0.1, 0.2, kKey); });
  all.emplace_back("residual_norm", [=] {
    const std::vector<Var> in{fresh(x), fresh(h), fresh(bias), fresh(gain), fresh(bias)};
    const ResidualNormVars y = residual_norm(in[0], in[1], in[2], in[3], in[4], 0.2, kKey);
    return with_gradients({y.residual, y.normalised}, in);
  });
  all.emplace_back("cross_entropy of many classes", [=] {
    const Var logits = leaf({1100, 70}, 12);
    return with_gradients({cross_entropy(logits, targets.slice(0, 70))}, {logits});
  });
  all.emplace_back("sums", [=] {
    return std::vector<Tensor>{sum(x.data()), sum_columns(x.data()), sum_of_squares({x.data(), h.data()})};
  });
  all.emplace_back("updates", [=] {
    const Tensor value = x.data().clone(), m = Tensor::zeros_like(value), v = Tensor::zeros_like(value);
    adam_update(value, h.data(), m, v, {.lr = 0.1, .step = 1}, {});
    sgd_update(value, h.data(), m, {.lr = 0.1, .momentum = 0.9}, {});
    ema_update(v, value, 0.9, {});
    return std::vector<Tensor>{value, m, v};
  });
  for (const bool sparse : {false, true}) {
    all.emplace_back(sparse ? "adafactor over a pattern" : "adafactor", [=] {
      const TopologyPtr topology = sparse ? random_topology(400, 300, 0.3, 3) : nullptr;
      const Tensor value =
          random_normal(sparse ? Shape{topology->nnz()} : Shape{400, 300}, 0, 1, {3, 13}, DType::f32, kCpu);
      const Tensor grad = random_normal(value.shape(), 0, 1, {3, 14}, DType::f32, kCpu);
      const Tensor rows = Tensor::zeros({400}, DType::f32), cols = Tensor::zeros({300}, DType::f32);
      adafactor_update(value, grad, topology, {.row_means = rows, .col_means = cols}, {.step_size = 0.1, .beta2 = 0.5},
                       {});
      return std::vector<Tensor>{value, rows, cols};
    });
  }
  return all;
}

TEST(OpThreads, DoNotChangeTheBits) {
  const int before = omp_get_max_threads();
  for (const auto& [name, run] : runs()) {
    omp_set_num_threads(1);
    const std::vector<Tensor> alone = run();
    for (const int threads : {2, 3, 7}) {
      omp_set_num_threads(threads);
      const std::vector<Tensor> shared = run();
      ASSERT_EQ(shared.size(), alone.size());
      for (std::size_t i = 0; i < alone.size(); ++i) {
        EXPECT_GT(nonzero_fraction(alone[i]), 0.01) << name;
        EXPECT_TRUE(equal_bits(shared[i], alone[i])) << name << ", array " << i << ", " << threads << " threads";
      }
    }
  }
  omp_set_num_threads(before);
}

}  // namespace
}  // namespace lacuna
