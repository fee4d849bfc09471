#include "core/ops/conv.h"

#include <algorithm>
#include <cstdint>
#include <limits>
#include <type_traits>

#include "core/ops/matmul.h"
#include "core/ops/pointwise.h"
#include "core/ops/reduce.h"
#include "core/ops/window_checks.h"
#include "core/visit.h"
#include "kernels/conv3x3/conv3x3.h"
#include "kernels/depthwise/depthwise.h"
#include "kernels/permute/permute.h"
#include "kernels/pointwise/pointwise.h"
#include "kernels/unfold/unfold.h"

namespace lacuna {
namespace {

// Columns [begin, end) of a matrix.
template <class T, class Element = const T>
Dense<Element> columns_of(const Tensor& t, std::int64_t begin, std::int64_t end) {
  return {t.data<T>() + begin, t.dim(0), end - begin, t.dim(1)};
}

template <class T, class Element = const T>
Dense<Element> matrix(const Tensor& t) {
  return columns_of<T, Element>(t, 0, t.dim(1));
}

// Images [begin, begin + count) of a batch.
struct ImageRange {
  std::int64_t begin;
  ImageShape shape;  // its batch is the count
};

ImageRange range_of(const ImageShape& image, std::int64_t begin, std::int64_t count) {
  return {begin, {std::min(count, image.batch - begin), image.height, image.width}};
}

/// Rows of the unfolded matrix in conv2d, a multiple of 16 bytes where the weight's rows matter to the product's kernels:
/// cuBLASLt has few, or none, for bf16 and TF32 operands whose rows begin off such a boundary, and a stem of 3 channels
/// has 27. The rows added are zeros. f32 has kernels all the same: few columns are not worth the copy of the weight.
std::int64_t padded_rows(const Tensor& x, const ConvSpec& spec, std::int64_t out_columns) {
  constexpr std::int64_t kFewColumns = 1 << 16;
  const std::int64_t rows = x.dim(0) * spec.kernel * spec.kernel;
  if (x.dtype() != DType::bf16 && (x.device().is_cpu() || out_columns < kFewColumns)) return rows;
  const auto unit = static_cast<std::int64_t>(16 / size_of(x.dtype()));
  return (rows + unit - 1) / unit * unit;
}

/// With `rows` rows, zeros past x's.
Tensor unfold_range(const Tensor& x, const ImageRange& range, const ConvSpec& spec, std::int64_t rows) {
  const std::int64_t pixels = range.shape.height * range.shape.width, filled = x.dim(0) * spec.kernel * spec.kernel;
  const Tensor whole = Tensor::empty({rows, conv_output(range.shape, spec).columns()}, x.dtype(), x.device());
  if (rows > filled) whole.slice(filled, rows).zero();
  const Tensor columns = whole.slice(0, filled);
  visit_activation("unfold", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::unfold<T>(stream, columns_of<T>(x, range.begin * pixels, (range.begin + range.shape.batch) * pixels),
                       window_of(range.shape, spec), matrix<T, T>(columns));
  });
  return whole;
}

Tensor unfold_range(const Tensor& x, const ImageRange& range, const ConvSpec& spec) {
  return unfold_range(x, range, spec, x.dim(0) * spec.kernel * spec.kernel);
}

void fold_range(const Tensor& columns, const ImageRange& range, const ConvSpec& spec, const Tensor& x) {
  const std::int64_t pixels = range.shape.height * range.shape.width;
  visit_activation("fold", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::fold<T>(stream, matrix<T>(columns), window_of(range.shape, spec),
                     columns_of<T, T>(x, range.begin * pixels, (range.begin + range.shape.batch) * pixels));
  });
}

// part = columns [begin, begin + part's) of whole, or the other way round.
void copy_columns(const Tensor& whole, std::int64_t begin, const Tensor& part, bool into_whole) {
  visit_activation("conv2d", whole, [&](auto stream, auto zero) {
    using T = decltype(zero);
    const std::int64_t end = begin + part.dim(1);
    if (into_whole) {
      kernels::copy_matrix<T>(stream, matrix<T>(part), columns_of<T, T>(whole, begin, end));
    } else {
      kernels::copy_matrix<T>(stream, columns_of<T>(whole, begin, end), matrix<T, T>(part));
    }
  });
}

/// w with zeros behind its columns, or its first columns alone; w itself when it has as many.
Tensor with_columns(const Tensor& w, std::int64_t columns) {
  if (columns == w.dim(1)) return w;
  const bool wider = columns > w.dim(1);
  const Shape shape{w.dim(0), columns};
  const Tensor out = wider ? Tensor::zeros(shape, w.dtype(), w.device()) : Tensor::empty(shape, w.dtype(), w.device());
  if (wider)
    copy_columns(out, 0, w, true);
  else
    copy_columns(w, 0, out, false);
  return out;
}

/// One convolution: its sizes, and the walk over as many images at a time as the limit allows.
struct Convolution {
  ImageShape image, out;
  ConvSpec spec;
  std::int64_t images_at_once;
  std::int64_t rows;  // of the unfolded matrix, padding included

  template <class F>  // f(range, first output column)
  void for_ranges(F&& f) const {
    for (std::int64_t begin = 0; begin < image.batch; begin += images_at_once)
      f(range_of(image, begin, images_at_once), begin * out.height * out.width);
  }
  bool in_one() const { return images_at_once >= image.batch; }

  // dy's columns for a range; dy itself when there is but one.
  Tensor part_of(const Tensor& dy, const ImageRange& range, std::int64_t column) const {
    if (in_one()) return dy;
    const Tensor part = Tensor::empty({dy.dim(0), conv_output(range.shape, spec).columns()}, dy.dtype(), dy.device());
    copy_columns(dy, column, part, false);
    return part;
  }
};

Convolution plan(const Tensor& w, const Tensor& x, const Tensor& bias, const ImageShape& image, const ConvSpec& spec,
                 std::size_t unfolded_bytes) {
  require_rank("conv2d", "w", w, 2);
  require_same_device_and_dtype("conv2d", "w", w, "x", x);
  require_images("conv2d", "x", x, image);
  const ImageShape out = conv_output(image, spec);
  const std::int64_t unfolded_rows = x.dim(0) * spec.kernel * spec.kernel;
  if (w.dim(1) != unfolded_rows) {
    throw ShapeError("conv2d", describe_pair("w", w, "x", x) + ", window " + std::to_string(spec.kernel) +
                                   "; w's columns must be x's channels times window squared, " +
                                   std::to_string(unfolded_rows));
  }
  require_bias("conv2d", bias, x, w.dim(0));
  const std::int64_t rows = padded_rows(x, spec, out.columns());
  const std::int64_t bytes_per_image = rows * out.height * out.width * static_cast<std::int64_t>(size_of(x.dtype()));
  const std::int64_t fits = static_cast<std::int64_t>(unfolded_bytes) / std::max<std::int64_t>(bytes_per_image, 1);
  return {image, out, spec, std::clamp<std::int64_t>(fits, 1, std::max<std::int64_t>(image.batch, 1)), rows};
}

/// The kernel of a network's first layer, where there is one: y, or an undefined tensor.
Tensor conv2d_directly([[maybe_unused]] const Tensor& w, [[maybe_unused]] const Tensor& x,
                       [[maybe_unused]] const Tensor& bias, [[maybe_unused]] const Convolution& conv,
                       [[maybe_unused]] Activation kind) {
#if LACUNA_HAS_CUDA
  const kernels::Window window = window_of(conv.image, conv.spec);
  if (!x.device().is_cuda() || !kernels::conv3x3_applies(x.dim(0), w.dim(0), window) ||
      reinterpret_cast<std::uintptr_t>(x.raw()) % 16 != 0)
    return {};
  const Tensor y = Tensor::empty({w.dim(0), conv.out.columns()}, x.dtype(), x.device());
  visit_activation("conv2d", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    if constexpr (std::is_same_v<decltype(stream), CudaStream> && !std::is_same_v<T, double>) {
      kernels::conv3x3<T>(stream, x.dim(0), w.dim(0), window, w.data<T>(), x.data<T>(), y.data<T>(),
                          {bias.defined() ? bias.data<float>() : nullptr, kind});
    }
  });
  return y;
#else
  return {};
#endif
}

// The unfolded matrix is x itself.
bool is_pointwise(const ConvSpec& spec) { return spec.kernel == 1 && spec.stride == 1 && spec.padding == 0; }

Tensor conv2d_dw(const Convolution& conv, const Tensor& w, const Tensor& x, const Tensor& dy) {
  const OpScope scope("conv2d gradient");
  if (conv.image.batch == 0) return Tensor::zeros(w.shape(), accumulator_of(w.dtype()), w.device());
  Tensor dw;
  conv.for_ranges([&](const ImageRange& range, std::int64_t column) {
    const Tensor unfolded = unfold_range(x, range, conv.spec, conv.rows);
    accumulate(dw, matmul_wide(conv.part_of(dy, range, column), unfolded, false, true));
  });
  return with_columns(dw, w.dim(1));
}

Tensor conv2d_dx(const Convolution& conv, const Tensor& w, const Shape& x, const Tensor& dy) {
  const OpScope scope("conv2d gradient");
  const Tensor dx = Tensor::empty(x, dy.dtype(), dy.device()), padded = with_columns(w, conv.rows);
  conv.for_ranges([&](const ImageRange& range, std::int64_t column) {
    const Tensor columns = matmul(padded, conv.part_of(dy, range, column), true, false);
    fold_range(columns.slice(0, w.dim(1)), range, conv.spec, dx);
  });
  return dx;
}

void check_depthwise(const Tensor& w, const Tensor& x, const ImageShape& image, const ConvSpec& spec) {
  require_rank("depthwise_conv2d", "w", w, 2);
  require_beside("depthwise_conv2d", "w", w, x);
  require_images("depthwise_conv2d", "x", x, image);
  const std::int64_t taps = std::int64_t{spec.kernel} * spec.kernel;
  if (w.dim(0) != x.dim(0) || w.dim(1) != taps) {
    throw ShapeError("depthwise_conv2d", describe_pair("w", w, "x", x) + "; w must be [" + std::to_string(x.dim(0)) +
                                             ", " + std::to_string(taps) + "]");
  }
}

}  // namespace

ImageShape conv_output(const ImageShape& image, const ConvSpec& spec) {
  const std::string given = describe(image) + ", window " + std::to_string(spec.kernel) + ", stride " +
                            std::to_string(spec.stride) + ", padding " + std::to_string(spec.padding);
  if (spec.kernel < 1 || spec.stride < 1 || spec.padding < 0)
    throw ValueError("conv_output", given + "; window and stride must be at least 1, padding at least 0");
  const auto extent = [&](std::int64_t size) {
    const std::int64_t span = size + std::int64_t{2} * spec.padding - spec.kernel;
    return span < 0 ? 0 : span / spec.stride + 1;
  };
  const ImageShape out{image.batch, extent(image.height), extent(image.width)};
  if (image.batch < 0 || image.height < 1 || image.width < 1 || out.height < 1 || out.width < 1)
    throw ShapeError("conv_output", given + "; the window must fit the padded image");
  constexpr std::int64_t kMost = std::numeric_limits<std::int32_t>::max();
  if (image.columns() > kMost || out.columns() > kMost)
    throw IndexError("conv_output", given + "; batch * height * width must fit 31 bits");
  return out;
}

Tensor unfold(const Tensor& x, const ImageShape& image, const ConvSpec& spec) {
  const OpScope scope("unfold");
  require_images("unfold", "x", x, image);
  return unfold_range(x, {0, image}, spec);
}

Var unfold(const Var& x, const ImageShape& image, const ConvSpec& spec) {
  return record("unfold", unfold(x.data(), image, spec), {x}, [image, spec](const Tensor& dy, Grads& grads) {
    grads.add(0, [&] { return fold(dy, image, spec); });
  });
}

Tensor fold(const Tensor& columns, const ImageShape& image, const ConvSpec& spec) {
  const OpScope scope("fold");
  require_images("fold", "columns", columns, conv_output(image, spec));
  const std::int64_t taps = std::int64_t{spec.kernel} * spec.kernel;
  if (columns.dim(0) % taps != 0)
    throw ShapeError("fold", "columns is " + describe(columns) + "; its rows must be a multiple of " + std::to_string(taps));
  const Tensor x = Tensor::empty({columns.dim(0) / taps, image.columns()}, columns.dtype(), columns.device());
  fold_range(columns, {0, image}, spec, x);
  return x;
}

Var fold(const Var& columns, const ImageShape& image, const ConvSpec& spec) {
  return record("fold", fold(columns.data(), image, spec), {columns}, [image, spec](const Tensor& dx, Grads& grads) {
    grads.add(0, [&] { return unfold(dx, image, spec); });
  });
}

Tensor conv2d(const Tensor& w, const Tensor& x, const Tensor& bias, const ImageShape& image, const ConvSpec& spec,
              std::size_t unfolded_bytes, Activation kind) {
  const OpScope scope("conv2d");
  const Convolution conv = plan(w, x, bias, image, spec, unfolded_bytes);
  if (is_pointwise(spec)) return linear(w, x, bias, kind);
  if (const Tensor y = conv2d_directly(w, x, bias, conv, kind); y.defined()) return y;
  const Tensor padded = with_columns(w, conv.rows);
  if (conv.in_one()) return linear(padded, unfold_range(x, {0, image}, spec, conv.rows), bias, kind);
  const Tensor y = Tensor::empty({w.dim(0), conv.out.columns()}, x.dtype(), x.device());
  conv.for_ranges([&](const ImageRange& range, std::int64_t column) {
    copy_columns(y, column, linear(padded, unfold_range(x, range, spec, conv.rows), bias, kind), true);
  });
  return y;
}

Var conv2d(const Var& w, const Var& x, const Var& bias, const ImageShape& image, const ConvSpec& spec,
           std::size_t unfolded_bytes) {
  const Tensor bias_data = bias.defined() ? bias.data() : Tensor();
  const Convolution conv = plan(w.data(), x.data(), bias_data, image, spec, unfolded_bytes);
  if (is_pointwise(spec)) return linear(w, x, bias);
  return record("conv2d", conv2d(w.data(), x.data(), bias_data, image, spec, unfolded_bytes), {w, x, bias},
                [w = w.data(), x = w.requires_grad() ? x.data() : Tensor(), shape = x.shape(), conv](const Tensor& dy,
                                                                                                     Grads& grads) mutable {
    grads.add(0, [&] { return conv2d_dw(conv, w, x, dy); });
    x = Tensor();  // used up: gone before dx needs its memory
    grads.add(1, [&] { return conv2d_dx(conv, w, shape, dy); });
    grads.add(2, [&] { return sum_columns(dy); });
  });
}

Tensor depthwise_conv2d(const Tensor& w, const Tensor& x, const ImageShape& image, const ConvSpec& spec) {
  return depthwise_conv2d(w, x, image, spec, Tensor(), Activation::none);
}

Tensor depthwise_conv2d(const Tensor& w, const Tensor& x, const ImageShape& image, const ConvSpec& spec,
                        const Tensor& bias, Activation kind) {
  const OpScope scope("depthwise_conv2d");
  check_depthwise(w, x, image, spec);
  require_bias("depthwise_conv2d", bias, x, w.dim(0));
  const Tensor y = Tensor::empty({x.dim(0), conv_output(image, spec).columns()}, x.dtype(), x.device());
  visit_activation("depthwise_conv2d", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::depthwise<T>(stream, x.dim(0), window_of(image, spec), w.data<acc_t<T>>(), x.data<T>(), y.data<T>(),
                          {bias.defined() ? bias.data<acc_t<T>>() : nullptr, kind});
  });
  return y;
}

Var depthwise_conv2d(const Var& w, const Var& x, const ImageShape& image, const ConvSpec& spec) {
  return record("depthwise_conv2d", depthwise_conv2d(w.data(), x.data(), image, spec), {w, x},
                [w = w.data(), x = w.requires_grad() ? x.data() : Tensor(), shape = x.shape(),
                 window = window_of(image, spec)](const Tensor& dy, Grads& grads) mutable {
    const OpScope scope("depthwise_conv2d gradient");
    const std::int64_t channels = shape[0];
    grads.add(0, [&] {
      const Tensor dw = Tensor::empty_like(w);
      const Tensor scratch = activation_scratch_for("depthwise_conv2d", x, [&](auto stream, auto zero) {
        return kernels::depthwise_dw_scratch_bytes<decltype(zero)>(stream, channels, window);
      });
      visit_activation("depthwise_conv2d", x, [&](auto stream, auto zero) {
        using T = decltype(zero);
        kernels::depthwise_dw<T>(stream, channels, window, x.data<T>(), dy.data<T>(), dw.data<acc_t<T>>(),
                                 scratch.raw());
      });
      return dw;
    });
    x = Tensor();  // used up: gone before dx needs its memory
    grads.add(1, [&] {
      const Tensor dx = Tensor::empty(shape, dy.dtype(), dy.device());
      visit_activation("depthwise_conv2d", dy, [&](auto stream, auto zero) {
        using T = decltype(zero);
        kernels::depthwise_dx<T>(stream, channels, window, w.data<acc_t<T>>(), dy.data<T>(), dx.data<T>());
      });
      return dx;
    });
  });
}

}  // namespace lacuna
