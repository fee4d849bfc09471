#include "core/ops/pool.h"

#include <gtest/gtest.h>

#include <cmath>
#include <limits>

#include "core/errors.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Vars = std::vector<Var>;
using Tensors = std::vector<Tensor>;

constexpr double kInfinity = std::numeric_limits<double>::infinity();

// Mean (over kernel squared) or maximum of each window's pixels inside the image.
Tensor pool_reference(const Tensor& x, const ImageShape& image, const ConvSpec& spec, bool largest) {
  const ImageShape out = conv_output(image, spec);
  const std::int64_t channels = x.dim(0);
  const Tensor y = Tensor::empty({channels, out.columns()}, DType::f64);
  for (std::int64_t e = 0; e < y.numel(); ++e) {
    const std::int64_t plane = e / (out.height * out.width);  // channel and image
    const std::int64_t oy = e / out.width % out.height, ox = e % out.width;
    double sum = 0, most = -kInfinity;
    for (std::int64_t iy = oy * spec.stride - spec.padding; iy < oy * spec.stride - spec.padding + spec.kernel; ++iy)
      for (std::int64_t ix = ox * spec.stride - spec.padding; ix < ox * spec.stride - spec.padding + spec.kernel; ++ix) {
        if (iy < 0 || iy >= image.height || ix < 0 || ix >= image.width) continue;
        const double value = x.data<double>()[(plane * image.height + iy) * image.width + ix];
        sum += value;
        most = std::max(most, value);
      }
    y.data<double>()[e] = largest ? most : sum / (spec.kernel * spec.kernel);
  }
  return y;
}

TEST(Pool, GlobalAverage) {
  for (const ImageShape& image : std::vector<ImageShape>{{3, 7, 7}, {5, 1, 1}, {40, 2, 2}, {2, 3, 5}, {2, 40, 33}, {0, 2, 2}}) {
    check({.name = "global_avg_pool", .inputs = {random_input({4, image.columns()}, 1)},
           .run = [=](const Vars& v) { return global_avg_pool(v[0], image); },
           .reference = [=](const Tensors& in) {
             const Tensor y = Tensor::zeros({4, image.batch}, DType::f64);
             const std::int64_t pixels = image.height * image.width;
             for (std::int64_t e = 0; e < in[0].numel(); ++e)
               y.data<double>()[e / pixels] += in[0].data<double>()[e] / static_cast<double>(pixels);
             return y;
           },
           .bf16_roundings = 1,
           .allow_zeros = image.batch == 0});
  }
}

TEST(Pool, Windows) {
  const std::vector<std::pair<ImageShape, ConvSpec>> problems = {
      {{2, 6, 8}, {2, 2, 0}}, {{3, 7, 5}, {3, 2, 1}}, {{1, 5, 5}, {3, 1, 1}}, {{2, 9, 9}, {2, 3, 0}}, {{2, 4, 4}, {4, 4, 2}}, {{0, 4, 4}, {2, 2, 0}}};
  for (const auto& problem : problems) {
    const ImageShape image = problem.first;
    const ConvSpec spec = problem.second;
    for (const bool largest : {false, true}) {
      check({.name = largest ? "max_pool2d" : "avg_pool2d", .inputs = {random_input({3, image.columns()}, 1)},
             .run = [=](const Vars& v) { return largest ? max_pool2d(v[0], image, spec) : avg_pool2d(v[0], image, spec); },
             .reference = [=](const Tensors& in) { return pool_reference(in[0], image, spec, largest); },
             .bf16_roundings = 1,
             .allow_zeros = image.batch == 0});
    }
  }
}

TEST(Pool, MaximumOfTiesAndNan) {
  for (const Device device : devices()) {
    const Var x(Tensor::from(std::vector<float>{2, 2, 2, 2, 1, std::nanf(""), 3, 0}, {1, 8}).to(device), true);
    const Var y = max_pool2d(x, {2, 2, 2}, {2, 2, 0});
    EXPECT_EQ(y.data().to_vector<float>()[0], 2);
    EXPECT_TRUE(std::isnan(y.data().to_vector<float>()[1]));
    backward(y, Tensor::full({1, 2}, 5, DType::f32, device));
    EXPECT_EQ(x.grad().to_vector<float>(), (std::vector<float>{5, 0, 0, 0, 0, 5, 0, 0}));  // the first; the NaN
  }
}

TEST(Pool, Errors) {
  const Tensor x = Tensor::zeros({3, 32}, DType::f32);
  EXPECT_THROW(global_avg_pool(x, {2, 4, 5}), ShapeError);
  EXPECT_THROW(global_avg_pool(Tensor::zeros({3, 0}, DType::f32), {2, 0, 5}), ShapeError);
  EXPECT_THROW(avg_pool2d(x, {2, 4, 4}, {2, 2, 2}), ValueError);
  EXPECT_THROW(max_pool2d(x, {2, 4, 4}, {2, 1, 2}), ValueError);
  EXPECT_THROW(max_pool2d(x, {2, 4, 4}, {7, 1, 1}), ShapeError);
}

}  // namespace
}  // namespace lacuna
