#include "core/ops/pool.h"

#include "core/ops/window_checks.h"
#include "core/visit.h"
#include "kernels/pool/pool.h"

namespace lacuna {
namespace {

kernels::Window check_pool(const char* op, const Tensor& x, const ImageShape& image, const ConvSpec& spec) {
  require_images(op, "x", x, image);
  const kernels::Window window = window_of(image, spec);
  if (2 * spec.padding > spec.kernel) {  // else a window could hold nothing but padding
    throw ValueError(op, "window " + std::to_string(spec.kernel) + ", padding " + std::to_string(spec.padding) +
                             "; padding must be at most half the window");
  }
  return window;
}

Tensor empty_output(const Tensor& x, const kernels::Window& window) {
  return Tensor::empty({x.dim(0), window.out_size()}, x.dtype(), x.device());
}

Tensor empty_input(const Tensor& dy, const kernels::Window& window) {
  return Tensor::empty({dy.dim(0), window.size()}, dy.dtype(), dy.device());
}

// `chosen` undefined: positions are not wanted.
Tensor max_pool(const Tensor& x, const kernels::Window& window, const Tensor& chosen) {
  const OpScope scope("max_pool2d");
  const Tensor y = empty_output(x, window);
  visit_activation("max_pool2d", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::max_pool<T>(stream, x.dim(0), window, x.data<T>(), y.data<T>(),
                         chosen.defined() ? chosen.data<std::int32_t>() : nullptr);
  });
  return y;
}

}  // namespace

Tensor global_avg_pool(const Tensor& x, const ImageShape& image) {
  const OpScope scope("global_avg_pool");
  require_images("global_avg_pool", "x", x, image);
  const std::int64_t pixels = image.height * image.width;
  if (pixels < 1) throw ShapeError("global_avg_pool", describe(image) + "; an image must have a pixel");
  const Tensor y = Tensor::empty({x.dim(0), image.batch}, x.dtype(), x.device());
  visit_activation("global_avg_pool", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::segment_mean<T>(stream, y.numel(), pixels, x.data<T>(), y.data<T>());
  });
  return y;
}

Var global_avg_pool(const Var& x, const ImageShape& image) {
  return record("global_avg_pool", global_avg_pool(x.data(), image), {x}, [image](const Tensor& dy, Grads& grads) {
    grads.add(0, [&] {
      const OpScope scope("global_avg_pool gradient");
      const Tensor dx = Tensor::empty({dy.dim(0), image.columns()}, dy.dtype(), dy.device());
      visit_activation("global_avg_pool", dy, [&](auto stream, auto zero) {
        using T = decltype(zero);
        kernels::segment_mean_dx<T>(stream, dy.numel(), image.height * image.width, dy.data<T>(), dx.data<T>());
      });
      return dx;
    });
  });
}

Tensor avg_pool2d(const Tensor& x, const ImageShape& image, const ConvSpec& spec) {
  const OpScope scope("avg_pool2d");
  const kernels::Window window = check_pool("avg_pool2d", x, image, spec);
  const Tensor y = empty_output(x, window);
  visit_activation("avg_pool2d", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::avg_pool<T>(stream, x.dim(0), window, x.data<T>(), y.data<T>());
  });
  return y;
}

Var avg_pool2d(const Var& x, const ImageShape& image, const ConvSpec& spec) {
  return record("avg_pool2d", avg_pool2d(x.data(), image, spec), {x},
                [window = window_of(image, spec)](const Tensor& dy, Grads& grads) {
    grads.add(0, [&] {
      const OpScope scope("avg_pool2d gradient");
      const Tensor dx = empty_input(dy, window);
      visit_activation("avg_pool2d", dy, [&](auto stream, auto zero) {
        using T = decltype(zero);
        kernels::avg_pool_dx<T>(stream, dy.dim(0), window, dy.data<T>(), dx.data<T>());
      });
      return dx;
    });
  });
}

Tensor max_pool2d(const Tensor& x, const ImageShape& image, const ConvSpec& spec) {
  return max_pool(x, check_pool("max_pool2d", x, image, spec), {});
}

Var max_pool2d(const Var& x, const ImageShape& image, const ConvSpec& spec) {
  if (!x.requires_grad()) return Var(max_pool2d(x.data(), image, spec));
  const kernels::Window window = check_pool("max_pool2d", x.data(), image, spec);
  const Tensor chosen = Tensor::empty({x.data().dim(0), window.out_size()}, DType::i32, x.data().device());
  return record("max_pool2d", max_pool(x.data(), window, chosen), {x}, [window, chosen](const Tensor& dy, Grads& grads) {
    grads.add(0, [&] {
      const OpScope scope("max_pool2d gradient");
      const Tensor dx = empty_input(dy, window);
      visit_activation("max_pool2d", dy, [&](auto stream, auto zero) {
        using T = decltype(zero);
        kernels::max_pool_dx<T>(stream, dy.dim(0), window, dy.data<T>(), chosen.data<std::int32_t>(), dx.data<T>());
      });
      return dx;
    });
  });
}

}  // namespace lacuna
