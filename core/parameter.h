// Parameter: a named trainable array, dense or on a sparse pattern, with the optimizer's state beside it.
#pragma once

#include <map>
#include <string>

#include "core/gradient_pairs.h"
#include "core/topology.h"

namespace lacuna {

/// In which units a pattern's entries come and go: blocks of rows x cols (cols 0: whole rows), or, where m is not 0, n of
/// each m consecutive columns.
struct PatternUnits {
  std::int64_t rows = 1;
  std::int64_t cols = 1;
  std::int64_t n = 0;
  std::int64_t m = 0;
  bool operator==(const PatternUnits&) const = default;
};

/// Values, gradient and every optimizer slot are flat over one pattern: shape() when dense, [nnz] when sparse.
/// So optimizers are elementwise and never ask which it is; only retopologize() changes the pattern, for all at once.
class Parameter {
 public:
  /// Dense. `value` has any rank; a weight that may become sparse is [m, k].
  Parameter(std::string name, Tensor value);

  const std::string& name() const { return name_; }
  void set_name(std::string name) { name_ = std::move(name); }
  /// The full, dense-equivalent shape, whatever the storage.
  const Shape& shape() const { return shape_; }
  const TopologyPtr& topology() const { return topology_; }  ///< null when dense
  bool is_sparse() const { return topology_ != nullptr; }

  const Var& var() const { return var_; }
  const Tensor& value() const { return var_.data(); }  ///< shape() or [nnz]
  const Tensor& grad() const { return var_.grad(); }   ///< as value(), or undefined
  /// Requires a sparse parameter.
  SparseVar sparse() const { return {var_, topology_}; }

  /// Optimizer state by name ("momentum", "adam_m", "adam_v", "ema", ...), each of slot_shape(). std::map: a fixed order.
  std::map<std::string, Tensor>& slots() { return slots_; }
  const std::map<std::string, Tensor>& slots() const { return slots_; }
  /// A slot is laid out as value(), unless its name ends in "_rows" or "_cols": then it holds one number per row or column
  /// of the matrix, whatever the pattern, and retopologize() leaves it as it is.
  Shape slot_shape(const std::string& slot) const { return slot_shape(slot, shape_, value().shape()); }
  /// Of a parameter of `shape` whose value is laid out as `value`.
  static Shape slot_shape(const std::string& slot, const Shape& shape, const Shape& value);

  /// Moves values and slots onto `next` ([m, k], on this device; null = dense) and drops the gradient. Entries in both
  /// patterns keep value and state bit for bit; new ones start at 0. Throws ShapeError, DeviceError.
  void retopologize(TopologyPtr next);
  /// Replaces storage outright (loading). value is shape() or [topology->nnz()]. Slots are dropped.
  void assign(Tensor value, TopologyPtr topology);
  void to(Device device);

  std::int64_t nnz() const { return value().numel(); }  ///< stored numbers: shape().numel() when dense
  double sparsity() const;                              ///< 0 when dense
  /// Bytes of values + gradient + slots, and of the pattern (0 when dense).
  std::size_t state_bytes() const;
  /// The value with its absent entries as zeros, [rows, cols]; the value itself when dense. For export.
  Tensor dense_value() const;
  std::size_t topology_bytes() const { return topology_ ? topology_->bytes() : 0; }

  /// Set by a pruner on weights whose patterns it makes itself, so that kernels for such patterns can be chosen.
  PatternUnits units;
  bool prunable = false;  ///< a weight matrix that sparsity may be applied to
  int window = 1;         ///< rows and columns of a convolution's window: its inputs are channels * window^2
  bool decay = false;     ///< takes weight decay (weights do; biases, norms and embeddings do not)
  /// Set by a pruner for steps at which connections grow by gradient: sparse products with this weight leave their
  /// operands here during backward. Null otherwise.
  std::shared_ptr<GradientPairs> gradient_pairs;

 private:
  std::string name_;
  Shape shape_;
  TopologyPtr topology_;
  Var var_;
  std::map<std::string, Tensor> slots_;
};

}  // namespace lacuna
