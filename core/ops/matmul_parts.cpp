#include "core/ops/matmul_parts.h"

#include <type_traits>

#include "core/ops/cast.h"
#include "core/ops/checks.h"
#include "core/visit.h"
#include "kernels/gemm/gemm.h"
#include "kernels/sum_parts/sum_parts.h"

namespace lacuna {

namespace {

/// [rows, k] as `parts` matrices [rows, k / parts], each of neighbouring columns.
template <class T>
Dense<const T> pieces(const Tensor& t, std::int64_t parts) {
  const std::int64_t k = t.dim(1), piece = k / parts;
  return {t.data<T>(), t.dim(0), piece, k, parts, piece};
}

}  // namespace

std::int64_t matmul_parts(std::int64_t m, std::int64_t n, std::int64_t k, int multiprocessors) {
  constexpr std::int64_t kTile = 128, kLeastPiece = 1024, kUnit = 8;  // 16 bytes of bf16
  const std::int64_t tiles = ((m + kTile - 1) / kTile) * ((n + kTile - 1) / kTile);
  std::int64_t parts = 1;
  // Past 16 tiles the partial results would weigh more than what is read, and the library has tiles enough to go round.
  if (tiles > 16 || tiles == 0) return 1;
  while (2 * parts * tiles <= 2 * std::int64_t{multiprocessors} && k % (2 * parts * kUnit) == 0 &&
         k / (2 * parts) >= kLeastPiece)
    parts *= 2;
  return parts;
}

Tensor matmul_in_parts(const Tensor& a, const Tensor& b, std::int64_t parts) {
  const OpScope scope("matmul");
  require_rank("matmul", "a", a, 2);
  require_rank("matmul", "b", b, 2);
  require_same_device_and_dtype("matmul", "a", a, "b", b);
  if (a.dim(1) != b.dim(1))
    throw ShapeError("matmul", describe_pair("a", a, "b", b) + ", b transposed; their columns must agree");
  if (parts < 1 || a.dim(1) % parts != 0)
    throw ValueError("matmul", std::to_string(parts) + " parts of " + std::to_string(a.dim(1)) + "; must divide it");
  if (a.dtype() == DType::bf16 && a.device().is_cpu())
    return matmul_in_parts(cast(a, DType::f32), cast(b, DType::f32), parts);
  const std::int64_t m = a.dim(0), n = b.dim(0);
  const Tensor each = Tensor::empty({parts, m, n}, accumulator_of(a.dtype()), a.device());
  const Tensor out = Tensor::empty({m, n}, each.dtype(), a.device());
  visit_activation("matmul", a, [&](auto stream, auto zero) {
    using T = decltype(zero);
    using A = acc_t<T>;
    if constexpr (!(std::is_same_v<T, Bf16> && std::is_same_v<decltype(stream), CpuStream>)) {
      kernels::gemm<T>(stream, pieces<T>(a, parts), pieces<T>(b, parts),
                       Dense<A>{each.data<A>(), m, n, n, parts, m * n}, {.transpose_b = true});
      kernels::sum_parts<A>(stream, each.data<A>(), parts, m * n, out.data<A>());
    }
  });
  return out;
}

}  // namespace lacuna
