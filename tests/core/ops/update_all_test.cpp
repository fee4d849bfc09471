// Updates in one launch against the same updates one by one: equal bits on the CPU, in every dtype, with all there is to vary.
#include "core/ops/update_all.h"

#include <gtest/gtest.h>

#include <cmath>

#include "core/errors.h"
#include "core/random.h"

namespace lacuna {
namespace {

using Vector = std::vector<double>;

Vector values_of(const Tensor& t) { return t.to(kCpu).to(DType::f64).to_vector<double>(); }

/// Parameters of many sizes (none, one, a chunk and its neighbours), more of them than one launch's table takes, some not
/// aligned for vector loads.
struct Parameters {
  Parameters(DType dtype, Device device) {
    const std::int64_t special[] = {0, 1, 3, 4095, 4096, 4097, 20000, 255, 257};
    for (std::uint64_t i = 0; i < 120; ++i) {
      const std::int64_t n = i < std::size(special) ? special[i] : 1 + static_cast<std::int64_t>(i * 37 % 300);
      const auto make = [&](std::uint64_t which, double low) {
        const Tensor t = random_uniform({n + 1}, low, 1, {i, which}, dtype, device);
        return i % 3 == 0 ? t.slice(1, n + 1) : t.slice(0, n).clone();
      };
      items.push_back({make(0, -1), make(1, -1), make(2, -1), make(3, 0), i % 2 == 0, i % 5 == 0});
    }
  }
  std::vector<UpdateItem> items;
};

void expect_same(const std::vector<UpdateItem>& a, const std::vector<UpdateItem>& b, double tolerance) {
  ASSERT_EQ(a.size(), b.size());
  for (std::size_t i = 0; i < a.size(); ++i)
    for (const auto member : {&UpdateItem::value, &UpdateItem::grad, &UpdateItem::first, &UpdateItem::second}) {
      if (!(a[i].*member).defined()) continue;
      const Vector x = values_of(a[i].*member), y = values_of(b[i].*member);
      ASSERT_EQ(x.size(), y.size());
      for (std::size_t k = 0; k < x.size(); ++k)
        ASSERT_LE(std::abs(x[k] - y[k]), tolerance * std::max(1.0, std::abs(y[k])))
            << "item " << i << ", element " << k;
    }
}

struct Place {
  Device device;
  DType dtype;
  double tolerance;  // CUDA: the compiler may fuse a multiplication and an addition in one kernel and not in the other
};

std::vector<Place> places() {
  std::vector<Place> all{{kCpu, DType::f32, 0}, {kCpu, DType::f64, 0}};
  if (devices().size() > 1) all.push_back({devices()[1], DType::f32, 1e-6});
  return all;
}

UpdateGuard guard_of(Device device, double scale, double skip) {
  return {Tensor::full({}, scale, DType::f32, device), Tensor::full({}, skip, DType::i32, device)};
}

TEST(UpdateAll, SgdIsSgdOneByOne) {
  for (const Place& place : places())
    for (const bool with_momentum : {true, false})
      for (const bool nesterov : {true, false}) {
        Parameters all(place.dtype, place.device), single(place.dtype, place.device);
        const UpdateGuard guard = guard_of(place.device, 0.37, 0);
        const Tensor rules = update_rules(place.device);
        for (int t = 0; t < 2; ++t) {
          SgdStep step{0.1 / (t + 1), with_momentum ? 0.9 : 0.0, nesterov ? 0.0 : 0.25, 0.03, nesterov, false};
          store_rules(rules, place.dtype, step);
          for (UpdateItem& item : all.items)
            if (!with_momentum) item.first = Tensor();
          sgd_update_all(all.items, rules, guard);
          for (const UpdateItem& item : single.items) {
            SgdStep own = step;
            own.first = item.fresh;
            own.weight_decay = item.decays ? step.weight_decay : 0;
            sgd_update(item.value, item.grad, with_momentum ? item.first : Tensor(), own, guard);
          }
        }
        expect_same(all.items, single.items, place.tolerance);
      }
}

TEST(UpdateAll, AdamIsAdamOneByOne) {
  for (const Place& place : places())
    for (const bool decoupled : {true, false}) {
      Parameters all(place.dtype, place.device), single(place.dtype, place.device);
      const UpdateGuard guard = guard_of(place.device, 1.5, 0);
      const Tensor rules = update_rules(place.device);
      for (std::int64_t t = 1; t <= 3; ++t) {
        const AdamStep step{0.01 * static_cast<double>(t), 0.9, 0.99, 1e-8, 0.2, decoupled, t};
        store_rules(rules, place.dtype, step);
        adam_update_all(all.items, rules, guard);
        for (const UpdateItem& item : single.items) {
          AdamStep own = step;
          own.weight_decay = item.decays ? step.weight_decay : 0;
          adam_update(item.value, item.grad, item.first, item.second, own, guard);
        }
      }
      expect_same(all.items, single.items, place.tolerance);
      const Parameters before(place.dtype, place.device);
      EXPECT_NE(values_of(all.items[6].value), values_of(before.items[6].value));
    }
}

TEST(UpdateAll, EmaIsEmaOneByOne) {
  for (const Place& place : places()) {
    Parameters all(place.dtype, place.device), single(place.dtype, place.device);
    const UpdateGuard guard = guard_of(place.device, 99, 0);  // the scale is for gradients alone
    ema_update_all(all.items, 0.75, guard);
    for (const UpdateItem& item : single.items) ema_update(item.value, item.grad, 0.75, guard);
    expect_same(all.items, single.items, place.tolerance);
  }
}

TEST(UpdateAll, AFlagOnTheDeviceLeavesAllUntouched) {
  for (const Place& place : places()) {
    Parameters all(place.dtype, place.device);
    const Parameters before(place.dtype, place.device);
    const UpdateGuard guard = guard_of(place.device, 1, 1);
    const Tensor rules = update_rules(place.device);
    store_rules(rules, place.dtype, AdamStep{.lr = 0.1});
    adam_update_all(all.items, rules, guard);
    ema_update_all(all.items, 0.5, guard);
    store_rules(rules, place.dtype, SgdStep{.lr = 0.1, .momentum = 0.9});
    sgd_update_all(all.items, rules, guard);
    expect_same(all.items, before.items, 0);
  }
}

TEST(UpdateAll, CountsTheStepsBeforeTheFirstBadOne) {
  for (const Place& place : places()) {
    const auto scalar = [&](double v, DType dtype) { return Tensor::full({}, v, dtype, place.device); };
    const Tensor norm = scalar(0, place.dtype), factor = scalar(1, DType::f32), bad = scalar(0, DType::i32),
                 good = scalar(0, DType::i32);
    for (const double sum : {4.0, 9.0, double{INFINITY}, 1.0})
      clip_factor(scalar(sum, place.dtype), 1, norm, factor, bad, good);
    EXPECT_EQ(good.item(), 2);
    EXPECT_EQ(bad.item(), 1);
  }
}

TEST(UpdateAll, RefusesItemsThatDiffer) {
  const Tensor rules = update_rules(kCpu);
  store_rules(rules, DType::f32, AdamStep{});
  const auto f32 = [](std::int64_t n) { return Tensor::zeros({n}, DType::f32); };
  EXPECT_THROW(adam_update_all({{f32(3), f32(3), f32(3), f32(2)}}, rules, {}), ShapeError);
  EXPECT_THROW(adam_update_all({{f32(3), f32(3), f32(3), Tensor()}}, rules, {}), ShapeError);
  EXPECT_THROW(adam_update_all({{f32(3), Tensor::zeros({3}, DType::f64), f32(3), f32(3)}}, rules, {}), ShapeError);
  EXPECT_THROW(sgd_update_all({{f32(3), Tensor()}}, rules, {}), ShapeError);
  EXPECT_THROW(ema_update_all({{f32(3), f32(3)}, {f32(3), f32(4)}}, 0.5, {}), ShapeError);
  EXPECT_THROW(ema_update_all({{f32(3), f32(3)}}, 0.5, {f32(2), {}}), ShapeError);
  EXPECT_THROW(store_rules(rules, DType::i32, SgdStep{}), DtypeError);
  EXPECT_THROW(store(f32(65), nullptr), ShapeError);
  adam_update_all({}, rules, {});  // nothing to do
}

}  // namespace
}  // namespace lacuna
