// Which CUDA kernels the ops may choose: the one place to switch one off (docs/kernels.md, "Switching a kernel off").
#pragma once

#include <string>

#include "core/device.h"

namespace lacuna {

/// What is false is never chosen automatically; a route that is asked for by name (spmm_into, sddmm_into) runs all the
/// same. All but sddmm_groups, gemm_parts and token_rows (which follows fused_attention) need compute capability 9.0 and are
/// off elsewhere.
struct KernelSet {
  bool spmm_panel = true;       ///< kernels/spmm: B's columns kept in shared memory; else the row kernel
  bool spmm_tensor = true;      ///< kernels/spmm_tensor: f32-accurate products on tensor cores
  bool sddmm_tensor = true;     ///< kernels/sddmm/sddmm_tiles.h: tensor-core tiles with a sampling epilogue
  bool sddmm_groups = true;     ///< kernels/sddmm/sddmm_groups.h: eight entries a warp; else the row kernel
  bool half_product = true;     ///< kernels/half_product: TF32 products by way of scaled f16 copies
  bool fused_attention = true;  ///< kernels/sparse_attention: no stored scores; else SDDMM, sparse softmax, SpMM
  bool bf16_product = true;     ///< kernels/bf16_product: A made dense while it is multiplied; else densify, cuBLASLt
  bool gemm_parts = true;       ///< core/ops/matmul_parts.h: dense weights' gradients cut along their columns
  bool token_rows = true;       ///< core/ops/token_projections.h: attention between products by rows of tokens, in bf16
  bool dependent_launch = true;  ///< kernels/common/dependent_launch.cuh: before the kernel ahead of them is done

  bool operator==(const KernelSet&) const = default;
};

/// `set` without the kernels named, "spmm_panel,sddmm_tensor"; spaces and empty names are skipped. Throws ValueError
/// for a name that is not a kernel's.
KernelSet without(KernelSet set, const std::string& names);
/// The names of what is off, "spmm_panel,sddmm_tensor"; "" when all are on.
std::string names_off(const KernelSet& set);

/// Of a CUDA device: all that its compute capability allows, less what the environment variable LACUNA_KERNELS_OFF
/// named when the device was first used, until set. On the CPU all are on and mean nothing. Throws as cuda_stream does,
/// and ValueError for a bad name in the variable.
KernelSet allowed_kernels(Device device);
void set_allowed_kernels(Device device, const KernelSet& set);

}  // namespace lacuna
