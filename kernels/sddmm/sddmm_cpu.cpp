// SDDMM on the CPU. The summed dimension is cut into chunks; for each, B's columns are packed into a panel that stays
// in cache while the pattern's rows pass, and the values gather the chunks' partial sums in order.
#include "kernels/sddmm/sddmm.h"

#include <algorithm>

#include <omp.h>

#include "kernels/sddmm/sddmm_cpu_tasks.h"
#include "kernels/simd/panels.h"
#include "kernels/simd/simd_dispatch.h"

namespace lacuna::kernels {

namespace {

template <class T>
struct Build {
  int lanes;
  void (*rows)(const SddmmTask<T>&);
};

template <class T>
Build<T> pick() {
#if defined(__x86_64__)
  switch (best_isa()) {
    case Isa::avx512:
      return {64 / sizeof(T), isa_avx512::sddmm_rows<T>};
    case Isa::avx2:
      return {32 / sizeof(T), isa_avx2::sddmm_rows<T>};
    case Isa::baseline:
      break;
  }
#endif
  return {16 / sizeof(T), isa_baseline::sddmm_rows<T>};
}

struct Plan {
  std::int64_t chunk = 0;  // columns of a full chunk
  std::int64_t chunks = 0;
  std::int64_t batch = 0;
  std::int64_t threads = 0;
  std::int64_t round = 0;  // matrices of the batch at once, one panel each
  bool pack = false;
};

template <class T>
Plan make_plan(int lanes, const Dense<const T>& b, const Csr<T>& c) {
  Plan plan;
  plan.chunk = static_cast<std::int64_t>(lanes) * kChunkVectors;
  plan.chunks = std::max<std::int64_t>(1, (b.cols + plan.chunk - 1) / plan.chunk);
  plan.batch = c.batch;
  plan.threads = std::max(1, omp_get_max_threads());
  plan.round = std::min(plan.batch, plan.threads);
  // One chunk whose rows are whole vectors, end to end, is a panel already.
  plan.pack = !(b.cols > 0 && b.cols <= plan.chunk && b.cols % lanes == 0 && b.ld == b.cols);
  return plan;
}

}  // namespace

template <class T>
std::size_t sddmm_scratch_bytes(CpuStream, const Dense<const T>&, const Dense<const T>& b, const Csr<T>& c) {
  const Plan plan = make_plan(pick<T>().lanes, b, c);
  return plan.pack ? static_cast<std::size_t>(plan.round * b.rows * plan.chunk) * sizeof(T) : 0;
}

template <class T>
void sddmm(CpuStream, const Dense<const T>& a, const Dense<const T>& b, const Csr<T>& c, T scale, void* scratch) {
  if (c.nnz == 0 || c.batch == 0) return;
  const Build<T> build = pick<T>();
  const Plan plan = make_plan(build.lanes, b, c);
  T* panels = static_cast<T*>(scratch);
  const std::int64_t panel_size = b.rows * plan.chunk;

  const std::int64_t work = (c.nnz + a.rows + b.rows) * b.cols * c.batch;
#pragma omp parallel if (work >= kLeastParallelWork)
  for (std::int64_t step = 0; step < (plan.batch + plan.round - 1) / plan.round * plan.chunks; ++step) {
    const std::int64_t first = step / plan.chunks * plan.round;  // matrix
    const std::int64_t count = std::min(plan.round, plan.batch - first);
    const std::int64_t parts = (plan.threads + count - 1) / count;  // fewer matrices than threads: share their rows
    const std::int64_t chunk = step % plan.chunks;
    const std::int64_t width = std::min(plan.chunk, b.cols - chunk * plan.chunk);
    const int vectors = std::max(1, static_cast<int>((width + build.lanes - 1) / build.lanes));
    const std::int64_t padded = static_cast<std::int64_t>(vectors) * build.lanes;
    const auto source = [&](std::int64_t matrix) { return b.data + matrix * b.batch_stride + chunk * plan.chunk; };
    if (plan.pack) {
#pragma omp for schedule(static)
      for (std::int64_t i = 0; i < count * parts; ++i) {
        const std::int64_t u = i / parts, part = i % parts;
        pack_panel(source(first + u), b.ld, b.rows * part / parts, b.rows * (part + 1) / parts, width, padded,
                   panels + u * panel_size);
      }
    }
#pragma omp for schedule(static)
    for (std::int64_t i = 0; i < count * parts; ++i) {
      const std::int64_t u = i / parts, part = i % parts, matrix = first + u;
      SddmmTask<T> task;
      task.row_offsets = c.row_offsets;
      task.col_indices = c.col_indices;
      task.values = c.values + matrix * c.values_stride;
      task.row_begin = chunk_begin(c.row_offsets, c.rows, part, parts);
      task.row_end = chunk_begin(c.row_offsets, c.rows, part + 1, parts);
      task.a = a.data + matrix * a.batch_stride + chunk * plan.chunk;
      task.lda = a.ld;
      task.width = width;
      task.vectors = vectors;
      task.panel = plan.pack ? panels + u * panel_size : source(matrix);
      task.panel_stride = plan.pack ? padded : b.ld;
      task.first = chunk == 0;
      task.factor = chunk + 1 == plan.chunks ? scale : T(1);
      build.rows(task);
    }
  }
}

#define LACUNA_INSTANTIATE(T)                                                                                          \
  template std::size_t sddmm_scratch_bytes<T>(CpuStream, const Dense<const T>&, const Dense<const T>&, const Csr<T>&); \
  template void sddmm<T>(CpuStream, const Dense<const T>&, const Dense<const T>&, const Csr<T>&, T, void*);
LACUNA_INSTANTIATE(float)
LACUNA_INSTANTIATE(double)
#undef LACUNA_INSTANTIATE

}  // namespace lacuna::kernels
