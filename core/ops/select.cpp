#include "core/ops/select.h"

#include <fmt/format.h>

#include "core/ops/checks.h"
#include "core/visit.h"
#include "kernels/select/select.h"

namespace lacuna {

Tensor top_k_mask(const Tensor& scores, std::int64_t k) {
  OpScope scope("top_k_mask");
  require_rank("top_k_mask", "scores", scores, 1);
  const std::int64_t n = scores.numel();
  if (k < 0 || k > n)
    throw ValueError("top_k_mask", fmt::format("k is {}, scores are {}; k must be in [0, {}]", k, describe(scores), n));
  const Tensor keep = Tensor::empty({n}, DType::u8, scores.device());
  visit_float("top_k_mask", scores, [&](auto stream, auto zero) {
    using T = decltype(zero);
    const Tensor scratch = Tensor::empty({static_cast<std::int64_t>(kernels::top_k_scratch_bytes<T>(stream, n))},
                                         DType::u8, scores.device());
    kernels::top_k_mask<T>(stream, scores.data<T>(), n, k, keep.data<std::uint8_t>(), scratch.raw());
  });
  return keep;
}

Tensor magnitude(const Tensor& x) {
  OpScope scope("magnitude");
  require_defined("magnitude", "x", x);
  const Tensor out = Tensor::empty_like(x);
  visit_float("magnitude", x, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::magnitude<T>(stream, x.data<T>(), x.numel(), out.data<T>());
  });
  return out;
}

}  // namespace lacuna
