// SpMM on the CPU. Columns of B are packed, a slab at a time, into panels that stay in cache while all rows of A pass:
// read in place, rows of B a power of two apart would fall into the same few cache sets.
#include "kernels/spmm/spmm.h"

#include <algorithm>

#include <omp.h>

#include "kernels/pointwise/activation.h"
#include "kernels/simd/panels.h"
#include "kernels/simd/simd_dispatch.h"
#include "kernels/spmm/spmm_cpu_tasks.h"

namespace lacuna::kernels {

namespace {

template <class T>
struct Build {
  int lanes;
  void (*rows)(const SpmmTask<T>&);
};

template <class T>
Build<T> pick() {
#if defined(__x86_64__)
  switch (best_isa()) {
    case Isa::avx512:
      return {64 / sizeof(T), isa_avx512::spmm_rows<T>};
    case Isa::avx2:
      return {32 / sizeof(T), isa_avx2::spmm_rows<T>};
    case Isa::baseline:
      break;
  }
#endif
  return {16 / sizeof(T), isa_baseline::spmm_rows<T>};
}

/// How the work is cut. A unit is one slab of one matrix of the batch; a round is the units whose panels are in scratch
/// at once; in a round each unit's rows are cut into chunks. No element of C depends on the cut.
struct Plan {
  std::int64_t slab = 0;   // columns of a full slab
  std::int64_t slabs = 0;  // of one matrix
  std::int64_t units = 0;
  std::int64_t round = 0;  // units at once
  bool pack = false;
};

template <class T>
Plan make_plan(int lanes, const Csr<const T>& a, const Dense<const T>& b) {
  Plan plan;
  plan.slab = static_cast<std::int64_t>(lanes) * kSlabVectors;
  plan.slabs = (b.cols + plan.slab - 1) / plan.slab;
  plan.units = plan.slabs * std::max(a.batch, b.batch);
  plan.round = std::min<std::int64_t>(plan.units, std::max(1, omp_get_max_threads()));
  // One slab whose rows are whole vectors, end to end, is a panel already.
  plan.pack = !(b.cols <= plan.slab && b.cols % lanes == 0 && b.ld == b.cols);
  return plan;
}

template <class T>
void apply_gelu(const SpmmTask<T>& task) {
  for (std::int64_t r = task.row_begin; r < task.row_end; ++r) {
    T* row = task.c + r * task.ldc;
    for (std::int64_t j = 0; j < task.width; ++j) row[j] = gelu(row[j]);
  }
}

}  // namespace

template <class T>
std::size_t spmm_scratch_bytes(CpuStream, const Csr<const T>& a, const Dense<const T>& b) {
  const Plan plan = make_plan(pick<T>().lanes, a, b);
  return plan.pack ? static_cast<std::size_t>(plan.round * a.cols * plan.slab) * sizeof(T) : 0;
}

template <class T>
void spmm(CpuStream, const Csr<const T>& a, const Dense<const T>& b, const Dense<T>& c,
          const Epilogue<const T>& epilogue, void* scratch) {
  if (c.rows == 0 || c.cols == 0) return;
  const Build<T> build = pick<T>();
  const Plan plan = make_plan(build.lanes, a, b);
  const std::int64_t panel_size = a.cols * plan.slab;
  const std::int64_t threads = std::max(1, omp_get_max_threads());
  T* panels = static_cast<T*>(scratch);
  const auto width_of = [&](std::int64_t unit) { return std::min(plan.slab, b.cols - unit % plan.slabs * plan.slab); };
  const auto vectors_of = [&](std::int64_t unit) { return (width_of(unit) + build.lanes - 1) / build.lanes; };
  const auto source_of = [&](std::int64_t unit) {
    return b.data + unit / plan.slabs * b.batch_stride + unit % plan.slabs * plan.slab;
  };

  const auto run = [&](std::int64_t unit, std::int64_t chunk, std::int64_t chunks, const T* panel) {
    const std::int64_t matrix = unit / plan.slabs;
    SpmmTask<T> task;
    task.row_offsets = a.row_offsets;
    task.col_indices = a.col_indices;
    task.values = a.values + matrix * a.values_stride;
    task.row_begin = chunk_begin(a.row_offsets, a.rows, chunk, chunks);
    task.row_end = chunk_begin(a.row_offsets, a.rows, chunk + 1, chunks);
    task.vectors = static_cast<int>(vectors_of(unit));
    task.slab = panel;
    task.slab_stride = plan.pack ? static_cast<std::int64_t>(task.vectors) * build.lanes : b.ld;
    task.width = width_of(unit);
    task.c = c.data + matrix * c.batch_stride + unit % plan.slabs * plan.slab;
    task.ldc = c.ld;
    task.bias = epilogue.bias;
    task.relu = epilogue.activation == Activation::relu;
    build.rows(task);
    if (epilogue.activation == Activation::gelu) apply_gelu(task);
  };

  const std::int64_t work = (a.nnz + a.cols + a.rows) * b.cols * std::max(a.batch, b.batch);
#pragma omp parallel if (work >= kLeastParallelWork)
  for (std::int64_t first = 0; first < plan.units; first += plan.round) {
    const std::int64_t count = std::min(plan.round, plan.units - first);
    const std::int64_t chunks = (threads + count - 1) / count;  // fewer units than threads: share their rows
    if (plan.pack) {
#pragma omp for schedule(static)
      for (std::int64_t i = 0; i < count * chunks; ++i) {
        const std::int64_t u = i / chunks, part = i % chunks;
        pack_panel(source_of(first + u), b.ld, a.cols * part / chunks, a.cols * (part + 1) / chunks,
                   width_of(first + u), vectors_of(first + u) * build.lanes, panels + u * panel_size);
      }
    }
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < count * chunks; ++i) {
      const std::int64_t u = i / chunks;
      run(first + u, i % chunks, chunks, plan.pack ? panels + u * panel_size : source_of(first + u));
    }
  }
}

#define LACUNA_INSTANTIATE(T)                                                                        \
  template std::size_t spmm_scratch_bytes<T>(CpuStream, const Csr<const T>&, const Dense<const T>&); \
  template void spmm<T>(CpuStream, const Csr<const T>&, const Dense<const T>&, const Dense<T>&,      \
                        const Epilogue<const T>&, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
