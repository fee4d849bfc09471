#include "core/var.h"

#include <unordered_set>

#include "core/errors.h"
#include "core/ops/cast.h"
#include "core/ops/pointwise.h"

namespace lacuna {

namespace detail {

struct Node {
  const char* op = "leaf";
  Shape shape;  // of the value, which the Var holds
  DType dtype = DType::f32;
  GradientDtype takes = GradientDtype::of_value;
  Tensor grad;
  bool is_leaf = true;
  std::vector<std::shared_ptr<Node>> inputs;
  Vjp vjp;

  // A long chain of nodes must not be freed by recursion: each link would be a stack frame.
  ~Node() {
    std::vector<std::shared_ptr<Node>> pending = std::move(inputs);
    while (!pending.empty()) {
      std::shared_ptr<Node> node = std::move(pending.back());
      pending.pop_back();
      if (node && node.use_count() == 1)
        for (auto& input : node->inputs) pending.push_back(std::move(input));
    }
  }
};

}  // namespace detail

using detail::Node;

Var::Var(Tensor value, bool requires_grad) : value_(std::move(value)) {
  if (!requires_grad) return;
  node_ = std::make_shared<Node>();
  node_->shape = value_.shape();
  node_->dtype = value_.dtype();
}

const Tensor& Var::data() const {
  if (!defined()) throw ValueError("var", "data of an undefined Var; must be defined");
  return value_;
}

bool Var::requires_grad() const { return node_ != nullptr; }

const Tensor& Var::grad() const {
  static const Tensor kNone;
  return node_ ? node_->grad : kNone;
}

void Var::set_grad(Tensor grad) const {
  if (!node_) throw ValueError("set_grad", "a Var without requires_grad; must be a leaf that requires a gradient");
  if (grad.defined() && !(grad.shape() == shape()))
    throw ShapeError("set_grad", describe(grad) + " for " + describe(data()) + "; shapes must agree");
  node_->grad = std::move(grad);
}

void Var::clear_grad() const {
  if (node_) node_->grad = Tensor();
}

Var Var::detach() const { return node_ ? Var(value_) : *this; }

namespace {
bool is_wider(const Tensor& gradient, DType dtype) { return dtype == DType::bf16 && gradient.dtype() == DType::f32; }
}  // namespace

bool Grads::wants(std::size_t input) const { return node_.inputs.at(input) != nullptr; }

void Grads::add(std::size_t input, const std::function<Tensor()>& gradient) {
  if (wants(input)) add(input, gradient());
}

void Grads::add(std::size_t input, Tensor gradient) {
  if (!wants(input)) return;
  Node& target = *node_.inputs[input];
  if (!(gradient.shape() == target.shape))
    throw ShapeError(node_.op, "gradient " + describe(gradient) + " for input " + std::to_string(input) + " of shape " +
                                   to_string(target.shape) + "; shapes must agree");
  if (target.grad.defined()) {  // wide from one use, rounded from another: the sum is wide
    if (is_wider(gradient, target.grad.dtype())) target.grad = cast(target.grad, gradient.dtype());
    if (is_wider(target.grad, gradient.dtype())) gradient = cast(gradient, target.grad.dtype());
  }
  if (!target.grad.defined())
    target.grad = std::move(gradient);
  else
    accumulate(target.grad, gradient);
}

Var record(const char* op, Tensor value, std::vector<Var> inputs, Vjp vjp, GradientDtype takes) {
  Var out(std::move(value));
  bool any = false;
  for (const Var& input : inputs) any = any || input.requires_grad();
  if (!any) return out;
  out.node_ = std::make_shared<Node>();
  Node& node = *out.node_;
  node.op = op;
  node.shape = out.value_.shape();
  node.dtype = out.value_.dtype();
  node.takes = takes;
  node.is_leaf = false;
  node.vjp = std::move(vjp);
  for (const Var& input : inputs) node.inputs.push_back(input.node_);
  return out;
}

namespace {

// Inputs before outputs, each node once; children in order, so the order never depends on addresses.
std::vector<std::shared_ptr<Node>> topological_order(const std::shared_ptr<Node>& root) {
  std::vector<std::shared_ptr<Node>> order;
  std::unordered_set<const Node*> seen{root.get()};
  std::vector<std::pair<std::shared_ptr<Node>, std::size_t>> stack{{root, 0}};
  while (!stack.empty()) {
    auto& [node, next] = stack.back();
    if (next == node->inputs.size()) {
      order.push_back(node);
      stack.pop_back();
      continue;
    }
    const std::shared_ptr<Node> input = node->inputs[next++];
    if (input && seen.insert(input.get()).second) stack.emplace_back(input, 0);
  }
  return order;
}

}  // namespace

void backward(const Var& root, const Tensor& seed) {
  if (!root.requires_grad())
    throw ValueError("backward", "a root that depends on no leaf with requires_grad; must depend on one");
  if (!root.node_->is_leaf && !root.node_->vjp)
    throw ValueError("backward", "a tape that an earlier backward() consumed; run the forward pass again");
  if (!seed.defined() && root.data().numel() != 1)
    throw ShapeError("backward", describe(root.data()) + " as root without a seed; must be a scalar");
  if (seed.defined() && !(seed.shape() == root.shape()))
    throw ShapeError("backward", describe(seed) + " as seed of " + describe(root.data()) + "; shapes must agree");

  std::vector<std::shared_ptr<Node>> order = topological_order(root.node_);
  const Tensor start =
      seed.defined() ? seed : Tensor::full(root.shape(), 1.0, root.data().dtype(), root.data().device());
  if (root.node_->is_leaf && root.node_->grad.defined())
    accumulate(root.node_->grad, start);
  else
    root.node_->grad = start;

  while (!order.empty()) {
    const std::shared_ptr<Node> node = std::move(order.back());
    order.pop_back();
    if (node->is_leaf) continue;
    if (!node->vjp)
      throw ValueError("backward", "a tape that an earlier backward() consumed; run the forward pass again");
    Tensor doutput = std::move(node->grad);
    node->grad = Tensor();
    if (doutput.defined()) {
      if (node->takes == GradientDtype::of_value && is_wider(doutput, node->dtype))
        doutput = cast(doutput, node->dtype);
      const OpScope scope(node->op);
      Grads grads(*node);
      node->vjp(doutput, grads);
    }
    // Saved activations go as soon as their gradient is done: peak memory falls as backward proceeds.
    node->vjp = nullptr;
    node->inputs.clear();
  }
}

}  // namespace lacuna
