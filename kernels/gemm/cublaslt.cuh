// cuBLASLt's descriptors as objects, and which of its algorithms a product takes. Included by gemm.cu alone.
#pragma once

#include <cublasLt.h>
#include <cuda_runtime.h>

#include <algorithm>
#include <array>
#include <limits>
#include <string>
#include <type_traits>

#include "kernels/gemm/gemm.h"
#include "kernels/runtime/cuda_check.h"
#include "kernels/runtime/cuda_libraries.h"

namespace lacuna::kernels {
namespace {

void check_lt(cublasStatus_t status, const char* call) {
  if (status == CUBLAS_STATUS_SUCCESS) return;
  throw runtime::Failure{static_cast<int>(status), std::string(call) + ": " + cublasLtGetStatusString(status),
                         status == CUBLAS_STATUS_ALLOC_FAILED};
}
#define LACUNA_LT_CHECK(call) check_lt((call), #call)

/// Largest power of two, up to 256, that divides the address: what cuBLASLt may assume of it.
std::uint32_t alignment_of(const void* pointer) {
  const auto address = reinterpret_cast<std::uintptr_t>(pointer);
  return static_cast<std::uint32_t>(address == 0 ? 256 : std::min<std::uintptr_t>(address & (~address + 1), 256));
}

template <class T>
constexpr cudaDataType_t kTypeOf = std::is_same_v<std::remove_const_t<T>, Bf16>   ? CUDA_R_16BF
                                   : std::is_same_v<std::remove_const_t<T>, Half> ? CUDA_R_16F
                                                                                  : CUDA_R_32F;

class Layout {
 public:
  /// The column-major view of row-major `matrix`: its columns are our rows.
  template <class T>
  Layout(const Dense<T>& matrix, std::int64_t batch) {
    LACUNA_LT_CHECK(cublasLtMatrixLayoutCreate(&layout_, kTypeOf<T>, static_cast<std::uint64_t>(matrix.cols),
                                               static_cast<std::uint64_t>(matrix.rows),
                                               std::max<std::int64_t>(matrix.ld, 1)));
    if (batch == 1) return;
    const auto count = static_cast<std::int32_t>(batch);
    set(CUBLASLT_MATRIX_LAYOUT_BATCH_COUNT, &count, sizeof(count));
    set(CUBLASLT_MATRIX_LAYOUT_STRIDED_BATCH_OFFSET, &matrix.batch_stride, sizeof(matrix.batch_stride));
  }
  ~Layout() { cublasLtMatrixLayoutDestroy(layout_); }
  Layout(const Layout&) = delete;
  Layout& operator=(const Layout&) = delete;
  cublasLtMatrixLayout_t get() const { return layout_; }

 private:
  void set(cublasLtMatrixLayoutAttribute_t attribute, const void* value, std::size_t bytes) {
    LACUNA_LT_CHECK(cublasLtMatrixLayoutSetAttribute(layout_, attribute, value, bytes));
  }
  cublasLtMatrixLayout_t layout_ = nullptr;
};

class Product {
 public:
  Product(bool tf32, bool transpose_first, bool transpose_second) {
    LACUNA_LT_CHECK(
        cublasLtMatmulDescCreate(&description_, tf32 ? CUBLAS_COMPUTE_32F_FAST_TF32 : CUBLAS_COMPUTE_32F, CUDA_R_32F));
    set(CUBLASLT_MATMUL_DESC_TRANSA, transpose_first);
    set(CUBLASLT_MATMUL_DESC_TRANSB, transpose_second);
  }
  ~Product() { cublasLtMatmulDescDestroy(description_); }
  Product(const Product&) = delete;
  Product& operator=(const Product&) = delete;
  cublasLtMatmulDesc_t get() const { return description_; }
  /// The scalars will be read on the device.
  void take_device_scalars() {
    const auto mode = static_cast<std::int32_t>(CUBLASLT_POINTER_MODE_DEVICE);
    LACUNA_LT_CHECK(
        cublasLtMatmulDescSetAttribute(description_, CUBLASLT_MATMUL_DESC_POINTER_MODE, &mode, sizeof(mode)));
  }

 private:
  void set(cublasLtMatmulDescAttributes_t attribute, bool transposed) {
    const cublasOperation_t operation = transposed ? CUBLAS_OP_T : CUBLAS_OP_N;
    LACUNA_LT_CHECK(cublasLtMatmulDescSetAttribute(description_, attribute, &operation, sizeof(operation)));
  }
  cublasLtMatmulDesc_t description_ = nullptr;
};

class Preference {
 public:
  Preference() { LACUNA_LT_CHECK(cublasLtMatmulPreferenceCreate(&preference_)); }
  ~Preference() { cublasLtMatmulPreferenceDestroy(preference_); }
  Preference(const Preference&) = delete;
  Preference& operator=(const Preference&) = delete;
  template <class V>
  void set(cublasLtMatmulPreferenceAttributes_t attribute, V value) {
    LACUNA_LT_CHECK(cublasLtMatmulPreferenceSetAttribute(preference_, attribute, &value, sizeof(value)));
  }
  cublasLtMatmulPreference_t get() const { return preference_; }

 private:
  cublasLtMatmulPreference_t preference_ = nullptr;
};

class Event {
 public:
  Event() { LACUNA_CUDA_CHECK(cudaEventCreate(&event_)); }
  ~Event() { cudaEventDestroy(event_); }
  Event(const Event&) = delete;
  Event& operator=(const Event&) = delete;
  cudaEvent_t get() const { return event_; }

 private:
  cudaEvent_t event_ = nullptr;
};

/// Milliseconds of one call of run() on an otherwise idle stream: the least of some rounds. Infinite where run() fails.
template <class F>
float measured_time(cudaStream_t stream, F&& run) {
  constexpr int kRounds = 3, kCalls = 3;
  if (run() != CUBLAS_STATUS_SUCCESS) return std::numeric_limits<float>::infinity();  // also: loads the kernel
  const Event begin, end;
  float least = std::numeric_limits<float>::infinity();
  for (int round = 0; round < kRounds; ++round) {
    LACUNA_CUDA_CHECK(cudaEventRecord(begin.get(), stream));
    for (int call = 0; call < kCalls; ++call) LACUNA_LT_CHECK(run());
    LACUNA_CUDA_CHECK(cudaEventRecord(end.get(), stream));
    LACUNA_CUDA_CHECK(cudaEventSynchronize(end.get()));
    float milliseconds = 0;
    LACUNA_CUDA_CHECK(cudaEventElapsedTime(&milliseconds, begin.get(), end.get()));
    least = std::min(least, milliseconds / kCalls);
  }
  return least;
}

/// A step that is being captured must not wait for the device.
bool is_captured(cudaStream_t stream) {
  cudaStreamCaptureStatus status = cudaStreamCaptureStatusNone;
  LACUNA_CUDA_CHECK(cudaStreamIsCapturing(stream, &status));
  return status != cudaStreamCaptureStatusNone;
}

constexpr int kMostAnswers = 8;  // of cuBLASLt, where they are measured

using Key = std::array<std::int64_t, 12>;  // everything cuBLASLt's answer may depend on

struct Operands {
  bool rounds;  // the result is in 16 bits
  const Product& product;
  const Layout& first;
  const Layout& second;
  const Layout& result;
  std::array<std::uint32_t, 3> alignments;  // of first, second, result
};

/// The algorithm of products with this key: cuBLASLt's first answer, or the fastest of its answers by run(algorithm) where
/// `may_measure` and the user asked for that. Kept; null where cuBLASLt has none.
template <class F>
const cublasLtMatmulAlgo_t* algorithm_for(CudaLibraries& libraries, cudaStream_t stream, const Key& key,
                                          const Operands& operands, bool may_measure, F&& run) {
  auto found = libraries.matmul_algorithms.find(key);
  if (found != libraries.matmul_algorithms.end()) return &found->second;
  Preference preference;
  preference.set(CUBLASLT_MATMUL_PREF_MAX_WORKSPACE_BYTES, libraries.workspace_bytes);
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_A_BYTES, operands.alignments[0]);
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_B_BYTES, operands.alignments[1]);
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_C_BYTES, operands.alignments[2]);
  preference.set(CUBLASLT_MATMUL_PREF_MIN_ALIGNMENT_D_BYTES, operands.alignments[2]);
  // Where k is cut in parts, their sums are to be added in f32: by default they may be rounded to the result's type first
  // (1.5 roundings of bf16 were seen at 1024 x 512 x 196).
  if (operands.rounds) {
    preference.set(CUBLASLT_MATMUL_PREF_REDUCTION_SCHEME_MASK,
                   static_cast<std::uint32_t>(CUBLASLT_REDUCTION_SCHEME_COMPUTE_TYPE));
  }
  const bool measures = may_measure && libraries.measures_products && !is_captured(stream);
  cublasLtMatmulHeuristicResult_t list[kMostAnswers] = {};
  int answers = 0;
  LACUNA_LT_CHECK(cublasLtMatmulAlgoGetHeuristic(libraries.lt, operands.product.get(), operands.first.get(),
                                                 operands.second.get(), operands.result.get(), operands.result.get(),
                                                 preference.get(), measures ? kMostAnswers : 1, list, &answers));
  if (answers == 0) return nullptr;
  int taken = 0;
  float least = std::numeric_limits<float>::infinity();
  for (int i = 0; measures && answers > 1 && i < answers; ++i) {
    const float time = measured_time(stream, [&] { return run(list[i].algo); });
    if (time < least) taken = i, least = time;
  }
  return &libraries.matmul_algorithms.emplace(key, list[taken].algo).first->second;
}

}  // namespace
}  // namespace lacuna::kernels
