// The kernels of residual_norm for bf16 by clusters of blocks: what they take, and their launches.
#pragma once

#include "kernels/residual_norm/residual_norm.h"

namespace lacuna::kernels {

/// Runs the call and returns true, or does nothing and returns false: rows that are not whole packs of 16 bytes, more
/// features than a cluster has, devices without clusters. With h null it is a layer norm of x: no r is written.
bool residual_norm_by_clusters(CudaStream stream, const ResidualNorm<Bf16>& call);

/// The same for the gradient, dgain, dbias and dh_bias included. `scratch` holds residual_norm_cluster_scratch_bytes.
bool residual_norm_gradient_by_clusters(CudaStream stream, const ResidualNormGradient<Bf16>& call, void* scratch);
std::size_t residual_norm_cluster_scratch_bytes(CudaStream stream, std::int64_t f, std::int64_t n);

}  // namespace lacuna::kernels
