#include <gtest/gtest.h>

#include "core/errors.h"
#include "core/ops/dropout.h"
#include "core/ops/embedding.h"
#include "core/ops/pointwise.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Tokens = std::vector<std::int32_t>;

constexpr RandomKey kKey{1234567890123ull, 77};

struct Sizes {
  std::int64_t vocab, length, d, sequences;
  std::int64_t columns() const { return length * sequences; }
};

Tokens spread(const Sizes& s) {
  Tokens tokens;
  for (std::int64_t j = 0; j < s.columns(); ++j)
    tokens.push_back(static_cast<std::int32_t>((j * j * 7 + 3 * j) % s.vocab));
  return tokens;
}

Tensor tokens_of(const Sizes& s, Device device) { return Tensor::from(spread(s), {s.columns()}, device); }

std::string name_of(const Sizes& s) {
  return "vocab " + std::to_string(s.vocab) + " length " + std::to_string(s.length) + " d " + std::to_string(s.d) +
         " sequences " + std::to_string(s.sequences);
}

OpCase make_case(const Sizes& s, double p) {
  OpCase c;
  c.name = "sequence_embedding " + name_of(s) + " p " + std::to_string(p);
  c.inputs = {random_input({s.vocab, s.d}, 1), random_input({s.length, s.d}, 2)};
  c.run = [=](const std::vector<Var>& v) {
    // The tables stay f32 beside bf16, so what is asked for cannot be read off them.
    return sequence_embedding(v[0], tokens_of(s, v[0].data().device()), v[1], v[0].data().dtype(), p, kKey);
  };
  c.reference = [=](const std::vector<Tensor>& in) {
    const Tokens tokens = spread(s);
    const Tensor out = Tensor::empty({s.d, s.columns()}, DType::f64);
    for (std::int64_t at = 0; at < out.numel(); ++at) {
      const std::int64_t f = at / s.columns(), j = at % s.columns();
      const double sum = in[0].data<double>()[tokens[static_cast<std::size_t>(j)] * s.d + f] +
                         in[1].data<double>()[j % s.length * s.d + f];
      const std::uint32_t word = philox_word(kKey.seed, kKey.sequence, static_cast<std::uint64_t>(at));
      out.data<double>()[at] = uniform_from_word(word) < static_cast<float>(p) ? 0 : sum / (1 - p);
    }
    return out;
  };
  c.allow_zeros = s.columns() * s.d < 8;
  return c;
}

// On CUDA: tiles filled and cut short along both sides, packs of four and of eight columns, an element a thread.
const std::vector<Sizes> kSizes = {{1, 1, 1, 1},     {7, 33, 5, 1},   {5, 9, 3, 4}, {11, 40, 36, 2},
                                   {16, 72, 132, 1}, {16, 64, 64, 3}, {3, 4, 8, 5}, {24, 136, 72, 1},
                                   {8, 100, 64, 2},  {9, 130, 68, 1}, {3, 8, 0, 2}, {3, 5, 4, 0}};

TEST(SequenceEmbedding, LooksUpAddsDropsAndSumsGradients) {
  for (const Sizes& s : kSizes)
    for (const double p : {0.0, 0.25}) check(make_case(s, p));
}

Var separate(const Var& table, const Tensor& tokens, const Var& positions, DType dtype, double p) {
  Tokens ids;
  for (std::int64_t j = 0; j < tokens.numel(); ++j) ids.push_back(static_cast<std::int32_t>(j % positions.shape()[0]));
  const Tensor at = Tensor::from(ids, {tokens.numel()}, tokens.device());
  return dropout(add(embedding(table, tokens, dtype), embedding(positions, at, dtype)), p, kKey);
}

TEST(SequenceEmbedding, SameBitsAsTheSeparateOps) {
  for (const Device device : devices()) {
    for (const DType dtype : {DType::f32, DType::bf16}) {
      for (const Sizes& s : kSizes) {
        if (s.columns() == 0 || s.d == 0) continue;
        for (const double p : {0.0, 0.3}) {
          SCOPED_TRACE(name_of(s) + " p " + std::to_string(p) + " " + to_string(dtype) + " " + to_string(device));
          const auto leaf = [&](const Shape& shape, std::uint64_t seed) {
            return Var(random_input(shape, seed).to(DType::f32).to(device), true);
          };
          const Var a[2] = {leaf({s.vocab, s.d}, 1), leaf({s.length, s.d}, 2)};
          const Var b[2] = {leaf({s.vocab, s.d}, 1), leaf({s.length, s.d}, 2)};
          const Tensor tokens = tokens_of(s, device);
          const Var fused = sequence_embedding(a[0], tokens, a[1], dtype, p, kKey);
          const Var apart = separate(b[0], tokens, b[1], dtype, p);
          EXPECT_TRUE(equal_bits(fused.data(), apart.data()));
          const Tensor dc = random_input({s.d, s.columns()}, 3).to(DType::f32).to(dtype).to(device);
          backward(fused, dc.clone());
          backward(apart, dc.clone());
          for (int i = 0; i < 2; ++i) {
            EXPECT_EQ(a[i].grad().dtype(), DType::f32);
            // The separate ops' positions go, in bf16 on CUDA, through the product that sums tokens: another order.
            if (device.is_cpu() || i == 0) EXPECT_TRUE(equal_bits(a[i].grad(), b[i].grad())) << i;
            EXPECT_LE(relative_error(a[i].grad(), b[i].grad()), 1e-6) << i;
          }
        }
      }
    }
  }
}

TEST(SequenceEmbedding, OneTableAlone) {
  const Sizes s{16, 24, 40, 2};
  for (const Device device : devices()) {
    const Tensor tokens = tokens_of(s, device);
    const Tensor dc = random_input({s.d, s.columns()}, 3).to(DType::f32).to(device);
    const auto grads = [&](bool of_table, bool of_positions) {
      const Var table(random_input({s.vocab, s.d}, 1).to(DType::f32).to(device), of_table);
      const Var positions(random_input({s.length, s.d}, 2).to(DType::f32).to(device), of_positions);
      backward(sequence_embedding(table, tokens, positions, DType::f32, 0.25, kKey), dc.clone());
      return std::pair{table.grad(), positions.grad()};
    };
    const auto both = grads(true, true);
    EXPECT_TRUE(equal_bits(grads(true, false).first, both.first));
    EXPECT_TRUE(equal_bits(grads(false, true).second, both.second));
  }
}

// bf16 on CUDA: few tokens are summed by a product, more of them by sorting; also where one token has every column.
TEST(SequenceEmbedding, TokenGradientsOnCudaAreThoseOfTheCpu) {
  for (const Device device : cuda_devices_under_test()) {
    for (const std::int64_t vocab : {8, 256, 1024, 1032, 250}) {
      const Sizes s{vocab, 512, 72, 9};
      const Tensor dc = random_input({s.d, s.columns()}, 3).to(DType::f32).to(DType::bf16);
      for (const bool one : {false, true}) {
        const Tokens tokens = one ? Tokens(static_cast<std::size_t>(s.columns()), 5) : spread(s);
        const auto gradient = [&](Device on) {
          const Var table(random_input({s.vocab, s.d}, 1).to(DType::f32).to(on), true);
          backward(embedding(table, Tensor::from(tokens, {s.columns()}, on), DType::bf16), dc.to(on));
          return table.grad();
        };
        const Tensor found = gradient(device);
        EXPECT_LE(relative_error(found, gradient(kCpu)), 1e-5) << vocab << one;
        EXPECT_TRUE(equal_bits(found, gradient(device)));
      }
    }
    const Var table(random_input({8, 8}, 1).to(DType::f32).to(device), true);  // tokens outside: zeros, no gradient
    const Var positions(random_input({8, 8}, 2).to(DType::f32).to(device), true);
    const Tensor tokens = Tensor::from(Tokens{-1, 3, 8, 3, 100, -7, 3, 0}, {8}, device);
    const Var out = sequence_embedding(table, tokens, positions, DType::bf16, 0, kKey);
    backward(out, Tensor::full({8, 8}, 1, DType::bf16, device));
    const std::vector<float> rows = table.grad().to_vector<float>();
    for (std::size_t v = 0; v < 8; ++v) EXPECT_EQ(rows[8 * v], v == 3 ? 3 : v == 0 ? 1 : 0) << v;
    EXPECT_EQ(out.data().to(kCpu).to(DType::f32).to_vector<float>()[0],
              positions.data().to(kCpu).to(DType::bf16).to(DType::f32).to_vector<float>()[0]);
  }
}

TEST(SequenceEmbedding, Refuses) {
  const Tensor table = Tensor::zeros({5, 2}, DType::f32), positions = Tensor::zeros({3, 2}, DType::f32);
  const Tensor tokens = Tensor::zeros({6}, DType::i32);
  const auto run = [&](const Tensor& t, const Tensor& j, const Tensor& at, DType dtype, double p) {
    return sequence_embedding(t, j, at, dtype, p, kKey);
  };
  EXPECT_THROW(run(table, Tensor::zeros({7}, DType::i32), positions, DType::f32, 0), ShapeError);
  EXPECT_THROW(run(table, tokens, Tensor::zeros({3, 4}, DType::f32), DType::f32, 0), ShapeError);
  EXPECT_THROW(run(table, tokens, Tensor::zeros({0, 2}, DType::f32), DType::f32, 0), ShapeError);
  EXPECT_THROW(run(table, tokens, Tensor::zeros({3}, DType::f32), DType::f32, 0), ShapeError);
  EXPECT_THROW(run(table, tokens, Tensor::zeros({3, 2}, DType::f64), DType::f32, 0), DtypeError);
  EXPECT_THROW(run(table, tokens, positions, DType::f64, 0), DtypeError);
  EXPECT_THROW(run(table, tokens, positions, DType::f32, 1), ValueError);
  EXPECT_THROW(run(table, Tensor::from(Tokens{0, 5, 0}, {3}), positions, DType::f32, 0), IndexError);
}

}  // namespace
}  // namespace lacuna
