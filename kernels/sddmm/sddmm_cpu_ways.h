// The two ways through an SDDMM on the CPU (sddmm_cpu_tasks.h), each with the scratch it takes. Each thread packs what
// it reads itself: a panel that another core has just packed costs more to fetch than to pack again.
#pragma once

#include <omp.h>

#include <algorithm>
#include <cstddef>

#include "kernels/runtime/views.h"
#include "kernels/sddmm/sddmm_cpu_plan.h"
#include "kernels/sddmm/sddmm_cpu_tasks.h"

namespace lacuna::kernels {

/// The inner loops of the machine's instruction set.
template <class T>
struct SddmmBuild {
  int lanes;
  void (*rows)(const SddmmTask<T>&);
  void (*piece)(const SddmmPieceTask<T>&);
  std::int64_t chunk() const { return static_cast<std::int64_t>(lanes) * kChunkVectors; }
};

template <class T>
struct SddmmProduct {
  SddmmBuild<T> build;
  Dense<const T> a;
  Dense<const T> b;
  Csr<T> c;
  T scale;
  /// One chunk whose rows are whole vectors, end to end, is a panel already.
  bool must_pack() const { return !(b.cols > 0 && chunks() == 1 && b.cols % build.lanes == 0 && b.ld == b.cols); }
  std::int64_t chunks() const { return b.cols > 0 ? (b.cols + build.chunk() - 1) / build.chunk() : 1; }
  std::int64_t chunk_width(std::int64_t chunk) const {
    const std::int64_t left = b.cols - chunk * build.chunk();
    return left < build.chunk() ? left : build.chunk();
  }
  int chunk_vectors(std::int64_t chunk) const {
    const std::int64_t vectors = (chunk_width(chunk) + build.lanes - 1) / build.lanes;
    return vectors < 1 ? 1 : static_cast<int>(vectors);
  }
};

/// How a batch is shared: whole matrices as far as they go round, then the rows of the rest.
struct SddmmShares {
  std::int64_t threads, whole, rest, parts;

  explicit SddmmShares(std::int64_t batch)
      : threads(std::max(1, omp_get_max_threads())),
        whole(batch / threads * threads),
        rest(batch - whole),
        parts(rest > 0 ? (threads + rest - 1) / rest : 1) {}
  std::int64_t count() const { return whole + rest * parts; }
  std::int64_t matrix(std::int64_t share) const { return share < whole ? share : whole + (share - whole) / parts; }
  std::int64_t part(std::int64_t share) const { return share < whole ? 0 : (share - whole) % parts; }
  std::int64_t parts_of(std::int64_t share) const { return share < whole ? 1 : parts; }
  /// Of the matrices that are worked on at the same time, which one; 0 to slots() - 1.
  std::int64_t slot(std::int64_t share, std::int64_t thread) const {
    return share < whole ? thread : (whole > 0 ? threads : 0) + (share - whole) / parts;
  }
  std::int64_t slots() const { return (whole > 0 ? threads : 0) + rest; }
};

template <class T>
std::size_t sddmm_by_pieces_bytes(const SddmmProduct<T>& product, const SddmmCpuPlan& plan);
template <class T>
void sddmm_by_pieces(const SddmmProduct<T>& product, const SddmmCpuPlan& plan, void* scratch);

}  // namespace lacuna::kernels
