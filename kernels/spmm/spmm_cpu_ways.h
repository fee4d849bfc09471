// The two ways through a product on the CPU (spmm_cpu_tasks.h), each with the scratch it takes.
#pragma once

#include <cstddef>

#include "kernels/runtime/views.h"
#include "kernels/spmm/spmm_cpu_plan.h"
#include "kernels/spmm/spmm_cpu_tasks.h"

namespace lacuna::kernels {

/// The inner loops of the machine's instruction set.
template <class T>
struct SpmmBuild {
  int lanes;
  void (*rows)(const SpmmTask<T>&);
  void (*cut)(const SpmmCutTask<T>&);
  void (*piece)(const SpmmPieceTask<T>&);
  std::int64_t slab() const { return static_cast<std::int64_t>(lanes) * kSlabVectors; }
};

template <class T>
struct SpmmProduct {
  SpmmBuild<T> build;
  Csr<const T> a;
  Dense<const T> b;
  Dense<T> c;
  Epilogue<const T> epilogue;
  std::int64_t slabs() const { return (b.cols + build.slab() - 1) / build.slab(); }
  std::int64_t slab_width(std::int64_t slab) const {
    const std::int64_t left = b.cols - slab * build.slab();
    return left < build.slab() ? left : build.slab();
  }
  std::int64_t slab_padded(std::int64_t slab) const {
    return (slab_width(slab) + build.lanes - 1) / build.lanes * build.lanes;
  }
};

template <class T>
SpmmOutput<T> spmm_output(const SpmmProduct<T>& p, std::int64_t matrix, std::int64_t slab) {
  const std::int64_t width = p.slab_width(slab);
  return {.vectors = static_cast<int>((width + p.build.lanes - 1) / p.build.lanes),
          .width = width,
          .c = p.c.data + matrix * p.c.batch_stride + slab * p.build.slab(),
          .ldc = p.c.ld,
          .bias = p.epilogue.bias,
          .relu = p.epilogue.activation == Activation::relu};
}

/// gelu of rows [begin, end) of the task's columns, where the epilogue asks for it.
template <class T>
void spmm_gelu(const Epilogue<const T>& epilogue, const SpmmOutput<T>& out, std::int64_t begin, std::int64_t end);

template <class T>
std::size_t spmm_by_rows_bytes(const SpmmBuild<T>& build, const Csr<const T>& a, const Dense<const T>& b);
template <class T>
void spmm_by_rows(const SpmmProduct<T>& product, void* scratch);

template <class T>
std::size_t spmm_by_pieces_bytes(const SpmmBuild<T>& build, const SpmmCpuPlan& plan, const Csr<const T>& a,
                                 const Dense<const T>& b);
template <class T>
void spmm_by_pieces(const SpmmProduct<T>& product, const SpmmCpuPlan& plan, void* scratch);

}  // namespace lacuna::kernels
