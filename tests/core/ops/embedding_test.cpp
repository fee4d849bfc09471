#include "core/ops/embedding.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Tokens = std::vector<std::int32_t>;

OpCase embedding_case(std::int64_t vocab, std::int64_t d, const Tokens& tokens) {
  const auto n = static_cast<std::int64_t>(tokens.size());
  OpCase c;
  c.name = "embedding vocab " + std::to_string(vocab) + " d " + std::to_string(d) + " n " + std::to_string(n);
  c.inputs = {random_input({vocab, d}, 1)};
  c.run = [=](const std::vector<Var>& v) {
    return embedding(v[0], Tensor::from(tokens, {n}, v[0].data().device()));
  };
  c.reference = [=](const std::vector<Tensor>& t) {
    Tensor out = Tensor::zeros({d, n}, DType::f64);
    for (std::int64_t j = 0; j < n; ++j) {
      for (std::int64_t f = 0; f < d; ++f) {
        out.data<double>()[f * n + j] = t[0].data<double>()[tokens[static_cast<std::size_t>(j)] * d + f];
      }
    }
    return out;
  };
  c.allow_zeros = n == 0 || d == 0;
  return c;
}

Tokens spread(std::int64_t n, std::int64_t vocab) {
  Tokens tokens;
  for (std::int64_t j = 0; j < n; ++j) tokens.push_back(static_cast<std::int32_t>((j * j * 7 + 3 * j) % vocab));
  return tokens;
}

TEST(Embedding, LooksUpAndSumsGradients) {
  check(embedding_case(1, 1, {0}));
  check(embedding_case(5, 3, {4, 0, 4, 2, 4}));
  check(embedding_case(7, 33, spread(70, 7)));
  check(embedding_case(50, 20, spread(45, 50)));
  check(embedding_case(11, 36, spread(301, 11)));
  check(embedding_case(3, 8, {}));
  check(embedding_case(3, 0, {1, 2}));
}

// Runs that start, end and pass through the fixed stretches in which CUDA sums them.
TEST(Embedding, LongRunsOfOneToken) {
  check(embedding_case(4, 5, Tokens(500, 2)));
  Tokens runs(64, 0);
  runs.insert(runs.end(), 64, 1);
  runs.insert(runs.end(), 129, 2);
  runs.insert(runs.end(), 1, 3);
  runs.insert(runs.end(), 63, 5);
  check(embedding_case(6, 7, runs));
  check(embedding_case(3, 150, spread(139, 3)));  // more features than a block of CUDA's sums takes
}

TEST(Embedding, OutOfRangeTokens) {
  const Tensor table = random_input({5, 2}, 1).to(DType::f32);
  EXPECT_THROW(embedding(table, Tensor::from(Tokens{1, 5}, {2})), IndexError);
  EXPECT_THROW(embedding(table, Tensor::from(Tokens{1, -1}, {2})), IndexError);
  EXPECT_THROW(embedding(Tensor::zeros({0, 2}, DType::f32), Tensor::from(Tokens{0}, {1})), IndexError);
  for (const Device device : cuda_devices_under_test()) {  // where the host cannot look: zeros, and no gradient
    const Var on_device(table.to(device), true);
    const Var out = embedding(on_device, Tensor::from(Tokens{-1, 3, 5, 3}, {4}, device));
    const std::vector<float> values = out.data().to_vector<float>();
    EXPECT_EQ(values[0], 0);
    EXPECT_EQ(values[2], 0);
    EXPECT_NE(values[1], 0);
    backward(out, Tensor::full({2, 4}, 1, DType::f32, device));
    EXPECT_EQ(on_device.grad().to_vector<float>(), (std::vector<float>{0, 0, 0, 0, 0, 0, 2, 2, 0, 0}));
  }
}

TEST(Embedding, Refuses) {
  const Tensor table = Tensor::zeros({5, 2}, DType::f32);
  EXPECT_THROW(embedding(table, Tensor::zeros({2}, DType::f32)), DtypeError);
  EXPECT_THROW(embedding(table, Tensor::zeros({2, 1}, DType::i32)), ShapeError);
  EXPECT_THROW(embedding(Tensor::zeros({5}, DType::f32), Tensor::zeros({2}, DType::i32)), ShapeError);
}

}  // namespace
}  // namespace lacuna
