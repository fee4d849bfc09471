#include "kernels/spmm_tensor/tiling.h"

#include <algorithm>
#include <cmath>

namespace lacuna::kernels {

namespace {

/// Fitted to 295 measurements of 32 problems on one H100, within 5.6 % (root mean square); what it chooses takes 0.8 %
/// longer than the fastest measured (scripts/fit_kernel_choice.py; docs/kernels/spmm_tensor.md).
struct TileModel {
  int rows, cols;
  double tile;  // seconds for each tile a block takes: its first slab, its sums
  double slab;  // seconds for each 64 k
};
constexpr TileModel kTiles[] = {
    {128, 128, 4.62e-6, 0.924e-6}, {128, 64, 4.62e-6, 0.563e-6}, {64, 64, 3.42e-6, 0.357e-6}};
constexpr double kStart = 1.9e-6;      // of both kernels
constexpr double kElement = 2.37e-12;  // of A made dense
constexpr double kEntry = 3.19e-12;    // of A made dense
constexpr double kCluster = 1.85e-6;   // sums of several blocks added
constexpr double kReadRate = 39e12;    // bytes of tiles and slabs, mostly from L2
/// Clusters of 1 to 8 blocks, one block a multiprocessor, that run at once on an H100 with 132: a cluster lies within one
/// of its groups of 16 or 18 multiprocessors (cudaOccupancyMaxActiveClusters).
constexpr int kMultiprocessors = 132;
constexpr int kClusters[] = {132, 66, 39, 30, 22, 17, 15, 15};

double ceil_div(double a, double b) { return std::ceil(a / b); }

}  // namespace

SpmmTensorTiling choose_spmm_tensor_tiling(std::int64_t m, std::int64_t k, std::int64_t n, std::int64_t nnz,
                                           int multiprocessors, double* seconds) {
  const auto rows = static_cast<double>(m), inner = static_cast<double>(k), cols = static_cast<double>(n);
  const double slabs = std::max(1.0, ceil_div(inner, 64));
  SpmmTensorTiling best;
  double least = 0;
  for (const TileModel& model : kTiles) {
    const double tiles = ceil_div(rows, model.rows) * ceil_div(cols, model.cols);
    const double read = 4 * 64 * tiles * slabs * (model.rows + model.cols) / kReadRate;
    for (int splits = 1; splits <= 8 && splits <= slabs; ++splits) {
      const double at_once = std::max(1, kClusters[splits - 1] * multiprocessors / kMultiprocessors);
      const double time = ceil_div(tiles, at_once) * (model.tile + ceil_div(slabs, splits) * model.slab) + read +
                          (splits > 1 ? kCluster : 0);
      if (least == 0 || time < least) {
        least = time;
        best = {model.rows, model.cols, splits};
      }
    }
  }
  if (seconds) *seconds = kStart + kElement * rows * inner + kEntry * static_cast<double>(nnz) + least;
  return best;
}

}  // namespace lacuna::kernels
