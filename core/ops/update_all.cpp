#include "core/ops/update_all.h"

#include <array>

#include "core/errors.h"
#include "core/visit.h"
#include "kernels/optim/update_all.h"
#include "kernels/store/store.h"

namespace lacuna {
namespace {

template <class T>
using RulePair = std::array<kernels::AdamRule<T>, 2>;
constexpr std::int64_t kRuleBytes = sizeof(RulePair<double>);  // the largest
static_assert(sizeof(std::array<kernels::SgdRule<double>, 2>) <= kRuleBytes && kRuleBytes <= kernels::kMostStored);

template <class T>
T* optional(const Tensor& t) {
  return t.defined() ? t.data<T>() : nullptr;
}

void check(const char* op, const std::vector<UpdateItem>& items, int num_slots, const UpdateGuard& guard) {
  const Tensor& like = items.front().value;
  for (const Tensor* t : {&guard.scale, &guard.skip})
    if (t->defined() && (t->numel() != 1 || !(t->device() == like.device())))
      throw ShapeError(op, "guard is " + describe(*t) + "; must be a scalar on " + to_string(like.device()));
  for (const UpdateItem& item : items) {
    const Tensor* slots[] = {&item.grad, &item.first, &item.second};
    for (int i = 0; i < 3; ++i) {
      const Tensor& t = *slots[i];
      if (!t.defined() && i > 0 && i > num_slots) continue;
      if (!t.defined() || t.numel() != item.value.numel() || t.dtype() != like.dtype() ||
          item.value.dtype() != like.dtype() || !(t.device() == like.device()) ||
          !(item.value.device() == like.device()))
        throw ShapeError(op, "an item of " + describe(item.value) + " with " +
                                 (t.defined() ? describe(t) : std::string("nothing")) + " beside " + describe(like) +
                                 "; count, dtype and device must agree");
    }
  }
}

/// f(stream, spans, guard) for the items' arrays.
template <class F>
void visit_items(const char* op, const std::vector<UpdateItem>& items, const UpdateGuard& guard, F&& f) {
  visit_float(op, items.front().value, [&](auto stream, auto zero) {
    using T = decltype(zero);
    std::vector<kernels::UpdateSpan<T>> spans;
    for (const UpdateItem& item : items)
      spans.push_back({item.value.data<T>(), item.grad.data<T>(), optional<T>(item.first), optional<T>(item.second),
                       item.value.numel(), item.decays, item.fresh});
    f(stream, spans, kernels::UpdateGuard<T>{optional<float>(guard.scale), optional<std::int32_t>(guard.skip)});
  });
}

/// The same rules for both floats; device and host agree on their layout.
template <class F>
void store_pair(const char* op, const Tensor& rules, DType dtype, F&& make) {
  if (dtype != DType::f32 && dtype != DType::f64)
    throw DtypeError(op, std::string(to_string(dtype)) + "; must be f32 or f64");
  const auto write = [&](auto zero) {
    const std::array pair{make(zero, false), make(zero, true)};
    store(rules.slice(0, sizeof(pair)), pair.data());
  };
  if (dtype == DType::f32)
    write(float{});
  else
    write(double{});
}

template <class Rule>
const Rule* rules_in(const Tensor& rules) {
  return static_cast<const Rule*>(rules.raw());
}

}  // namespace

void store(const Tensor& target, const void* host) {
  if (target.nbytes() > kernels::kMostStored)
    throw ShapeError("store",
                     describe(target) + "; must have at most " + std::to_string(kernels::kMostStored) + " bytes");
  visit_device("store", target.device(),
               [&](auto stream) { kernels::store(stream, host, target.nbytes(), target.raw()); });
}

Tensor update_rules(Device device) { return Tensor::empty({kRuleBytes}, DType::u8, device); }

void store_rules(const Tensor& rules, DType dtype, const SgdStep& s) {
  store_pair("sgd_update", rules, dtype, [&]<class T>(T, bool decays) {
    return kernels::SgdRule<T>(s.lr, s.momentum, s.dampening, decays ? s.weight_decay : 0, s.nesterov, false);
  });
}

void store_rules(const Tensor& rules, DType dtype, const AdamStep& s) {
  store_pair("adam_update", rules, dtype, [&]<class T>(T, bool decays) {
    return kernels::AdamRule<T>(s.lr, s.beta1, s.beta2, s.eps, decays ? s.weight_decay : 0, s.decoupled, s.step);
  });
}

void sgd_update_all(const std::vector<UpdateItem>& items, const Tensor& rules, const UpdateGuard& guard) {
  const OpScope scope("sgd_update");
  if (items.empty()) return;
  check("sgd_update", items, 0, guard);
  visit_items("sgd_update", items, guard, [&](auto stream, const auto& spans, const auto& view) {
    using T = std::remove_pointer_t<decltype(spans[0].value)>;
    kernels::sgd_update_all<T>(stream, spans.data(), static_cast<std::int64_t>(spans.size()),
                               rules_in<kernels::SgdRule<T>>(rules), view);
  });
}

void adam_update_all(const std::vector<UpdateItem>& items, const Tensor& rules, const UpdateGuard& guard) {
  const OpScope scope("adam_update");
  if (items.empty()) return;
  check("adam_update", items, 2, guard);
  visit_items("adam_update", items, guard, [&](auto stream, const auto& spans, const auto& view) {
    using T = std::remove_pointer_t<decltype(spans[0].value)>;
    kernels::adam_update_all<T>(stream, spans.data(), static_cast<std::int64_t>(spans.size()),
                                rules_in<kernels::AdamRule<T>>(rules), view);
  });
}

void ema_update_all(const std::vector<UpdateItem>& items, double decay, const UpdateGuard& guard) {
  const OpScope scope("ema_update");
  if (items.empty()) return;
  check("ema_update", items, 0, guard);
  visit_items("ema_update", items, guard, [&](auto stream, const auto& spans, const auto& view) {
    using T = std::remove_pointer_t<decltype(spans[0].value)>;
    kernels::ema_update_all<T>(stream, spans.data(), static_cast<std::int64_t>(spans.size()), decay, view);
  });
}

}  // namespace lacuna
