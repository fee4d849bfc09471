// SDDMM on the CPU, by rows. The summed dimension is cut into chunks; for each, B's columns are packed into a panel
// that stays in cache while the pattern's rows pass, and the values gather the chunks' partial sums in order.
#include <omp.h>

#include <algorithm>

#include "kernels/sddmm/sddmm.h"
#include "kernels/sddmm/sddmm_cpu_ways.h"
#include "kernels/simd/panels.h"
#include "kernels/simd/simd_dispatch.h"

namespace lacuna::kernels {

namespace {

template <class T>
SddmmBuild<T> pick() {
#if defined(__x86_64__)
  switch (best_isa()) {
    case Isa::avx512:
      return {64 / sizeof(T), isa_avx512::sddmm_rows<T>, isa_avx512::sddmm_piece<T>};
    case Isa::avx2:
      return {32 / sizeof(T), isa_avx2::sddmm_rows<T>, isa_avx2::sddmm_piece<T>};
    case Isa::baseline:
      break;
  }
#endif
  return {16 / sizeof(T), isa_baseline::sddmm_rows<T>, isa_baseline::sddmm_piece<T>};
}

template <class T>
SddmmCpuPlan way_of(const SddmmProduct<T>& p) {
  return plan_sddmm_cpu(p.c.rows, p.b.rows, p.b.cols, p.c.nnz, p.build.chunk(),
                        p.build.chunk() * static_cast<std::int64_t>(sizeof(T)));
}

template <class T>
std::size_t by_rows_bytes(const SddmmProduct<T>& p) {
  if (!p.must_pack()) return 0;
  const SddmmShares shares(p.c.batch);
  return static_cast<std::size_t>(std::min(shares.count(), shares.threads) * p.b.rows * p.build.chunk()) * sizeof(T);
}

template <class T>
void by_rows(const SddmmProduct<T>& p, T* panels) {
  const SddmmShares shares(p.c.batch);
  const bool pack = p.must_pack();
  const std::int64_t work = (p.c.nnz + p.a.rows + p.b.rows) * p.b.cols * p.c.batch;
#pragma omp parallel for schedule(static, 1) if (work >= kLeastParallelWork)
  for (std::int64_t share = 0; share < shares.count(); ++share) {
    const std::int64_t matrix = shares.matrix(share), part = shares.part(share), parts = shares.parts_of(share);
    T* panel = panels + omp_get_thread_num() * p.b.rows * p.build.chunk();
    SddmmTask<T> task;
    task.row_offsets = p.c.row_offsets;
    task.col_indices = p.c.col_indices;
    task.values = p.c.values + matrix * p.c.values_stride;
    task.row_begin = chunk_begin(p.c.row_offsets, p.c.rows, part, parts);
    task.row_end = chunk_begin(p.c.row_offsets, p.c.rows, part + 1, parts);
    if (p.c.row_offsets[task.row_begin] == p.c.row_offsets[task.row_end]) continue;
    task.lda = p.a.ld;
    for (std::int64_t chunk = 0; chunk < p.chunks(); ++chunk) {
      const T* b = p.b.data + matrix * p.b.batch_stride + chunk * p.build.chunk();
      task.a = p.a.data + matrix * p.a.batch_stride + chunk * p.build.chunk();
      task.width = p.chunk_width(chunk);
      task.vectors = p.chunk_vectors(chunk);
      task.panel = pack ? panel : b;
      if (pack) pack_panel(b, p.b.ld, 0, p.b.rows, task.width, std::int64_t{task.vectors} * p.build.lanes, panel);
      task.first = chunk == 0;
      task.factor = chunk + 1 == p.chunks() ? p.scale : T(1);
      p.build.rows(task);
    }
  }
}

}  // namespace

template <class T>
std::size_t sddmm_scratch_bytes(CpuStream, const Dense<const T>& a, const Dense<const T>& b, const Csr<T>& c) {
  const SddmmProduct<T> product{pick<T>(), a, b, c, T(1)};
  const SddmmCpuPlan way = way_of(product);
  return way.piece > 0 ? sddmm_by_pieces_bytes(product, way) : by_rows_bytes(product);
}

template <class T>
void sddmm(CpuStream, const Dense<const T>& a, const Dense<const T>& b, const Csr<T>& c, T scale, void* scratch) {
  if (c.nnz == 0 || c.batch == 0) return;
  const SddmmProduct<T> product{pick<T>(), a, b, c, scale};
  const SddmmCpuPlan way = way_of(product);
  if (way.piece > 0) {
    sddmm_by_pieces(product, way, scratch);
  } else {
    by_rows(product, static_cast<T*>(scratch));
  }
}

#define LACUNA_INSTANTIATE(T)                                                                                          \
  template std::size_t sddmm_scratch_bytes<T>(CpuStream, const Dense<const T>&, const Dense<const T>&, const Csr<T>&); \
  template void sddmm<T>(CpuStream, const Dense<const T>&, const Dense<const T>&, const Csr<T>&, T, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
