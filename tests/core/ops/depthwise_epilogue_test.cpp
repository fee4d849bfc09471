#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/errors.h"
#include "core/ops/conv.h"
#include "core/ops/pointwise.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

Tensor reference(const Tensor& w, const Tensor& x, const Tensor& bias, const ImageShape& image, const ConvSpec& spec) {
  const ImageShape out = conv_output(image, spec);
  const Tensor y = Tensor::empty({x.dim(0), out.columns()}, DType::f64);
  for (std::int64_t e = 0; e < y.numel(); ++e) {
    const std::int64_t c = e / out.columns(), column = e % out.columns();
    const std::int64_t b = column / (out.height * out.width), oy = column / out.width % out.height,
                       ox = column % out.width;
    double sum = bias.data<double>()[c];
    for (int tap = 0; tap < spec.kernel * spec.kernel; ++tap) {
      const std::int64_t iy = oy * spec.stride + tap / spec.kernel - spec.padding;
      const std::int64_t ix = ox * spec.stride + tap % spec.kernel - spec.padding;
      if (iy < 0 || ix < 0 || iy >= image.height || ix >= image.width) continue;
      sum += w.data<double>()[c * spec.kernel * spec.kernel + tap] *
             x.data<double>()[((c * image.batch + b) * image.height + iy) * image.width + ix];
    }
    y.data<double>()[e] = std::max(sum, 0.0);
  }
  return y;
}

TEST(DepthwiseEpilogue, BiasAndRelu) {
  // 3x3 with strides 1 and 2 over tall, short and single-row maps (strips of 4, 2 and 1 rows), and a window of 5.
  struct Given {
    ImageShape image;
    ConvSpec spec;
  };
  const std::vector<Given> given{{{2, 9, 7}, {3, 1, 1}},  {{1, 8, 8}, {3, 2, 1}}, {{3, 3, 5}, {3, 1, 1}},
                                 {{2, 1, 40}, {3, 2, 1}}, {{1, 6, 6}, {5, 1, 2}}, {{1, 33, 35}, {3, 1, 1}}};
  for (const auto& [image, spec] : given) {
    check({.name = "depthwise + bias + relu " + std::to_string(image.height) + " x " + std::to_string(image.width),
           .inputs = {random_input({5, spec.kernel * spec.kernel}, 1), random_input({5, image.columns()}, 2),
                      random_input({5}, 3)},
           .run =
               [=](const std::vector<Var>& v) {
                 return Var(depthwise_conv2d(v[0].data(), v[1].data(), image, spec, v[2].data(), Activation::relu));
               },
           .reference = [=](const std::vector<Tensor>& in) { return reference(in[0], in[1], in[2], image, spec); },
           .check_gradient = false});
  }
}

TEST(DepthwiseEpilogue, IsTheSeparateOps) {
  const ImageShape image{2, 10, 11};
  for (const Device device : devices()) {
    const auto on_device = [&](const Tensor& t) { return t.to(DType::f32).to(device); };
    const Tensor w = on_device(random_input({6, 9}, 1)), x = on_device(random_input({6, image.columns()}, 2));
    const Tensor bias = on_device(random_input({6}, 3));
    for (const Activation kind : {Activation::none, Activation::relu, Activation::gelu}) {
      const Tensor fused = depthwise_conv2d(w, x, image, {}, bias, kind);
      EXPECT_TRUE(equal_bits(fused, activation(add_bias(depthwise_conv2d(w, x, image, {}), bias), kind)));
      EXPECT_TRUE(equal_bits(depthwise_conv2d(w, x, image, {}, Tensor(), kind),
                             activation(depthwise_conv2d(w, x, image, {}), kind)));
    }
  }
}

TEST(DepthwiseEpilogue, NanStaysAndErrorsAreTyped) {
  const ImageShape image{1, 4, 4};
  const Tensor w = Tensor::full({2, 9}, 1, DType::f32), bias = Tensor::zeros({2}, DType::f32);
  for (const Device device : devices()) {
    const Tensor nan = Tensor::full({2, 16}, std::numeric_limits<double>::quiet_NaN(), DType::f32, device);
    for (const float v :
         depthwise_conv2d(w.to(device), nan, image, {}, bias.to(device), Activation::relu).to_vector<float>())
      EXPECT_TRUE(std::isnan(v));
  }
  const Tensor x = Tensor::zeros({2, 16}, DType::f32);
  EXPECT_THROW(depthwise_conv2d(w, x, image, {}, Tensor::zeros({3}, DType::f32), Activation::relu), ShapeError);
  EXPECT_THROW(depthwise_conv2d(w, x, image, {}, Tensor::zeros({2}, DType::f64), Activation::relu), DtypeError);
}

}  // namespace
}  // namespace lacuna
