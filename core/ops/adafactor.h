// Adafactor's update of one parameter in place, dense or over a pattern.
#pragma once

#include "core/ops/update.h"
#include "core/topology.h"

namespace lacuna {

struct AdafactorStep {
  double step_size = 0;        ///< rho_t: what relative_step or the learning rate gives for this step
  double beta1 = 0;            ///< decay of m
  double beta2 = 0;            ///< of this step, 1 - t^-0.8
  double eps1 = 1e-30;         ///< added to the squared gradient
  double eps2 = 1e-3;          ///< least RMS of the values that scales the step
  double clip_threshold = 1;   ///< largest RMS of an update; 0 = no clipping
  double weight_decay = 0;     ///< decoupled, times the whole step size
  bool scale_by_value = true;  ///< times max(eps2, RMS of the stored values)
};

/// State of one parameter of shape [rows, cols]. Factored: row_means [rows] and col_means [cols], v undefined; otherwise v
/// alone, laid out as the value. Zero means never seen. m, laid out as the value, is undefined without a first moment.
struct AdafactorState {
  Tensor row_means, col_means, v, m;
};

/// Shazeer and Stern, Adafactor, 2018, algorithms 4 to 6; kernels/adafactor/adafactor.h has the estimate on a pattern. value
/// and state are overwritten.
///   value, grad  [rows, cols], or [nnz] over `topology`; unfactored: any shape, and the topology is not looked at
/// Throws ShapeError unless counts, dtypes and devices fit.
void adafactor_update(const Tensor& value, const Tensor& grad, const TopologyPtr& topology, const AdafactorState& state,
                      const AdafactorStep& step, const UpdateGuard& guard);

}  // namespace lacuna
