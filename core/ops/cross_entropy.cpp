#include "core/ops/cross_entropy.h"

#include <limits>
#include <utility>

#include "core/ops/checks.h"
#include "core/visit.h"
#include "kernels/cross_entropy/cross_entropy.h"
#include "kernels/cross_entropy/loss_gradient.h"
#include "kernels/embedding/embedding.h"

namespace lacuna {
namespace {

void check_targets(const char* op, const Tensor& logits, const Tensor& targets) {
  require_rank(op, "logits", logits, 2);
  require_rank(op, "targets", targets, 1);
  require_dtype(op, "targets", targets, DType::i32);
  require_same_device(op, "logits", logits, "targets", targets);
  if (logits.dim(1) != targets.dim(0)) {
    throw ShapeError(op, describe_pair("logits", logits, "targets", targets) + "; there must be one target per column");
  }
  if (!targets.device().is_cpu()) return;  // reading the targets would make the host wait for the device
  const std::int32_t* data = targets.data<std::int32_t>();
  const std::int64_t bad = kernels::find_out_of_range(CpuStream{}, data, targets.numel(),
                                                      std::numeric_limits<std::int32_t>::min(), logits.dim(0));
  if (bad >= 0) {
    throw IndexError(op, "target " + std::to_string(data[bad]) + " at position " + std::to_string(bad) +
                             "; targets must be less than " + std::to_string(logits.dim(0)) + " (negative: ignored)");
  }
}

template <class T, class Element = const T>
Dense<Element> view(const Tensor& t) {
  return {t.data<T>(), t.dim(0), t.dim(1), t.dim(1)};
}

struct Forward {
  Tensor loss;         // scalar
  Tensor log_sum_exp;  // [n]
  Tensor count;        // scalar
};

void check_loss(const Tensor& logits, const Tensor& targets, double label_smoothing) {
  check_targets("cross_entropy", logits, targets);
  if (!(label_smoothing >= 0 && label_smoothing < 1)) {
    throw ValueError("cross_entropy",
                     "label_smoothing is " + std::to_string(label_smoothing) + "; it must be in [0, 1)");
  }
}

Forward forward(const Tensor& logits, const Tensor& targets, double label_smoothing) {
  const OpScope scope("cross_entropy");
  check_loss(logits, targets, label_smoothing);
  const auto make = [&](const Shape& shape) { return Tensor::empty(shape, logits.dtype(), logits.device()); };
  const Forward result{make({}), make({logits.dim(1)}), make({})};
  const Tensor scratch = make({logits.dim(1)});
  visit_float("cross_entropy", logits, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::cross_entropy<T>(stream, view<T>(logits), targets.data<std::int32_t>(), label_smoothing,
                              result.loss.data<T>(), {result.log_sum_exp.data<T>(), result.count.data<T>()},
                              scratch.data<T>());
  });
  return result;
}

Tensor gradient(const Tensor& logits, const Tensor& targets, double label_smoothing, const Forward& saved,
                const Tensor& dloss) {
  const OpScope scope("cross_entropy_gradient");
  const Tensor dlogits = reuse_or_empty(logits);  // over the logits, where the tape alone holds them
  visit_float("cross_entropy_gradient", logits, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::cross_entropy_gradient<T>(stream, view<T>(logits), targets.data<std::int32_t>(), label_smoothing,
                                       dloss.data<T>(), {saved.log_sum_exp.data<T>(), saved.count.data<T>()},
                                       view<T, T>(dlogits));
  });
  return dlogits;
}

/// The loss; dlogits, which may be logits, becomes its gradient.
Tensor loss_and_gradient(const Tensor& logits, const Tensor& targets, double label_smoothing, const Tensor& dlogits) {
  const Tensor loss = Tensor::empty({}, logits.dtype(), logits.device());
  const Tensor scratch = scratch_for("cross_entropy", logits, [&](auto stream, auto zero) {
    return kernels::loss_gradient_scratch_bytes<decltype(zero)>(stream, logits.dim(1));
  });
  visit_float("cross_entropy", logits, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::loss_gradient<T>(stream,
                              {.logits = view<T>(logits),
                               .targets = targets.data<std::int32_t>(),
                               .label_smoothing = label_smoothing,
                               .loss = loss.data<T>(),
                               .dlogits = view<T, T>(dlogits)},
                              scratch.raw());
  });
  return loss;
}

Var fused(Var logits, const Tensor& targets, double label_smoothing) {
  const OpScope scope("cross_entropy");
  check_loss(logits.data(), targets, label_smoothing);
  const Tensor dlogits = logits.data().is_unique() ? logits.data() : Tensor::empty_like(logits.data());
  const Tensor loss = loss_and_gradient(logits.data(), targets, label_smoothing, dlogits);
  return record("cross_entropy", loss, {std::move(logits)}, [dlogits](const Tensor& dloss, Grads& grads) {
    visit_float("cross_entropy_gradient", dlogits, [&](auto stream, auto zero) {
      using T = decltype(zero);
      kernels::scale_by<T>(stream, dloss.data<T>(), dlogits.data<T>(), dlogits.numel());
    });
    grads.add(0, dlogits);
  });
}

}  // namespace

Tensor cross_entropy(const Tensor& logits, const Tensor& targets, double label_smoothing) {
  return forward(logits, targets, label_smoothing).loss;
}

Var cross_entropy(Var logits, const Tensor& targets, double label_smoothing) {
  const bool fits = logits.data().rank() == 2 && logits.data().dim(0) <= kernels::kMostFusedClasses;
  if (logits.requires_grad() && fits) return fused(std::move(logits), targets, label_smoothing);
  Forward saved = forward(logits.data(), targets, label_smoothing);
  const Tensor loss = saved.loss;
  saved.loss = Tensor();
  return record("cross_entropy", loss, {logits},
                [logits = logits.data(), targets, label_smoothing, saved](const Tensor& dloss, Grads& grads) mutable {
    grads.add(0, [&] { return gradient(logits, targets, label_smoothing, saved, dloss); });
    logits = Tensor();
  });
}

Tensor count_correct(const Tensor& logits, const Tensor& targets) {
  const OpScope scope("count_correct");
  check_targets("count_correct", logits, targets);
  const Tensor correct = Tensor::empty({}, DType::f32, logits.device());
  const Tensor scratch = Tensor::empty({logits.dim(1)}, DType::f32, logits.device());
  visit_float("count_correct", logits, [&](auto stream, auto zero) {
    using T = decltype(zero);
    kernels::count_correct<T>(stream, view<T>(logits), targets.data<std::int32_t>(), correct.data<float>(),
                              scratch.data<float>());
  });
  return correct;
}

}  // namespace lacuna
