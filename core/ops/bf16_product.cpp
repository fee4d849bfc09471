#include "core/ops/bf16_product.h"

#include <algorithm>
#include <cmath>

#include "core/kernel_set.h"
#include "core/ops/sparse_views.h"
#include "core/visit.h"
#include "kernels/bf16_product/bf16_product.h"

namespace lacuna {

bool densifying_pays(std::int64_t m, std::int64_t k, std::int64_t n, std::int64_t nnz) {
  if (m == 0 || k == 0 || n == 0) return false;
  constexpr double kClusters = 66, kWriters = 6 * kClusters;  // at once; writing warps
  constexpr double kSlab = 0.65, kTile = 1.8, kStart = 3;     // us: 64 terms of a tile, what ends it, the first chunk
  constexpr double kBatch = 2.6, kEntries = 13;               // us: a batch of A, more of it where it is dense
  const auto pieces = [](std::int64_t size, std::int64_t piece) {
    return static_cast<double>((size + piece - 1) / piece);
  };
  const double panels = pieces(m, 256), columns = pieces(n, 256), slabs = pieces(k, 64), chunks = pieces(k, 256);
  // Of many short sums cuBLASLt's kernels are the faster ones, by 2 %.
  if (slabs <= 8 || (slabs <= 16 && panels >= 16)) return false;
  const double elements = static_cast<double>(m) * static_cast<double>(k), entries = static_cast<double>(nnz);
  const double densify = 2.5 + (2 * elements + 6 * entries) / 3.2e6;
  const double round = slabs * kSlab + kTile, batch = kBatch + kEntries * entries / elements;
  const double per_chunk = 32 / kWriters * batch;
  // What the first round of tiles needs of A is written while that runs, but for its last chunk.
  const double first_panels = std::min(panels, std::ceil(kClusters / columns));
  const double late = std::max(0.0, first_panels * chunks * per_chunk - round * (1 - 1 / chunks));
  const double product = std::ceil(panels * columns / kClusters) * round;
  const double ours = std::max(product + kStart + late + 0.3 * (densify - 2.5), kStart + panels * chunks * per_chunk);
  const double whole = static_cast<double>(m) / 256 * (static_cast<double>(n) / 256) / kClusters * round / 0.95;
  return ours < whole + kStart + densify;
}

#if LACUNA_HAS_CUDA

namespace {

template <class T>
bool on(const T* data, std::uintptr_t bytes) {
  return reinterpret_cast<std::uintptr_t>(data) % bytes == 0;
}

}  // namespace

bool spmm_densifying(const Tensor& out, const SparseTensor& a, const Tensor& b, bool transpose_a, const Tensor& bias,
                     Activation activation) {
  if (!b.device().is_cuda() || b.dtype() != DType::bf16 || b.rank() != 2 || a.values.rank() != 1) return false;
  if (!allowed_kernels(b.device()).bf16_product || a.topology->nnz() == 0) return false;
  bool done = false;
  translate_failures("spmm", [&] {
    const CudaStream stream = cuda_stream(b.device());
    const Csr<const Bf16> a_view = csr_view<const Bf16>(a.values, *a.topology);
    const Dense<const Bf16> b_view = dense_view<const Bf16>(b);
    const Dense<Bf16> c = dense_view<Bf16>(out);
    if (!kernels::bf16_product_supports(stream, a_view.rows, a_view.cols, b_view, c)) return;
    if (!on(a_view.col_indices, 16) || !on(a_view.values, 8)) return;
    const Tensor scratch = Tensor::scratch(kernels::bf16_product_scratch_bytes(a_view.rows, a_view.cols), b.device());
    const Tensor& plan = a.topology->sddmm_plan();
    done = true;
    if (DryRun::active()) return;
    kernels::bf16_product(stream, a_view, plan.raw(), b_view, c, transpose_a,
                          {bias.defined() ? bias.data<float>() : nullptr, activation}, scratch.raw());
  });
  return done;
}

#else

bool spmm_densifying(const Tensor&, const SparseTensor&, const Tensor&, bool, const Tensor&, Activation) {
  return false;
}

#endif

}  // namespace lacuna
