// Topology: an immutable CSR pattern and everything derived from it, shared by pointer.
#pragma once

#include <cstdint>
#include <memory>
#include <mutex>
#include <vector>

#include "core/tensor.h"
#include "core/var.h"

namespace lacuna {

class Topology;
using TopologyPtr = std::shared_ptr<const Topology>;

/// The pattern of A^T, and where its values come from: transposed value i is value permutation[i] of A.
struct TransposedTopology {
  TopologyPtr topology;
  Tensor permutation;  ///< i32 [nnz]
};

/// A square pattern packed for the fused attention kernels (kernels/sparse_attention), for windows of one width, with
/// cells of so many tiles apart (0: none). Of a transpose, the cells may be those of the pattern's own plan.
struct AttentionPlan {
  std::int64_t window = 0;
  int min_cell_tiles = 0;
  bool takes_cells = false;                                  ///< of the pattern whose transpose this one is
  Tensor tile_offsets;                                       ///< i32
  Tensor slots;                                              ///< i32, words of bits
  Tensor block_order;                                        ///< i32
  Tensor cell_offsets, cell_windows, cell_bits, cell_order;  ///< i32; undefined without cells
  Tensor cell_places;                                        ///< i32; defined where `takes_cells`
};

/// Same pattern = same pointer. Column indices ascend strictly within each row. Indices are 32-bit; rows, cols and nnz
/// past 2^31 - 1 are refused. Derived data is built on first use, on the pattern's device, and kept (thread-safe).
class Topology : public std::enable_shared_from_this<Topology> {
 public:
  /// Checks everything: offsets from 0 to nnz never falling, indices in [0, cols) strictly ascending in each row.
  ///   row_offsets  i32 [rows + 1]      col_indices  i32 [nnz]      (any device; they are checked on the host)
  /// Throws ShapeError, DtypeError, IndexError (names row and entry).
  static TopologyPtr from_csr(std::int64_t rows, std::int64_t cols, Tensor row_offsets, Tensor col_indices);
  /// Pattern of the nonzero bytes of a mask, u8 [rows, cols], built on its device. Throws ShapeError, DtypeError, IndexError.
  static TopologyPtr from_mask(const Tensor& mask);
  /// Every entry present.
  static TopologyPtr full(std::int64_t rows, std::int64_t cols, Device device = kCpu);
  /// The entries of `this` whose byte in keep, u8 [nnz], is not 0.
  TopologyPtr subset(const Tensor& keep) const;
  /// This pattern on another device; itself when already there.
  TopologyPtr to(Device device) const;

  std::int64_t rows() const { return rows_; }
  std::int64_t cols() const { return cols_; }
  std::int64_t nnz() const { return nnz_; }
  Device device() const { return row_offsets_.device(); }
  double sparsity() const;  ///< fraction of absent entries, in [0, 1]; 0 for an empty matrix

  const Tensor& row_offsets() const { return row_offsets_; }  ///< i32 [rows + 1]
  const Tensor& col_indices() const { return col_indices_; }  ///< i32 [nnz]
  const Tensor& row_indices() const;                          ///< i32 [nnz], the row of each entry; cached
  const Tensor& row_order() const;                            ///< i32 [rows], longest row first, ties by index; cached
  const Tensor& row_shares() const;  ///< i32 [rows, 9], where a row crosses into each eighth of the columns; cached
  /// Whether at least one of row_indices(), row_order() and row_shares() was built, and all that were have been waited
  /// for: nothing still writes them, the offsets or the columns.
  bool settled() const;
  const TransposedTopology& transposed() const;  ///< cached; transposed().topology->transposed() is built on its own
  std::int64_t max_row_length() const;           ///< cached
  const Tensor& sddmm_plan() const;              ///< of kernels/sddmm/sddmm_tiles.h; cached; CUDA only
  /// Cached for each pair; CUDA only. rows: a plan with cells of the pattern whose transpose this is; its cells are taken.
  const AttentionPlan& attention_plan(std::int64_t window, int min_cell_tiles,
                                      const AttentionPlan* rows = nullptr) const;
  bool same_pattern(const Topology& other) const;  ///< compares on the host

  /// Bytes held now: offsets, indices and whatever derived data has been built (the transpose's pattern included).
  std::size_t bytes() const;

  Topology(std::int64_t rows, std::int64_t cols, Tensor row_offsets, Tensor col_indices);  // unchecked; use from_csr

 private:
  template <class Stream>
  void settle(Stream stream) const;

  std::int64_t rows_ = 0;
  std::int64_t cols_ = 0;
  std::int64_t nnz_ = 0;
  Tensor row_offsets_;
  Tensor col_indices_;
  mutable std::mutex mutex_;
  mutable Tensor row_indices_;
  mutable Tensor row_order_;
  mutable Tensor row_shares_;
  mutable bool settled_ = false;
  mutable bool built_in_capture_ = false;  // some of them are written by a graph, whenever it is launched
  mutable std::unique_ptr<TransposedTopology> transposed_;
  mutable Tensor sddmm_plan_;
  mutable std::vector<std::unique_ptr<AttentionPlan>> attention_plans_;
  mutable std::int64_t max_row_length_ = -1;
};

/// Values over a pattern. `values` is [nnz], or [batch, nnz] when a batch shares the pattern.
template <class V>
struct Sparse {
  V values;
  TopologyPtr topology;
};
using SparseTensor = Sparse<Tensor>;
using SparseVar = Sparse<Var>;

inline SparseTensor data(const SparseVar& a) { return {a.values.data(), a.topology}; }

}  // namespace lacuna
