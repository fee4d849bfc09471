// Module: a layer or a model. Owns parameters, buffers and child modules; names are paths ("blocks.0.attention.query.weight").
#pragma once

#include <memory>
#include <string>
#include <utility>
#include <vector>

#include "core/ops/cast.h"
#include "core/parameter.h"
#include "core/random.h"

namespace lacuna {

/// What a forward pass needs to know. In evaluation parameters enter as constants, so nothing is taped.
struct ForwardContext {
  bool training = false;           ///< dropout on, batch statistics on, tape recorded
  RandomStream* random = nullptr;  ///< required when training with dropout
  bool bf16 = false;               ///< products and activations in bf16 (docs/precision.md); parameters stay f32
  bool recomputing = false;        ///< a second run, in backward (layers/recompute.h): buffers must stay as they are
  /// The parameter as an operand: on the tape when training, a constant otherwise.
  Var use(const Parameter& p) const { return training ? p.var() : p.var().detach(); }
  /// As an operand of a product, or an input on its way into one: in bf16 when that is asked for. The copy lives as long
  /// as this pass and its backward need it; the gradient comes back in the parameter's own dtype.
  Var operand(const Parameter& p) const { return operand(use(p)); }
  Var operand(const Var& x) const { return bf16 ? cast(x, DType::bf16) : x; }
  /// What activations made from f32 `stored` (an embedding's table) are to be.
  DType activations(DType stored) const { return bf16 ? DType::bf16 : stored; }
};

/// Non-trainable state that a checkpoint keeps (batch norm's running statistics).
struct NamedBuffer {
  std::string name;
  Tensor* tensor;
};

/// One line of `lacuna plan`. Written by Module::plan, which mirrors forward on shapes alone.
struct LayerPlan {
  std::string name;
  std::string kind;             ///< "linear", "pointwise_conv", "depthwise_conv", "attention", ...
  std::string weight;           ///< full name of the weight parameter, "" when there is none
  std::int64_t columns = 0;     ///< columns the weight is multiplied with: tokens, or batch * height * width
  double dense_flops = 0;       ///< forward, two per multiply-add, were every weight and score dense
  double flops = 0;             ///< forward, with the patterns as they are
  double activation_bytes = 0;  ///< f32 outputs kept for the backward pass
};

class Module {
 public:
  Module() = default;
  Module(const Module&) = delete;
  Module& operator=(const Module&) = delete;
  virtual ~Module() = default;

  virtual Var forward(const Var& x, ForwardContext& context) = 0;
  /// Appends the lines of this module for an input of `shape`, returns the output's shape. Children with a path prefix.
  virtual Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const = 0;

  /// All parameters, depth first in order of registration; sets each one's full name.
  std::vector<Parameter*> parameters();
  std::vector<NamedBuffer> buffers();
  /// Moves parameters and buffers. Before training starts: no gradients survive.
  void to(Device device);
  /// Every pattern, of parameters and of what else multiplies (attention), each once.
  std::vector<TopologyPtr> topologies();
  /// For evaluation alone from here on: batch norms are folded into the products before them. Their parameters and buffers
  /// go, weights and biases change, optimizer state of changed weights is dropped. A second call does nothing.
  void prepare_for_inference();

 protected:
  /// `name` is local ("weight"); the dotted path is added by parameters().
  Parameter& add_parameter(std::string name, Tensor value, bool prunable = false, bool decay = false);
  Tensor& add_buffer(std::string name, Tensor value);
  template <class M, class... Args>
  M& add_child(std::string name, Args&&... args) {
    auto child = std::make_unique<M>(std::forward<Args>(args)...);
    M& reference = *child;
    children_.emplace_back(std::move(name), std::move(child));
    return reference;
  }
  /// Called by to(): for state that is neither parameter nor buffer (attention topologies).
  virtual void on_move(Device) {}
  /// Patterns that no parameter holds; they may be there already.
  virtual void add_topologies(std::vector<TopologyPtr>&) const {}
  /// Called once by prepare_for_inference(), after the children's: a module that owns a norm folds it here.
  virtual void on_prepare_for_inference() {}
  /// Assigns a dense value to `parameter`, which is added under `name` where it is null.
  void set_parameter(Parameter*& parameter, const char* name, Tensor value);
  /// Forgets this module's own parameters and buffers: references to them dangle.
  void drop_state();

 private:
  void collect_topologies(std::vector<TopologyPtr>& all) const;
  void collect(const std::string& prefix, std::vector<Parameter*>* parameters, std::vector<NamedBuffer>* buffers);
  std::vector<std::pair<std::string, std::unique_ptr<Parameter>>> parameters_;
  std::vector<std::pair<std::string, std::unique_ptr<Tensor>>> buffers_;
  std::vector<std::pair<std::string, std::unique_ptr<Module>>> children_;
  bool for_inference_ = false;
};

}  // namespace lacuna
