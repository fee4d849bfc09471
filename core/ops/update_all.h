// Updates of all parameters in one launch (core/ops/update.h has them one by one), by numbers that lie on the device.
#pragma once

#include <vector>

#include "core/ops/update.h"

namespace lacuna {

/// One parameter of an update, all [n] alike.
struct UpdateItem {
  Tensor value;         ///< overwritten; of ema_update_all the moving average
  Tensor grad;          ///< of ema_update_all the value it follows
  Tensor first;         ///< SGD: the momentum, undefined without; Adam: m. Overwritten
  Tensor second;        ///< Adam: v. Overwritten
  bool decays = false;  ///< the step's weight decay is for this one
  bool fresh = false;   ///< SGD: the momentum is new, as SgdStep::first
};

/// Memory for a step's numbers: learning rate, bias corrections, decay. u8, uninitialised.
Tensor update_rules(Device device);
/// Writes them, for parameters of `dtype`, without waiting; SgdStep::first is not among them. Throws DtypeError.
void store_rules(const Tensor& rules, DType dtype, const SgdStep& step);
void store_rules(const Tensor& rules, DType dtype, const AdamStep& step);

/// As sgd_update, adam_update and ema_update for each item, with equal bits on the CPU. Items share device and dtype.
/// Throws ShapeError, DtypeError.
void sgd_update_all(const std::vector<UpdateItem>& items, const Tensor& rules, const UpdateGuard& guard);
void adam_update_all(const std::vector<UpdateItem>& items, const Tensor& rules, const UpdateGuard& guard);
void ema_update_all(const std::vector<UpdateItem>& items, double decay, const UpdateGuard& guard);

/// Copies target's bytes (at most 256) from `host` without waiting for the device; `host` may go at once.
void store(const Tensor& target, const void* host);

}  // namespace lacuna
