#include "core/ops/heads.h"

#include <gtest/gtest.h>

#include "core/errors.h"
#include "core/ops/pointwise.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Vars = std::vector<Var>;
using Tensors = std::vector<Tensor>;

struct Sizes {
  std::int64_t heads, batch, t, d;
};

// Copies between feature-major [heads*d, b*t] and token-major [heads*b, t, d].
Tensor rearrange(const Tensor& x, const Sizes& s, bool split) {
  const Tensor y = split ? Tensor::empty({s.heads * s.batch, s.t, s.d}, DType::f64)
                         : Tensor::empty({s.heads * s.d, s.batch * s.t}, DType::f64);
  for (std::int64_t h = 0; h < s.heads; ++h)
    for (std::int64_t b = 0; b < s.batch; ++b)
      for (std::int64_t i = 0; i < s.t; ++i)
        for (std::int64_t f = 0; f < s.d; ++f) {
          const std::int64_t feature_major = (h * s.d + f) * (s.batch * s.t) + b * s.t + i;
          const std::int64_t token_major = ((h * s.batch + b) * s.t + i) * s.d + f;
          if (split) {
            y.data<double>()[token_major] = x.data<double>()[feature_major];
          } else {
            y.data<double>()[feature_major] = x.data<double>()[token_major];
          }
        }
  return y;
}

TEST(Heads, SplitAndMerge) {
  for (const Sizes& s : std::vector<Sizes>{{1, 1, 1, 1}, {2, 3, 5, 4}, {3, 2, 40, 33}, {1, 7, 1, 16}, {1, 2, 72, 40}, {2, 2, 0, 3}}) {
    check({.name = "split_heads", .inputs = {random_input({s.heads * s.d, s.batch * s.t}, 1)},
           .run = [=](const Vars& v) { return split_heads(v[0], s.batch, s.heads); },
           .reference = [=](const Tensors& in) { return rearrange(in[0], s, true); },
           .bf16_roundings = 1,
           .allow_zeros = s.t == 0});
    check({.name = "merge_heads", .inputs = {random_input({s.heads * s.batch, s.t, s.d}, 1)},
           .run = [=](const Vars& v) { return merge_heads(v[0], s.batch, s.heads); },
           .reference = [=](const Tensors& in) { return rearrange(in[0], s, false); },
           .bf16_roundings = 1,
           .allow_zeros = s.t == 0});
  }
}

TEST(Heads, SplitWithBias) {
  for (const Sizes& s : std::vector<Sizes>{{1, 1, 1, 1}, {2, 3, 5, 4}, {3, 2, 40, 33}, {2, 1, 72, 40}}) {
    const std::int64_t rows = s.heads * s.d, cols = s.batch * s.t;
    check({.name = "split_heads + bias",
           .inputs = {random_input({rows, cols}, 1), random_input({rows}, 2)},
           .run = [=](const Vars& v) { return split_heads(v[0], v[1], s.batch, s.heads); },
           .reference =
               [=](const Tensors& in) {
                 const Tensor biased = in[0].clone();
                 for (std::int64_t i = 0; i < biased.numel(); ++i)
                   biased.data<double>()[i] += in[1].data<double>()[i / cols];
                 return rearrange(biased, s, true);
               },
           .bf16_roundings = 1,
           .parameters = {false, true}});
    for (const Device device : devices()) {
      const Tensor x = random_input({rows, cols}, 3).to(DType::f32).to(device);
      const Tensor bias = random_input({rows}, 4).to(DType::f32).to(device);
      EXPECT_TRUE(equal_bits(split_heads(x, bias, s.batch, s.heads), split_heads(add_bias(x, bias), s.batch, s.heads)));
      EXPECT_TRUE(equal_bits(split_heads(x, Tensor(), s.batch, s.heads), split_heads(x, s.batch, s.heads)));
    }
  }
  const Tensor x = Tensor::zeros({4, 6}, DType::f32);
  EXPECT_THROW(split_heads(x, Tensor::zeros({6}, DType::f32), 3, 2), ShapeError);
  EXPECT_THROW(split_heads(x, Tensor::zeros({4}, DType::f64), 3, 2), DtypeError);
}

TEST(Heads, Transpose) {
  for (const auto& [m, n] : std::vector<std::pair<std::int64_t, std::int64_t>>{{1, 1}, {3, 5}, {64, 64}, {72, 136}, {33, 130}, {1, 70}, {4, 0}}) {
    check({.name = "transpose", .inputs = {random_input({m, n}, 1)},
           .run = [](const Vars& v) { return transpose(v[0]); },
           .reference = [](const Tensors& in) {
             const std::int64_t rows = in[0].dim(0), cols = in[0].dim(1);
             const Tensor y = Tensor::empty({cols, rows}, DType::f64);
             for (std::int64_t i = 0; i < rows; ++i)
               for (std::int64_t j = 0; j < cols; ++j) y.data<double>()[j * rows + i] = in[0].data<double>()[i * cols + j];
             return y;
           },
           .bf16_roundings = 1,
           .allow_zeros = n == 0});
  }
}

TEST(Heads, Errors) {
  EXPECT_THROW(split_heads(Tensor::zeros({6, 4}, DType::f32), 3, 2), ShapeError);
  EXPECT_THROW(split_heads(Tensor::zeros({6, 4}, DType::f32), 2, 4), ShapeError);
  EXPECT_THROW(merge_heads(Tensor::zeros({6, 4, 2}, DType::f32), 4, 2), ShapeError);
  EXPECT_THROW(merge_heads(Tensor::zeros({6, 4}, DType::f32), 3, 2), ShapeError);
  EXPECT_THROW(transpose(Tensor::zeros({6}, DType::f32)), ShapeError);
}

}  // namespace
}  // namespace lacuna
