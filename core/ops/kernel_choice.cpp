#include "core/ops/kernel_choice.h"

#include <fmt/format.h>

#include <algorithm>
#include <limits>

#include "core/errors.h"
#include "kernels/sddmm/sddmm_cpu_plan.h"
#include "kernels/sddmm/sddmm_plan.h"
#include "kernels/sddmm/sddmm_tiles.h"
#include "kernels/spmm/spmm_cpu_plan.h"
#include "kernels/spmm/spmm_plan.h"
#include "kernels/spmm_tensor/tiling.h"

namespace lacuna {

namespace {

// Both routes' times are sums of terms linear in the work: multiply-adds, elements moved, kernel starts.

/// One core, f32: oneDNN 2.6's sgemm on an AMD EPYC (Zen 3, AVX2), fitted to 134 products from 256 x 256 x 32 to
/// 4096 x 2048 x 512, 10 to 20 % (root mean square). The sparse kernels' own times come with their plans
/// (kernels/spmm/spmm_cpu_plan.h, kernels/sddmm/sddmm_cpu_plan.h), fitted to the same products. All terms scale with the
/// cores alike, and AVX-512 lifts both routes, so the break-even (0.3 to 0.5; docs/kernels/cpu.md) carries over.
struct CpuModel {
  double dense_rate = 83e9;        // flop/s of the dense product
  double sample_seconds = 0.5e-9;  // densify + its zeros, or a sample, by element of the dense matrix
  std::int64_t slab = 32;          // of the sparse kernels as fitted: columns of float
  std::int64_t chunk = 64;
};

/// f32 on one H100 80GB HBM3 (CUDA 13.0): cuBLAS. SpMM on CUDA cores: kernels/spmm/spmm_plan.h; SDDMM: below.
struct CudaModel {
  double start = 6e-6;        // of one sparse kernel
  double dense_start = 8e-6;  // of a product and, below, its second kernel
  double second_start = 4e-6;
  double dense_rate = 52.5e12;  // cuBLAS f32
  double tf32_rate = 430e12;    // cuBLAS TF32
  double half_rate = 730e12;    // cuBLAS f16 that stores f32. Predicted, from bf16 that stores bf16
  double copy_start = 3e-6;     // of a kernel that makes f16 copies. Predicted
  double bandwidth = 2.5e12;    // of densify and sample
};

/// SDDMM in f32 by rows, by blocks of a few entries (kernels/sddmm/sddmm.cu), by groups (sddmm_groups.cu), and dense;
/// fitted to 240 problems of DLMC and 4096^3 on one H100, within 16, 21, 12 and 13 % (root mean square). Choices by it
/// take as long as the best measured route in the geometric mean, 18 % more at most.
struct CudaSddmmModel {
  double rows_start = 5.6e-6;
  double rows_step = 0.25e-12;    // of a multiply-add, where B is read from caches
  double rows_far = 0.56e-12;     // the same from 40 MB of B on, which L2 does not keep
  double rows_operand = 1.6e-12;  // of an element of A and B
  double rows_first = 4.4e-12;    // more of one of the first 8192 rows of both: until all multiprocessors have work
  double short_start = 7.8e-6;    // sums of fewer than 128: subwarps of eight lanes, or reads of four bytes
  double short_step = 1.40e-12;
  double blocks_start = 5.7e-6;
  double blocks_step = 0.73e-12;
  double blocks_operand = 1.33e-12;
  double groups_start = 1.7e-6;
  double groups_piece = 0.57e-6;  // of 128 elements of the sum (of as many as a warp reads at once)
  double groups_entry = 30e-12;   // of an entry's piece
  double groups_step = 0.175e-12;
  double groups_far = 0.45e-12;
  double groups_operand = 0.05e-12;
  double groups_odd_step = 1.41e-12;  // where rows are not whole vectors of four
  double dense_start = 6e-6;
  double dense_element = 3.7e-12;  // of the product: stored, and sampled
  double dense_chain = 13.8e-9;    // of a step of the sum where tiles are few: cuBLAS leaves most of the device idle
};

constexpr double kNever = std::numeric_limits<double>::infinity();
constexpr int kMultiprocessors = 132;

/// A dense scratch larger than this is never made, whatever it would save: attention's t x t above all.
constexpr double kMaxScratchBytes = 256.0 * 1024 * 1024;
/// Nor is a plan of the SDDMM tiles, four bytes for each row and 256 columns and, of a dense pattern, a bit a place.
constexpr double kMaxPlanBytes = 256.0 * 1024 * 1024;

struct Work {
  double rows, cols, nnz, other, batch;
  double flops_sparse, flops_dense;
  double scratch_bytes;
};

Work work_of(const ProductShape& p) {
  Work w{};
  w.rows = static_cast<double>(p.rows);
  w.cols = static_cast<double>(p.cols);
  w.nnz = static_cast<double>(p.nnz);
  w.other = static_cast<double>(p.other);
  w.batch = static_cast<double>(p.batch);
  w.flops_sparse = 2 * w.nnz * w.other * w.batch;
  w.flops_dense = 2 * w.rows * w.cols * w.other * w.batch;
  w.scratch_bytes = w.rows * w.cols * static_cast<double>(size_of(p.dtype)) * (p.shared_values ? 1 : w.batch);
  return w;
}

constexpr double kNotInL2 = 40e6;  // bytes of B

/// Of the row kernel, or of blocks of a few entries where that kernel's own rule takes them (kernels/sddmm/sddmm.cu).
double sddmm_rows_seconds(const Work& w) {
  constexpr CudaSddmmModel model;
  const double steps = w.nnz * w.other * w.batch, operands = (w.rows + w.cols) * w.other * w.batch;
  if (w.other >= 2048 && w.nnz * w.batch < kMultiprocessors * 256)
    return model.blocks_start + model.blocks_step * steps + model.blocks_operand * operands;
  if (w.other < 128) return model.short_start + model.short_step * steps;
  const double first = std::min((w.rows + w.cols) * w.batch, 8192.0) * w.other;
  return model.rows_start + (4 * w.cols * w.other > kNotInL2 ? model.rows_far : model.rows_step) * steps +
         model.rows_operand * operands + model.rows_first * first;
}

double sddmm_groups_seconds(const Work& w) {
  constexpr CudaSddmmModel model;
  const std::int64_t k = static_cast<std::int64_t>(w.other);
  const int width = k % 4 == 0 ? 4 : k % 2 == 0 ? 2 : 1;
  const double pieces = std::ceil(w.other / (32 * width)), entries = w.nnz * w.batch;
  if (width < 4) return model.groups_start + model.groups_piece * pieces + model.groups_odd_step * entries * w.other;
  return model.groups_start + model.groups_piece * pieces + model.groups_entry * entries * pieces +
         (4 * w.cols * w.other > kNotInL2 ? model.groups_far : model.groups_step) * entries * w.other +
         model.groups_operand * (w.rows + w.cols) * w.other * w.batch;
}

/// A product in f32 and its entries on the pattern.
double sddmm_dense_seconds(const Work& w) {
  constexpr CudaModel model;
  constexpr CudaSddmmModel sddmm;
  const double tiles = std::ceil(w.rows / 128) * std::ceil(w.cols / 128) * w.batch;
  const double idle = std::max(0.0, 1 - tiles / (kMultiprocessors / 2.0));
  return sddmm.dense_start + w.flops_dense / model.dense_rate + sddmm.dense_element * w.rows * w.cols * w.batch +
         sddmm.dense_chain * std::min(w.other, 3136.0) * idle;
}

/// Of the panel kernel, or of the row kernel where the ops take that.
double cuda_core_spmm_seconds(const ProductShape& p) {
  const kernels::SpmmShape shape{p.rows, p.cols, p.other, p.nnz, p.batch, kMultiprocessors};
  return p.kernels.spmm_panel ? kernels::plan_spmm(shape).seconds : kernels::spmm_row_seconds(shape);
}

/// The faster prediction, unless a rule leaves no choice.
Choice decide(const ProductShape& p, const Work& w, double sparse_seconds, double dense_seconds,
              double tensor_seconds = kNever, double half_seconds = kNever) {
  Choice choice{Route::sparse, sparse_seconds, dense_seconds, tensor_seconds, half_seconds, {}};
  if (p.dtype != DType::f32) {
    choice.reason = fmt::format("{} always runs on the sparse kernel", to_string(p.dtype));
  } else if (p.nnz == 0 || w.flops_dense == 0) {
    choice.reason = "nothing to multiply";
  } else if (p.shared_values && p.batch > 1) {
    choice.reason = "one set of values for a whole batch always runs on the sparse kernel";
  } else {
    const bool dense_fits = w.scratch_bytes <= kMaxScratchBytes;
    const double least = std::min({sparse_seconds, tensor_seconds, half_seconds});
    if (tensor_seconds < sparse_seconds) choice.route = Route::tensor;
    if (half_seconds < std::min(sparse_seconds, tensor_seconds)) choice.route = Route::half;
    if (dense_fits && dense_seconds < least) choice.route = Route::dense;
    choice.reason = fmt::format("predicted {:.3g} us sparse", sparse_seconds * 1e6);
    if (tensor_seconds < kNever) choice.reason += fmt::format(", {:.3g} us on tensor cores", tensor_seconds * 1e6);
    if (half_seconds < kNever) choice.reason += fmt::format(", {:.3g} us in scaled f16", half_seconds * 1e6);
    if (dense_fits)
      choice.reason += fmt::format(", {:.3g} us dense", dense_seconds * 1e6);
    else
      choice.reason += fmt::format("; a dense scratch would take {:.0f} MiB, more than {:.0f}",
                                   w.scratch_bytes / 1048576, kMaxScratchBytes / 1048576);
  }
  return choice;
}

/// Of cuBLASLt in bf16 on large products: the vendor's dense figure for one H100 less a third, not a measurement.
constexpr double kCudaBf16Rate = 600e12;

double bf16_dense_seconds(const Work& w) {
  constexpr CudaModel model;
  return model.dense_start + model.second_start + w.flops_dense / kCudaBf16Rate + w.scratch_bytes / model.bandwidth;
}

/// Of bf16 operands made f32 and the f32 result made bf16, around a kernel that takes f32 alone.
double conversion_seconds(const Work& w) {
  constexpr CudaModel model;
  return 3 * model.start + 6 * ((w.rows + w.cols) * w.other * w.batch + w.nnz) / model.bandwidth;
}

/// Whether TF32 may be had by way of f16 copies: of single matrices, scratch for which is no larger than the dense route's.
bool takes_half(const ProductShape& p, const Work& w) {
  const double largest = std::max(4 * w.rows * w.cols, 2 * (w.rows + w.cols) * w.other);
  return p.kernels.half_product && p.precision == MatmulPrecision::tf32 && p.dtype == DType::f32 && p.batch == 1 &&
         p.nnz > 0 && p.other > 0 && largest <= kMaxScratchBytes;
}

/// B and A's values read and copied, A densified, cuBLASLt; none of them overlap.
double spmm_half_seconds(const Work& w) {
  constexpr CudaModel model;
  const double bytes = 6 * w.cols * w.other + 12 * w.nnz + 2 * w.rows * w.cols;
  return model.dense_start + 3 * model.copy_start + bytes / model.bandwidth + w.flops_dense / model.half_rate;
}

ProductShape in_f32(ProductShape p) {
  p.dtype = DType::f32;
  return p;
}

}  // namespace

Choice choose_spmm(const ProductShape& p) {
  const Work w = work_of(p);
  if (p.dtype == DType::bf16) {  // on the CPU every route converts, so that the choice is f32's
    const Choice f32 = choose_spmm(in_f32(p));
    if (p.device.is_cpu()) return f32;
    const double conversions = conversion_seconds(w);
    return decide(in_f32(p), w, f32.sparse_seconds + conversions, bf16_dense_seconds(w),
                  f32.tensor_seconds + conversions);
  }
  if (p.device.is_cpu()) {
    constexpr CpuModel model;
    const double sparse =
        w.batch * 1e-9 * kernels::plan_spmm_cpu(p.rows, p.cols, p.other, p.nnz, model.slab, 4 * model.slab).nanoseconds;
    const double densify = w.rows * w.cols * model.sample_seconds * (p.shared_values ? 1 : w.batch);
    return decide(p, w, sparse, w.flops_dense / model.dense_rate + densify);
  }
  constexpr CudaModel model;
  const double rate = p.precision == MatmulPrecision::tf32 ? model.tf32_rate : model.dense_rate;
  const double dense =
      model.dense_start + model.second_start + w.flops_dense / rate + w.scratch_bytes / model.bandwidth;
  // Rows of fewer than eight entries: its error would be more than twice a plain f32 kernel's.
  const bool tensor = p.kernels.spmm_tensor && p.batch == 1 && p.nnz > 0 && p.other > 0 && w.nnz >= 8 * w.rows;
  double tensor_seconds = kNever;
  if (tensor) kernels::choose_spmm_tensor_tiling(p.rows, p.cols, p.other, p.nnz, kMultiprocessors, &tensor_seconds);
  return decide(p, w, cuda_core_spmm_seconds(p), dense, tensor_seconds,
                takes_half(p, w) ? spmm_half_seconds(w) : kNever);
}

bool sddmm_by_groups(const ProductShape& p) {
  if (!p.device.is_cuda() || !p.kernels.sddmm_groups) return false;
  const Work w = work_of(p);
  const double conversions = p.dtype == DType::bf16 ? conversion_seconds(w) : 0;  // the row kernel takes f32 alone
  return sddmm_groups_seconds(w) < sddmm_rows_seconds(w) + conversions;
}

Choice choose_sddmm(const ProductShape& p) {
  const Work w = work_of(p);
  const auto tensor_seconds = [&](kernels::SddmmMath math, std::int64_t k_unit) {
    double seconds = kNever;
    const auto plan_bytes = static_cast<double>(kernels::sddmm_plan_view(nullptr, p.rows, p.cols, p.nnz).bytes);
    if (p.kernels.sddmm_tensor && p.other % k_unit == 0 && p.other > 0 && p.nnz > 0 && plan_bytes <= kMaxPlanBytes)
      kernels::choose_sddmm_tiling(p.rows, p.cols, p.other, p.nnz, p.batch, kMultiprocessors, math, &seconds);
    return seconds;
  };
  if (p.dtype == DType::bf16) {
    if (p.device.is_cpu()) return choose_sddmm(in_f32(p));  // which converts on every route
    const double sparse =                                   // the groups' model is of f32, whose rows are twice as long
        sddmm_by_groups(p) ? sddmm_groups_seconds(w) : sddmm_rows_seconds(w) + conversion_seconds(w);
    return decide(in_f32(p), w, sparse, bf16_dense_seconds(w), tensor_seconds(kernels::SddmmMath::bf16, 8));
  }
  if (p.device.is_cpu()) {
    constexpr CpuModel model;
    const double sparse =
        w.batch * 1e-9 *
        kernels::plan_sddmm_cpu(p.rows, p.cols, p.other, p.nnz, model.chunk, 4 * model.chunk).nanoseconds;
    const double dense = w.flops_dense / model.dense_rate + w.rows * w.cols * w.batch * model.sample_seconds;
    return decide(p, w, sparse, dense);
  }
  constexpr CudaModel model;
  const double sparse = sddmm_by_groups(p) ? sddmm_groups_seconds(w) : sddmm_rows_seconds(w);
  const double dense =
      p.precision == MatmulPrecision::tf32
          ? model.dense_start + model.second_start + w.flops_dense / model.tf32_rate + w.scratch_bytes / model.bandwidth
          : sddmm_dense_seconds(w);
  const kernels::SddmmMath math =
      p.precision == MatmulPrecision::tf32 ? kernels::SddmmMath::tf32 : kernels::SddmmMath::split_tf32;
  double half = kNever;  // in f16 copies, whose rows start on 16 bytes whatever the sum's length
  if (takes_half(p, w)) {
    half = tensor_seconds(kernels::SddmmMath::half, 1) + 2 * model.copy_start +
           6 * (w.rows + w.cols) * w.other / model.bandwidth;
  }
  return decide(p, w, sparse, dense, tensor_seconds(math, 4), half);
}

std::string explain_choice(const char* op, const ProductShape& problem) {
  const std::string name = op;
  if (name != "spmm" && name != "sddmm")
    throw ValueError("explain_choice", fmt::format("op is '{}'; must be spmm or sddmm", name));
  const Choice choice = name == "spmm" ? choose_spmm(problem) : choose_sddmm(problem);
  const double total = static_cast<double>(problem.rows) * static_cast<double>(problem.cols);
  const double sparsity = total == 0 ? 0 : 1 - static_cast<double>(problem.nnz) / total;
  const char* how = choice.route == Route::sparse   ? "sparse kernel"
                    : choice.route == Route::tensor ? "tensor cores"
                    : choice.route == Route::half   ? "scaled f16"
                    : name == "spmm"                ? "densify + matmul"
                                                    : "matmul + sample";
  return fmt::format("{}: sparsity {:.3f}, {}", how, sparsity, choice.reason);
}

}  // namespace lacuna
