// ModuleList: numbered children ("blocks.0", "blocks.1", ...), for a model that calls them itself or in turn.
#pragma once

#include "layers/module.h"
#include "layers/multiply.h"

namespace lacuna {

template <class M>
class ModuleList : public Module {
 public:
  template <class... Args>
  M& append(Args&&... args) {
    M& child = add_child<M>(std::to_string(items_.size()), std::forward<Args>(args)...);
    items_.push_back(&child);
    return child;
  }
  std::size_t size() const { return items_.size(); }
  M& operator[](std::size_t i) const { return *items_[i]; }

  /// One after another.
  Var forward(const Var& x, ForwardContext& context) override {
    Var y = x;
    for (M* item : items_) y = item->forward(y, context);
    return y;
  }
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override {
    Shape y = shape;
    for (std::size_t i = 0; i < items_.size(); ++i) y = items_[i]->plan(y, join_path(prefix, std::to_string(i)), lines);
    return y;
  }

 private:
  std::vector<M*> items_;
};

}  // namespace lacuna
