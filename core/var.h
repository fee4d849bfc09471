// Var: a tensor plus its place on the tape; reverse-mode differentiation.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/tensor.h"

namespace lacuna {

namespace detail {
struct Node;
}
class Grads;

/// Vector-Jacobian product: given d(loss)/d(output), adds d(loss)/d(input i) through `Grads::add(i, ...)`. Runs once, so it
/// may let go of what it has captured as soon as that is used, and write over d(output) where nobody else holds it
/// (reuse_or_empty).
using Vjp = std::function<void(const Tensor& doutput, Grads& grads)>;

class Var {
 public:
  Var() = default;
  /// A leaf. With requires_grad, backward() leaves its gradient in grad().
  explicit Var(Tensor value, bool requires_grad = false);

  bool defined() const { return value_.defined(); }
  const Tensor& data() const;
  const Shape& shape() const { return data().shape(); }
  bool requires_grad() const;
  /// Gradient accumulated by backward(); undefined until then. Leaves only.
  const Tensor& grad() const;
  void set_grad(Tensor grad) const;
  void clear_grad() const;
  /// Same data, no tape.
  Var detach() const;

 private:
  friend Var record(const char*, Tensor, std::vector<Var>, Vjp);
  friend void backward(const Var&, const Tensor&);
  // The value is here and not in the node: the tape then keeps alive only what a vjp has captured, not every output.
  Tensor value_;
  std::shared_ptr<detail::Node> node_;  // null for constants
};

/// Collects the gradients of one op's inputs. The function form is evaluated only when the input wants a gradient.
class Grads {
 public:
  bool wants(std::size_t input) const;
  void add(std::size_t input, const std::function<Tensor()>& gradient);
  void add(std::size_t input, Tensor gradient);

 private:
  friend void backward(const Var&, const Tensor&);
  explicit Grads(detail::Node& node) : node_(node) {}
  detail::Node& node_;
};

/// Puts an op's result on the tape. Undefined inputs are allowed (absent optional operands).
/// When no input requires a gradient nothing is kept: no tape in evaluation.
Var record(const char* op, Tensor value, std::vector<Var> inputs, Vjp vjp);

/// Adds d(root)/d(leaf) into the grad of every leaf that root depends on; root must be a scalar unless `seed`,
/// d(loss)/d(root) of root's shape, is given. The tape is consumed: saved activations are freed as they are used.
/// Throws ShapeError, ValueError (no leaf requires a gradient, or the tape was consumed before).
void backward(const Var& root, const Tensor& seed = {});

}  // namespace lacuna
