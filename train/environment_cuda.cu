#include <cuda_runtime_api.h>

#include "train/environment.h"

namespace lacuna {

CudaVersions cuda_versions() {
  CudaVersions versions;
  if (cudaRuntimeGetVersion(&versions.runtime) != cudaSuccess) versions.runtime = 0;
  if (cudaDriverGetVersion(&versions.driver) != cudaSuccess) versions.driver = 0;
  cudaGetLastError();  // no driver is no error of ours
  return versions;
}

}  // namespace lacuna
