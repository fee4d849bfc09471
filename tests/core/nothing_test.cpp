// No columns (an empty batch), no rows, no entries: ops give empty results, and parameters a gradient of exactly 0, over
// memory that was filled with NaN.
#include <gtest/gtest.h>

#include <functional>

#include "core/ops/activation_dropout.h"
#include "core/ops/batch_norm.h"
#include "core/ops/batch_norm_relu.h"
#include "core/ops/conv.h"
#include "core/ops/densify.h"
#include "core/ops/dropout.h"
#include "core/ops/embedding.h"
#include "core/ops/heads.h"
#include "core/ops/layer_norm.h"
#include "core/ops/matmul.h"
#include "core/ops/pointwise.h"
#include "core/ops/pool.h"
#include "core/ops/reduce.h"
#include "core/ops/residual_norm.h"
#include "core/ops/sddmm.h"
#include "core/ops/softmax.h"
#include "core/ops/sparse_attention.h"
#include "core/ops/sparse_softmax.h"
#include "core/ops/spmm.h"
#include "core/recompute.h"
#include "tests/core/op_case.h"
#include "tests/core/sparse_testing.h"

namespace lacuna {
namespace {

const RandomKey kKey{3, 3};

struct Case {
  std::string name;
  Shape result;
  std::function<Var(const std::vector<Var>&)> run;  ///< on leaves of `shapes`
  std::vector<Shape> shapes;
};

std::vector<Case> cases(Device device) {
  const TopologyPtr pattern = random_topology(8, 6, 0.5, 1)->to(device),
                    square = random_topology(5, 5, 0.5, 2)->to(device);
  const TopologyPtr empty = Topology::from_mask(Tensor::zeros({8, 6}, DType::u8, device));
  const std::int64_t nnz = pattern->nnz();
  const auto stats = [device] {
    return std::pair{Tensor::zeros({8}, DType::f32, device), Tensor::full({8}, 1, DType::f32, device)};
  };
  const ImageShape none{0, 3, 3};
  return {
      {"linear",
       {8, 0},
       [](const auto& v) { return linear(v[0], v[1], v[2], Activation::relu); },
       {{8, 6}, {6, 0}, {8}}},
      {"linear gelu",
       {8, 0},
       [](const auto& v) { return linear(v[0], v[1], v[2], Activation::gelu); },
       {{8, 6}, {6, 0}, {8}}},
      {"matmul of nothing", {8, 4}, [](const auto& v) { return matmul(v[0], v[1]); }, {{8, 0}, {0, 4}}},
      {"spmm",
       {8, 0},
       [=](const auto& v) {
         return spmm({v[0], pattern}, v[1], v[2], Activation::relu);
       },
       {{nnz}, {6, 0}, {8}}},
      {"spmm without entries",
       {8, 4},
       [=](const auto& v) {
         return spmm({v[0], empty}, v[1], v[2]);
       },
       {{0}, {6, 4}, {8}}},
      {"sddmm of nothing", {nnz}, [=](const auto& v) { return sddmm(v[0], v[1], pattern).values; }, {{8, 0}, {6, 0}}},
      {"sddmm without entries",
       {0},
       [=](const auto& v) { return sparse_softmax(sddmm(v[0], v[1], empty)).values; },
       {{8, 4}, {6, 4}}},
      {"densify without entries",
       {8, 6},
       [=](const auto& v) {
         return densify(SparseVar{v[0], empty});
       },
       {{0}}},
      {"pointwise",
       {8, 0},
       [](const auto& v) { return gelu(add_bias(mul(add(v[0], v[0]), relu(v[0])), v[1])); },
       {{8, 0}, {8}}},
      {"dropout", {8, 0}, [](const auto& v) { return dropout(v[0], 0.5, kKey); }, {{8, 0}}},
      {"activation_dropout",
       {8, 0},
       [](const auto& v) { return activation_dropout(v[0], v[1], Activation::gelu, 0.5, kKey); },
       {{8, 0}, {8}}},
      {"layer_norm", {8, 0}, [](const auto& v) { return layer_norm(v[0], v[1], v[2]); }, {{8, 0}, {8}, {8}}},
      {"residual_norm",
       {8, 0},
       [](const auto& v) { return residual_norm(v[0], v[1], v[2], v[3], v[4], 0.5, kKey).normalised; },
       {{8, 0}, {8, 0}, {8}, {8}, {8}}},
      {"batch_norm",
       {8, 0},
       [=](const auto& v) { return batch_norm(v[0], v[1], v[2], stats().first, stats().second, false); },
       {{8, 0}, {8}, {8}}},
      {"batch_norm_relu",
       {8, 0},
       [=](const auto& v) { return batch_norm_relu(v[0], v[1], v[2], stats().first, stats().second, false); },
       {{8, 0}, {8}, {8}}},
      {"softmax", {8, 0}, [](const auto& v) { return softmax(v[0]); }, {{8, 0}}},
      {"split_heads", {4, 0, 4}, [](const auto& v) { return split_heads(v[0], v[1], 2, 2); }, {{8, 0}, {8}}},
      {"merge_heads", {8, 0}, [](const auto& v) { return merge_heads(v[0], 2, 2); }, {{4, 0, 4}}},
      {"sparse_attention",
       {0, 5, 4},
       [=](const auto& v) { return sparse_attention(v[0], v[1], v[2], {square}, 2, 0.5, 0.1, kKey); },
       {{0, 5, 4}, {0, 5, 4}, {0, 5, 4}}},
      {"embedding",
       {8, 0},
       [=](const auto& v) { return embedding(v[0], Tensor::empty({0}, DType::i32, device)); },
       {{7, 8}}},
      {"conv2d", {8, 0}, [=](const auto& v) { return conv2d(v[0], v[1], v[2], none, {}); }, {{8, 54}, {6, 0}, {8}}},
      {"conv2d, 1 x 1",
       {8, 0},
       [=](const auto& v) { return conv2d(v[0], v[1], v[2], none, {.kernel = 1, .padding = 0}); },
       {{8, 6}, {6, 0}, {8}}},
      {"depthwise_conv2d",
       {8, 0},
       [=](const auto& v) { return depthwise_conv2d(v[0], v[1], none, {}); },
       {{8, 9}, {8, 0}}},
      {"max_pool2d", {8, 0}, [=](const auto& v) { return max_pool2d(v[0], none, {}); }, {{8, 0}}},
      {"avg_pool2d", {8, 0}, [=](const auto& v) { return avg_pool2d(v[0], none, {}); }, {{8, 0}}},
      {"global_avg_pool", {8, 0}, [=](const auto& v) { return global_avg_pool(v[0], none); }, {{8, 0}}},
      {"sum_columns", {8}, [](const auto& v) { return sum_columns(v[0]); }, {{8, 0}}},
      {"recompute",
       {8, 0},
       [](const auto& v) {
         return recompute({v[1]}, [w = v[0]](const std::vector<Var>& in, bool) { return relu(matmul(w, in[0])); });
       },
       {{8, 6}, {6, 0}}},
  };
}

TEST(Nothing, GivesEmptyResultsAndGradientsOfZero) {
  for (const Device device : devices()) {
    for (const Case& c : cases(device)) {
      SCOPED_TRACE(c.name + " on " + to_string(device));
      std::vector<Var> leaves;
      for (const Shape& shape : c.shapes) leaves.emplace_back(Tensor::full(shape, 0.5, DType::f32, device), true);
      poison_free_memory(device, {32, 64, 96, 128, 192, 216, 224, 288, 1728});
      const Var y = c.run(leaves);
      ASSERT_TRUE(y.shape() == c.result) << describe(y.data());
      const std::vector<float> values = y.data().to_vector<float>();
      for (const float value : values) EXPECT_TRUE(value == 0 || value == 0.5f) << value;  // 0.5: a bias alone
      backward(sum(mul(y, y)));
      for (std::size_t i = 0; i < leaves.size(); ++i) {
        ASSERT_TRUE(leaves[i].grad().defined()) << "input " << i;
        ASSERT_TRUE(leaves[i].grad().shape() == c.shapes[i]) << "input " << i;
        if (c.name == "spmm without entries" && i == 2) continue;  // that bias does reach the result
        for (const float g : leaves[i].grad().to_vector<float>()) EXPECT_EQ(g, 0) << "input " << i;
      }
    }
  }
}

}  // namespace
}  // namespace lacuna
