// A thread makes 16 bytes of the dense matrix: a mask says which of its columns have an entry, counting bits says where
// the values lie. Nothing goes through shared memory, and every line is written once, whole.
#include <algorithm>

#include "kernels/runtime/cuda_check.h"
#include "kernels/sddmm/sddmm_plan.h"
#include "kernels/topology/densify_masked.h"

namespace lacuna::kernels {

namespace {

constexpr int kThreads = 256, kWarps = kThreads / 32;
constexpr std::int64_t kMostBlocks = 65535;  // along y and z

template <class T>
struct alignas(16) Piece {
  static constexpr int kColumns = 16 / sizeof(T);
  static constexpr int kRows = 16 / kColumns;  // a thread's: so many that 16 values are in flight
  static constexpr int kRowsABlock = kWarps * kRows;
  T x[kColumns];
};

template <class T>
__global__ void __launch_bounds__(kThreads, 3)
    densify_masked_kernel(const Csr<const T> a, const SddmmPlan plan, const Dense<T> out, bool vectors) {
  constexpr int kColumns = Piece<T>::kColumns, kPieces = kCell / kColumns;  // pieces of a row of a cell
  constexpr int kCells = 32 / kPieces;                                      // a warp's, beside one another
  const int lane = threadIdx.x % 32, shift = lane % kPieces * kColumns;
  const std::int64_t cell = std::int64_t{blockIdx.x} * kCells + lane / kPieces;
  const std::int64_t column = cell * kCell + shift;
  if (column >= a.cols) return;  // no exchange between lanes follows
  for (std::int64_t first = std::int64_t{blockIdx.y} * Piece<T>::kRowsABlock; first < a.rows;
       first += std::int64_t{gridDim.y} * Piece<T>::kRowsABlock) {
    std::uint64_t masks[Piece<T>::kRows];
    std::int32_t starts[Piece<T>::kRows];
#pragma unroll
    for (int i = 0; i < Piece<T>::kRows; ++i) {
      const std::int64_t row = first + i * kWarps + static_cast<int>(threadIdx.x) / 32;
      masks[i] = row < a.rows ? __ldg(plan.masks + cell * a.rows + row) : 0;
      starts[i] = row < a.rows ? __ldg(plan.starts + cell * a.rows + row) : 0;
    }
    for (std::int64_t matrix = blockIdx.z; matrix < out.batch; matrix += gridDim.z) {
      const T* values = a.values + matrix * a.values_stride;
      Piece<T> pieces[Piece<T>::kRows];
#pragma unroll
      for (int i = 0; i < Piece<T>::kRows; ++i) {
        const unsigned bits = static_cast<unsigned>(masks[i] >> shift) & ((1u << kColumns) - 1);
        const int at = starts[i] + __popcll(masks[i] & ((std::uint64_t{1} << shift) - 1));
#pragma unroll
        for (int j = 0; j < kColumns; ++j)
          pieces[i].x[j] = bits >> j & 1 ? values[at + __popc(bits & ((1u << j) - 1))] : T(0);
      }
#pragma unroll
      for (int i = 0; i < Piece<T>::kRows; ++i) {
        const std::int64_t row = first + i * kWarps + static_cast<int>(threadIdx.x) / 32;
        if (row >= a.rows) break;
        T* to = out.data + matrix * out.batch_stride + row * out.ld + column;
        if (vectors && column + kColumns <= a.cols) {
          *reinterpret_cast<Piece<T>*>(to) = pieces[i];
        } else {
#pragma unroll
          for (int j = 0; j < kColumns; ++j) {
            if (column + j < a.cols) to[j] = pieces[i].x[j];
          }
        }
      }
    }
  }
}

}  // namespace

template <class T>
void densify_masked(CudaStream stream, const Csr<const T>& a, const void* plan, const Dense<T>& out) {
  if (a.rows == 0 || a.cols == 0 || out.batch == 0) return;
  constexpr std::int64_t kColumnsAWarp = 32 * Piece<T>::kColumns, kWidth = Piece<T>::kColumns;
  const bool vectors = reinterpret_cast<std::uintptr_t>(out.data) % 16 == 0 && out.ld % kWidth == 0 &&
                       (out.batch <= 1 || out.batch_stride % kWidth == 0);
  const auto blocks = [](std::int64_t count, std::int64_t each) { return (count + each - 1) / each; };
  const dim3 grid(static_cast<unsigned>(blocks(a.cols, kColumnsAWarp)),
                  static_cast<unsigned>(std::min(blocks(a.rows, Piece<T>::kRowsABlock), kMostBlocks)),
                  static_cast<unsigned>(std::min(out.batch, kMostBlocks)));
  densify_masked_kernel<T><<<grid, kThreads, 0, static_cast<cudaStream_t>(stream.handle)>>>(
      a, sddmm_plan_view(plan, a.rows, a.cols), out, vectors);
  LACUNA_CUDA_LAUNCHED("densify_masked");
}

template void densify_masked<float>(CudaStream, const Csr<const float>&, const void*, const Dense<float>&);
template void densify_masked<Bf16>(CudaStream, const Csr<const Bf16>&, const void*, const Dense<Bf16>&);

}  // namespace lacuna::kernels
