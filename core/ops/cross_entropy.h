// Softmax cross entropy, the loss of every model here, and the count behind its accuracy.
#pragma once

#include "core/var.h"

namespace lacuna {

/// Mean over targets t >= 0 of -log softmax(logits[:, j])[t], a scalar (torch's cross_entropy; e = label_smoothing
/// mixes the target with the uniform distribution). Targets < 0 are ignored; NaN when all of them are.
///   logits [classes, n]      targets i32 [n]
/// Throws ShapeError, DtypeError, DeviceError, ValueError (0 <= e < 1); on the CPU IndexError for a target >= classes.
/// On CUDA that check would make the host wait: there such a target makes the loss NaN.
/// Gradient: dlogits = dloss / count * (softmax - smoothed target), 0 in ignored columns; nothing is read by the host.
/// The Var form makes loss and gradient in one pass, up to 1024 classes, and takes the logits over: where nobody else
/// holds them, their gradient is written over them. It keeps the gradient alone. More classes: two passes, keeps the
/// logits. docs/kernels/fusion.md counts the bytes.
Tensor cross_entropy(const Tensor& logits, const Tensor& targets, double label_smoothing = 0);
Var cross_entropy(Var logits, const Tensor& targets, double label_smoothing = 0);

/// Number of targets >= 0 that are their column's largest logit (the first among equals): an f32 scalar on the device.
Tensor count_correct(const Tensor& logits, const Tensor& targets);

}  // namespace lacuna
