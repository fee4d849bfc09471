// SpMM on the CPU. Columns of B are packed, a slab at a time, into panels that stay in cache while rows of A pass: read
// in place, rows of B a power of two apart would fall into the same few cache sets.
#include <omp.h>

#include <algorithm>

#include "kernels/pointwise/activation.h"
#include "kernels/simd/panels.h"
#include "kernels/simd/simd_dispatch.h"
#include "kernels/spmm/spmm.h"
#include "kernels/spmm/spmm_cpu_ways.h"

namespace lacuna::kernels {

namespace {

template <class T>
SpmmBuild<T> pick() {
#if defined(__x86_64__)
  switch (best_isa()) {
    case Isa::avx512:
      return {64 / sizeof(T), isa_avx512::spmm_rows<T>, isa_avx512::spmm_cut<T>, isa_avx512::spmm_piece<T>};
    case Isa::avx2:
      return {32 / sizeof(T), isa_avx2::spmm_rows<T>, isa_avx2::spmm_cut<T>, isa_avx2::spmm_piece<T>};
    case Isa::baseline:
      break;
  }
#endif
  return {16 / sizeof(T), isa_baseline::spmm_rows<T>, isa_baseline::spmm_cut<T>, isa_baseline::spmm_piece<T>};
}

template <class T>
SpmmCpuPlan plan_of(const SpmmBuild<T>& build, const Csr<const T>& a, const Dense<const T>& b) {
  return plan_spmm_cpu(a.rows, a.cols, b.cols, a.nnz, build.slab(),
                       build.slab() * static_cast<std::int64_t>(sizeof(T)));
}

/// One slab whose rows are whole vectors, end to end, is a panel already.
template <class T>
bool must_pack(const SpmmBuild<T>& build, const Dense<const T>& b) {
  return !(b.cols <= build.slab() && b.cols % build.lanes == 0 && b.ld == b.cols);
}

template <class T>
std::int64_t panel_size(const SpmmBuild<T>& build, const Csr<const T>& a) {
  return a.cols * build.slab();
}

}  // namespace

template <class T>
void spmm_gelu(const Epilogue<const T>& epilogue, const SpmmOutput<T>& out, std::int64_t begin, std::int64_t end) {
  if (epilogue.activation != Activation::gelu) return;
  for (std::int64_t r = begin; r < end; ++r) {
    T* row = out.c + r * out.ldc;
    for (std::int64_t j = 0; j < out.width; ++j) row[j] = gelu(row[j]);
  }
}

template <class T>
std::size_t spmm_by_rows_bytes(const SpmmBuild<T>& build, const Csr<const T>& a, const Dense<const T>& b) {
  if (!must_pack(build, b)) return 0;
  const std::int64_t threads = std::max(1, omp_get_max_threads());
  const std::int64_t units = (b.cols + build.slab() - 1) / build.slab() * std::max(a.batch, b.batch);
  const std::int64_t panels = std::min(units, threads);
  return static_cast<std::size_t>(panels * panel_size(build, a)) * sizeof(T);
}

/// A unit is one slab of one matrix of the batch. Each thread takes its share of the units, by panels of its own; the
/// few that are left over, less than there are threads, are packed and multiplied by all together. No element of C
/// depends on the cut.
template <class T>
void spmm_by_rows(const SpmmProduct<T>& p, void* scratch) {
  const SpmmBuild<T>& build = p.build;
  const Csr<const T>& a = p.a;
  const Dense<const T>& b = p.b;
  const bool pack = must_pack(build, b);
  const std::int64_t slabs = p.slabs(), units = slabs * std::max(a.batch, b.batch), size = panel_size(build, a);

  const auto source = [&](std::int64_t unit) {
    return b.data + unit / slabs * b.batch_stride + unit % slabs * build.slab();
  };
  const auto multiply = [&](std::int64_t unit, std::int64_t row_begin, std::int64_t row_end, const T* panel) {
    const std::int64_t matrix = unit / slabs;
    SpmmTask<T> task;
    task.row_offsets = a.row_offsets;
    task.col_indices = a.col_indices;
    task.values = a.values + matrix * a.values_stride;
    task.row_begin = row_begin;
    task.row_end = row_end;
    task.slab = pack ? panel : source(unit);
    task.out = spmm_output(p, matrix, unit % slabs);
    build.rows(task);
    spmm_gelu(p.epilogue, task.out, row_begin, row_end);
  };

  const std::int64_t work = (a.nnz + a.cols + a.rows) * b.cols * std::max(a.batch, b.batch);
#pragma omp parallel if (work >= kLeastParallelWork)
  {
    const std::int64_t threads = omp_get_num_threads(), thread = omp_get_thread_num();
    const std::int64_t share = units / threads;
    const auto pack_rows = [&](std::int64_t unit, std::int64_t begin, std::int64_t end, T* panel) {
      pack_panel(source(unit), b.ld, begin, end, p.slab_width(unit % slabs), p.slab_padded(unit % slabs), panel);
    };
    T* own = static_cast<T*>(scratch) + thread * size;
    for (std::int64_t unit = thread * share; unit < (thread + 1) * share; ++unit) {
      if (pack) pack_rows(unit, 0, a.cols, own);
      multiply(unit, 0, a.rows, own);
    }
    T* shared = static_cast<T*>(scratch);
    for (std::int64_t unit = threads * share; unit < units; ++unit) {
      if (pack) {
#pragma omp barrier
        pack_rows(unit, a.cols * thread / threads, a.cols * (thread + 1) / threads, shared);
#pragma omp barrier
      }
      multiply(unit, chunk_begin(a.row_offsets, a.rows, thread, threads),
               chunk_begin(a.row_offsets, a.rows, thread + 1, threads), shared);
    }
  }
}

template <class T>
std::size_t spmm_scratch_bytes(CpuStream, const Csr<const T>& a, const Dense<const T>& b) {
  const SpmmBuild<T> build = pick<T>();
  const SpmmCpuPlan plan = plan_of(build, a, b);
  return plan.piece > 0 ? spmm_by_pieces_bytes(build, plan, a, b) : spmm_by_rows_bytes(build, a, b);
}

template <class T>
void spmm(CpuStream, const Csr<const T>& a, const Dense<const T>& b, const Dense<T>& c,
          const Epilogue<const T>& epilogue, void* scratch) {
  if (c.rows == 0 || c.cols == 0) return;
  const SpmmProduct<T> product{pick<T>(), a, b, c, epilogue};
  const SpmmCpuPlan plan = plan_of(product.build, a, b);
  if (plan.piece > 0) {
    spmm_by_pieces(product, plan, scratch);
  } else {
    spmm_by_rows(product, scratch);
  }
}

#define LACUNA_INSTANTIATE(T)                                                                                  \
  template void spmm_gelu<T>(const Epilogue<const T>&, const SpmmOutput<T>&, std::int64_t, std::int64_t);      \
  template std::size_t spmm_by_rows_bytes<T>(const SpmmBuild<T>&, const Csr<const T>&, const Dense<const T>&); \
  template void spmm_by_rows<T>(const SpmmProduct<T>&, void*);                                                 \
  template std::size_t spmm_scratch_bytes<T>(CpuStream, const Csr<const T>&, const Dense<const T>&);           \
  template void spmm<T>(CpuStream, const Csr<const T>&, const Dense<const T>&, const Dense<T>&,                \
                        const Epilogue<const T>&, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
