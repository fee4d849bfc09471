// Method: what a sparse training method does at the steps where its pattern changes. docs/adding_a_method.md walks one.
#pragma once

#include <memory>

#include "core/random.h"
#include "pruning/group.h"

namespace lacuna {

/// Keeps no state: what must outlive a step is in the parameters (pattern, values, slots), which checkpoints save, or a
/// function of (seed, step). So a resumed run equals the uninterrupted one by construction.
class Method {
 public:
  virtual ~Method() = default;
  /// Called before the forward pass of a step at which pruning_due holds.
  virtual void before_forward(PruningGroup& group, std::int64_t step, RandomStream& random) const = 0;
  /// Batches over which the targets' gradients are to be averaged before before_forward(step); 0 = it needs none.
  virtual std::int64_t score_batches(const PruningGroup&) const { return 0; }
  /// Whether at such a step gradient pairs are recorded and after_backward called, in place of the optimizer's update.
  virtual bool grows_by_gradient(const PruningGroup&, std::int64_t /*step*/) const { return false; }
  virtual void after_backward(PruningGroup&, std::int64_t /*step*/) const {}
};

/// The method of that name, null for "none". Throws ConfigKeyError for a name it does not know.
std::unique_ptr<Method> make_method(const std::string& name);

// One file each in pruning/methods/.
std::unique_ptr<Method> make_static();
std::unique_ptr<Method> make_magnitude();
std::unique_ptr<Method> make_random();
std::unique_ptr<Method> make_one_shot();
std::unique_ptr<Method> make_set();
std::unique_ptr<Method> make_rigl();
std::unique_ptr<Method> make_snip();
std::unique_ptr<Method> make_acdc();

}  // namespace lacuna
