#include "core/ops/cast.h"

#include <type_traits>

#include "core/ops/checks.h"
#include "core/visit.h"
#include "kernels/cast/cast.h"

namespace lacuna {

void cast_into(const Tensor& out, const Tensor& x) {
  const OpScope scope("cast");
  require_same_device("cast", "out", out, "x", x);
  if (out.numel() != x.numel())
    throw ShapeError("cast", describe_pair("out", out, "x", x) + "; their counts must agree");
  visit_activation("cast", x, [&](auto stream, auto from) {
    using Stream = decltype(stream);
    using From = decltype(from);
    visit_activation("cast", out, [&](auto same_stream, auto to) {
      using To = decltype(to);
      // One device, so one kind of stream: the other pairings are instantiated but never reached.
      if constexpr (std::is_same_v<decltype(same_stream), Stream>)
        kernels::cast<From, To>(same_stream, x.data<From>(), out.data<To>(), x.numel());
    });
  });
}

Tensor cast(const Tensor& x, DType dtype) {
  const OpScope scope("cast");
  require_defined("cast", "x", x);
  if (x.dtype() == dtype) return x;
  const Tensor out = Tensor::empty(x.shape(), dtype, x.device());
  cast_into(out, x);
  return out;
}

Var cast(const Var& x, DType dtype) {
  if (x.data().dtype() == dtype) return x;
  const auto vjp = [from = x.data().dtype()](const Tensor& dc, Grads& grads) {
    grads.add(0, [&] { return cast(dc, from); });
  };
  return record("cast", cast(x.data(), dtype), {x}, vjp, GradientDtype::any);
}

}  // namespace lacuna
