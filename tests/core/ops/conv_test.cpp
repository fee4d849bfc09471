#include "core/ops/conv.h"

#include <gtest/gtest.h>

#include <algorithm>
#include <cmath>
#include <limits>

#include "core/errors.h"
#include "tests/core/op_case.h"

namespace lacuna {
namespace {

using Vars = std::vector<Var>;
using Tensors = std::vector<Tensor>;

struct Problem {
  ImageShape image;
  ConvSpec spec;
};

std::string name_of(const char* op, const Problem& p) {
  return std::string(op) + " " + std::to_string(p.image.batch) + " images of " + std::to_string(p.image.height) + "x" +
         std::to_string(p.image.width) + ", window " + std::to_string(p.spec.kernel) + ", stride " +
         std::to_string(p.spec.stride) + ", padding " + std::to_string(p.spec.padding);
}

// Tiny images (2x2 strips, 1x1), strips of 4 rows with leftovers, strides that leave pixels unread, every window form.
const std::vector<Problem> kProblems = {
    {{2, 5, 7}, {3, 1, 1}}, {{3, 9, 6}, {3, 2, 1}},  {{33, 2, 2}, {3, 1, 1}}, {{5, 4, 4}, {3, 2, 1}},
    {{2, 1, 1}, {3, 1, 1}}, {{1, 6, 5}, {3, 1, 0}},  {{2, 8, 8}, {3, 2, 0}},  {{2, 7, 9}, {5, 1, 2}},
    {{1, 8, 7}, {5, 3, 2}}, {{2, 5, 5}, {2, 2, 0}},  {{3, 4, 5}, {1, 1, 0}},  {{2, 6, 6}, {1, 2, 0}},
    {{1, 4, 5}, {3, 1, 2}}, {{1, 3, 3}, {3, 1, 3}},  {{2, 3, 4}, {7, 1, 3}},
};

// Windows that CUDA takes by packs of columns: four at once, two, and (the stride's input gradient alone) one; with rows
// left over below the last whole strip.
const std::vector<Problem> kPackProblems = {
    {{2, 6, 8}, {3, 1, 1}}, {{2, 12, 16}, {3, 2, 1}}, {{3, 5, 6}, {3, 1, 1}}, {{2, 10, 12}, {3, 2, 1}},
    {{2, 6, 10}, {3, 2, 1}}, {{1, 3, 4}, {3, 1, 1}},   {{40, 4, 8}, {3, 1, 1}}, {{2, 2, 8}, {3, 2, 1}},
};

std::int64_t taps(const Problem& p) { return std::int64_t{p.spec.kernel} * p.spec.kernel; }

// Calls f(tap, input column, output column) for every pair that a window joins.
template <class F>
void for_pairs(const Problem& p, F&& f) {
  const ImageShape out = conv_output(p.image, p.spec);
  for (std::int64_t b = 0; b < out.batch; ++b)
    for (std::int64_t oy = 0; oy < out.height; ++oy)
      for (std::int64_t ox = 0; ox < out.width; ++ox)
        for (std::int64_t tap = 0; tap < taps(p); ++tap) {
          const std::int64_t iy = oy * p.spec.stride + tap / p.spec.kernel - p.spec.padding;
          const std::int64_t ix = ox * p.spec.stride + tap % p.spec.kernel - p.spec.padding;
          if (iy < 0 || iy >= p.image.height || ix < 0 || ix >= p.image.width) continue;
          f(tap, (b * p.image.height + iy) * p.image.width + ix, (b * out.height + oy) * out.width + ox);
        }
}

TEST(Unfold, EveryWindow) {
  const std::int64_t c = 2;
  for (const Problem& p : kProblems) {
    const std::int64_t in_columns = p.image.columns(), out_columns = conv_output(p.image, p.spec).columns();
    check({.name = name_of("unfold", p), .inputs = {random_input({c, in_columns}, 1)},
           .run = [=](const Vars& v) { return unfold(v[0], p.image, p.spec); },
           .reference = [=](const Tensors& in) {
             const Tensor y = Tensor::zeros({c * taps(p), out_columns}, DType::f64);
             for_pairs(p, [&](std::int64_t tap, std::int64_t i, std::int64_t o) {
               for (std::int64_t ch = 0; ch < c; ++ch)
                 y.data<double>()[(ch * taps(p) + tap) * out_columns + o] = in[0].data<double>()[ch * in_columns + i];
             });
             return y;
           },
           .bf16_roundings = 1});
    check({.name = name_of("fold", p), .inputs = {random_input({c * taps(p), out_columns}, 1)},
           .run = [=](const Vars& v) { return fold(v[0], p.image, p.spec); },
           .reference = [=](const Tensors& in) {
             const Tensor x = Tensor::zeros({c, in_columns}, DType::f64);
             for_pairs(p, [&](std::int64_t tap, std::int64_t i, std::int64_t o) {
               for (std::int64_t ch = 0; ch < c; ++ch)
                 x.data<double>()[ch * in_columns + i] += in[0].data<double>()[(ch * taps(p) + tap) * out_columns + o];
             });
             return x;
           },
           .bf16_roundings = 1});
  }
}

Tensor conv2d_reference(const Problem& p, const Tensors& in) {
  const std::int64_t cin = in[1].dim(0), cout = in[0].dim(0);
  const std::int64_t in_columns = p.image.columns(), out_columns = conv_output(p.image, p.spec).columns();
  const Tensor y = Tensor::zeros({cout, out_columns}, DType::f64);
  if (in[2].defined())
    for (std::int64_t e = 0; e < y.numel(); ++e) y.data<double>()[e] = in[2].data<double>()[e / out_columns];
  for_pairs(p, [&](std::int64_t tap, std::int64_t i, std::int64_t o) {
    for (std::int64_t co = 0; co < cout; ++co)
      for (std::int64_t ci = 0; ci < cin; ++ci)
        y.data<double>()[co * out_columns + o] +=
            in[0].data<double>()[(co * cin + ci) * taps(p) + tap] * in[1].data<double>()[ci * in_columns + i];
  });
  return y;
}

void check_conv2d(const Problem& p, bool bias, std::size_t unfolded_bytes, std::int64_t cin = 3,
                  std::int64_t cout = 4) {
  check({.name = name_of("conv2d", p),
         .inputs = {random_input({cout, cin * taps(p)}, 1), random_input({cin, p.image.columns()}, 2),
                    bias ? random_input({cout}, 3) : Tensor()},
         .run = [=](const Vars& v) { return conv2d(v[0], v[1], v[2], p.image, p.spec, unfolded_bytes); },
         .reference = [=](const Tensors& in) { return conv2d_reference(p, in); },
         .tf32_tolerance = 2e-3,
         .bf16_roundings = 2,           // of the product, and of it with the bias where that is apart (CUDA)
         .bf16_gradient_roundings = 3,  // dx: of w^T dy, then of the sum over the windows
         .parameters = {false, false, true}});
}

TEST(Conv2d, EveryWindow) {
  for (const Problem& p : kProblems) check_conv2d(p, p.image.batch % 2 == 0, kUnfoldedBytes);
}

// Where CUDA needs no unfolded matrix: one channel or three, widths that four divides; channels that fill no block, and
// more than one.
TEST(Conv2d, OfAnImage) {
  const std::vector<Problem> problems = {{{2, 6, 8}, {3, 1, 1}},  {{2, 12, 16}, {3, 2, 1}}, {{1, 2, 8}, {3, 2, 1}},
                                         {{3, 5, 4}, {3, 1, 1}},  {{1, 1, 4}, {3, 1, 1}},   {{9, 6, 24}, {3, 2, 1}},
                                         {{2, 6, 10}, {3, 1, 1}}, {{2, 6, 10}, {3, 2, 1}}};
  for (const Problem& p : problems) {
    for (const std::int64_t cin : {1, 3}) check_conv2d(p, p.image.batch % 2 == 0, kUnfoldedBytes, cin, cin == 3 ? 21 : 5);
  }
  const ImageShape image{2, 4, 8};
  for (const Device device : devices()) {  // with the activation, as a folded network calls it
    for (const DType dtype : {DType::f32, DType::bf16}) {
      const Tensor w = random_input({18, 27}, 1), x = random_input({3, image.columns()}, 2), b = random_input({18}, 3);
      const auto there = [&](const Tensor& t, DType as) { return t.to(DType::f32).to(as).to(device); };
      const Tensor y = conv2d(there(w, dtype), there(x, dtype), there(b, DType::f32), image, {3, 1, 1}, kUnfoldedBytes,
                              Activation::relu);
      const std::vector<double> got = y.to(kCpu).to(DType::f64).to_vector<double>();
      const std::vector<double> want = conv2d_reference({image, {3, 1, 1}}, {w, x, b}).to_vector<double>();
      ASSERT_EQ(got.size(), want.size());
      for (std::size_t i = 0; i < got.size(); ++i)
        ASSERT_NEAR(got[i], std::max(want[i], 0.0), dtype == DType::bf16 ? 0.1 : 1e-5) << i;
    }
  }
}

TEST(Conv2d, InPiecesOfTheBatch) {
  // 3 * 9 * 30 * 8 bytes per image in f64, half in f32: pieces of 2 (4 in f32) of 5 images, then of 1.
  check_conv2d({{5, 5, 6}, {3, 1, 1}}, true, 15000);
  check_conv2d({{5, 5, 6}, {3, 2, 1}}, false, 1);
}

TEST(Conv2d, PiecesBoundMemory) {
  const ImageShape image{8, 16, 16};
  const Tensor w = random_input({2, 9 * 4}, 1), x = random_input({4, image.columns()}, 2);
  const std::size_t whole = std::size_t{9 * 4} * 8 * 256 * sizeof(double), piece = whole / 8;
  reset_peak_memory(kCpu);
  const std::size_t before = memory_stats(kCpu).live_bytes;
  conv2d(w, x, {}, image, {3, 1, 1}, piece);
  EXPECT_LT(memory_stats(kCpu).peak_bytes - before, whole / 2);
}

TEST(DepthwiseConv2d, EveryWindow) {
  const std::int64_t c = 3;
  std::vector<Problem> problems = kProblems;
  problems.insert(problems.end(), kPackProblems.begin(), kPackProblems.end());
  for (const Problem& p : problems) {
    const std::int64_t in_columns = p.image.columns(), out_columns = conv_output(p.image, p.spec).columns();
    check({.name = name_of("depthwise_conv2d", p),
           .inputs = {random_input({c, taps(p)}, 1), random_input({c, in_columns}, 2)},
           .run = [=](const Vars& v) { return depthwise_conv2d(v[0], v[1], p.image, p.spec); },
           .reference = [=](const Tensors& in) {
             const Tensor y = Tensor::zeros({c, out_columns}, DType::f64);
             for_pairs(p, [&](std::int64_t tap, std::int64_t i, std::int64_t o) {
               for (std::int64_t ch = 0; ch < c; ++ch)
                 y.data<double>()[ch * out_columns + o] +=
                     in[0].data<double>()[ch * taps(p) + tap] * in[1].data<double>()[ch * in_columns + i];
             });
             return y;
           },
           .bf16_roundings = 1,
           .parameters = {true, false}});
  }
}

TEST(DepthwiseConv2d, ManyImages) {  // several chunks of the weight gradient
  const Problem p{{600, 4, 4}, {3, 1, 1}};
  const Tensor w = random_input({2, 9}, 1), x = random_input({2, p.image.columns()}, 2), dy = random_input({2, p.image.columns()}, 3);
  std::vector<double> expected(18, 0.0);
  for_pairs(p, [&](std::int64_t tap, std::int64_t i, std::int64_t o) {
    for (std::int64_t ch = 0; ch < 2; ++ch)
      expected[static_cast<std::size_t>(ch * 9 + tap)] +=
          x.data<double>()[ch * p.image.columns() + i] * dy.data<double>()[ch * p.image.columns() + o];
  });
  for (const Device device : devices()) {
    const Var leaf(w.to(DType::f32).to(device), true);
    backward(depthwise_conv2d(leaf, Var(x.to(DType::f32).to(device)), p.image, p.spec), dy.to(DType::f32).to(device));
    EXPECT_LT(relative_error(leaf.grad(), Tensor::from(expected, {2, 9})), 1e-5) << to_string(device);
  }
}

// Large batches and small ones go different ways on CUDA (rows a thread, threads shared by channels); none changes a bit.
TEST(DepthwiseConv2d, OfManyImagesIsThatOfEach) {
  constexpr std::int64_t kImages = 23000, kChannels = 3;
  for (const Device device : devices()) {
    for (const ImageShape& one : {ImageShape{1, 4, 8}, ImageShape{1, 4, 2}, ImageShape{1, 5, 3}, ImageShape{1, 6, 6}}) {
      for (const int stride : {1, 2}) {
        const ConvSpec spec{3, stride, 1};
        const ImageShape many{kImages, one.height, one.width};
        const std::int64_t in = one.columns(), out = conv_output(one, spec).columns();
        const Tensor w = random_input({kChannels, 9}, 1).to(DType::f32);
        const Tensor x = random_input({kChannels, many.columns()}, 2).to(DType::f32);
        const auto run = [&](const Tensor& images, const ImageShape& image) {
          return depthwise_conv2d(w.to(device), images.to(device), image, spec).to_vector<float>();
        };
        const std::vector<float> all = run(x, many);
        for (const std::int64_t i : {std::int64_t{0}, kImages / 2, kImages - 1}) {
          Tensor image = Tensor::empty({kChannels, in}, DType::f32, kCpu);
          for (std::int64_t c = 0; c < kChannels; ++c)
            std::copy_n(x.data<float>() + c * many.columns() + i * in, in, image.data<float>() + c * in);
          const std::vector<float> alone = run(image, one);
          for (std::int64_t c = 0; c < kChannels; ++c)
            for (std::int64_t e = 0; e < out; ++e)
              ASSERT_EQ(all[static_cast<std::size_t>((c * kImages + i) * out + e)],
                        alone[static_cast<std::size_t>(c * out + e)])
                  << name_of("depthwise", {one, spec}) << " on " << to_string(device) << ", image " << i;
        }
      }
    }
  }
}

// Stride 2 without padding on 4x4 images reads rows 0..2 only: NaN in the last row and column must stay unseen.
TEST(DepthwiseConv2d, UnreadPixelsDoNotMatter) {
  const ImageShape image{3, 4, 4};
  const ConvSpec spec{3, 2, 0};
  for (const Device device : devices()) {
    const Tensor x = random_input({1, 48}, 1).to(DType::f32);
    for (std::int64_t e = 0; e < 48; ++e)
      if (e % 4 == 3 || e / 4 % 4 == 3) x.data<float>()[e] = std::numeric_limits<float>::quiet_NaN();
    const Var w(random_input({1, 9}, 2).to(DType::f32).to(device), true);
    const Var y = depthwise_conv2d(w, Var(x.to(device)), image, spec);
    backward(y, Tensor::full(y.shape(), 1, DType::f32, device));
    for (const float v : y.data().to_vector<float>()) EXPECT_FALSE(std::isnan(v));
    for (const float v : w.grad().to_vector<float>()) EXPECT_FALSE(std::isnan(v));
  }
}

TEST(Conv, EmptyBatch) {
  const ImageShape image{0, 5, 5};
  const ConvSpec spec{3, 1, 1};
  for (const Device device : devices()) {
    const Var w(random_input({2, 27}, 1).to(DType::f32).to(device), true), x(Tensor::zeros({3, 0}, DType::f32, device), true);
    const Var y = conv2d(w, x, {}, image, spec);
    backward(y, Tensor::zeros({2, 0}, DType::f32, device));
    for (const float v : w.grad().to_vector<float>()) EXPECT_EQ(v, 0);
    const Var filter(random_input({3, 9}, 1).to(DType::f32).to(device), true);
    backward(depthwise_conv2d(filter, x.detach(), image, spec), Tensor::zeros({3, 0}, DType::f32, device));
    for (const float v : filter.grad().to_vector<float>()) EXPECT_EQ(v, 0);
  }
}

TEST(Conv, Errors) {
  const Tensor x = Tensor::zeros({3, 2 * 5 * 5}, DType::f32);
  const ImageShape image{2, 5, 5};
  EXPECT_THROW(conv_output(image, {0, 1, 1}), ValueError);
  EXPECT_THROW(conv_output(image, {3, 0, 1}), ValueError);
  EXPECT_THROW(conv_output(image, {3, 1, -1}), ValueError);
  EXPECT_THROW(conv_output(image, {6, 1, 0}), ShapeError);
  EXPECT_THROW(conv_output({1 << 20, 64, 64}, {3, 1, 1}), IndexError);
  EXPECT_THROW(unfold(x, {2, 5, 6}, {}), ShapeError);
  EXPECT_THROW(fold(Tensor::zeros({10, 50}, DType::f32), image, {}), ShapeError);
  EXPECT_THROW(conv2d(Tensor::zeros({4, 26}, DType::f32), x, {}, image, {}), ShapeError);
  EXPECT_THROW(conv2d(Tensor::zeros({4, 27}, DType::f32), x, Tensor::zeros({3}, DType::f32), image, {}), ShapeError);
  EXPECT_THROW(conv2d(Tensor::zeros({4, 27}, DType::f64), x, {}, image, {}), DtypeError);
  EXPECT_THROW(depthwise_conv2d(Tensor::zeros({4, 9}, DType::f32), x, image, {}), ShapeError);
  EXPECT_THROW(depthwise_conv2d(Tensor::zeros({3, 25}, DType::f32), x, image, {}), ShapeError);
}

}  // namespace
}  // namespace lacuna
