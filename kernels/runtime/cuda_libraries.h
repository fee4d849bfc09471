// The vendor libraries' handles of one device. Included by CUDA sources only.
#pragma once

#include <cublasLt.h>

#include <array>
#include <cstddef>
#include <cstdint>
#include <map>

namespace lacuna {

struct CudaLibraries {
  cublasLtHandle_t lt = nullptr;
  void* workspace = nullptr;  ///< for cuBLASLt; safe to share because all work is ordered on one stream
  std::size_t workspace_bytes = 0;
  void* flags =
      nullptr;  ///< zeros, for kernels whose blocks wait for one another; whoever uses them leaves zeros behind
  std::size_t flag_bytes = 0;
  /// Whether a product that is new takes the fastest of cuBLASLt's answers, measured on the spot, in place of the first.
  bool measures_products = false;
  /// Whether kernels may be launched before the one before them is done (kernels/common/dependent_launch.cuh).
  bool dependent_launches = true;
  /// Whether results are cleared before cuBLASLt writes them: compute-sanitizer's initcheck does not see its stores.
  bool clears_results = false;
  /// The answer taken, by problem; the key is filled by kernels/gemm.
  std::map<std::array<std::int64_t, 12>, cublasLtMatmulAlgo_t> matmul_algorithms;
};

}  // namespace lacuna
