// What a run may say about its optimizer. Defaults are PyTorch's, but for the learning rate; Adafactor's are its paper's.
#pragma once

#include <string>
#include <variant>
#include <vector>

#include "core/field.h"

namespace lacuna {

struct SgdConfig {
  static constexpr const char* kType = "sgd";
  double lr = 0.1;
  double momentum = 0.9;
  double dampening = 0.0;
  bool nesterov = false;
  double weight_decay = 0.0;
};

struct AdamConfig {
  static constexpr const char* kType = "adam";
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.0;  ///< added to the gradient
};

struct AdamWConfig {
  static constexpr const char* kType = "adamw";
  double lr = 1e-3;
  double beta1 = 0.9;
  double beta2 = 0.999;
  double eps = 1e-8;
  double weight_decay = 0.01;  ///< decoupled: multiplies the weight
};

/// Which weights' second moments Adafactor keeps as means of rows and columns instead of a number per weight.
enum class Factored : std::uint8_t { all, dense, none };
inline EnumNames<Factored> enum_names(Factored) {
  return {{"all", Factored::all}, {"dense", Factored::dense}, {"none", Factored::none}};
}

/// Shazeer and Stern, Adafactor, 2018; defaults are the paper's (algorithm 6).
struct AdafactorConfig {
  static constexpr const char* kType = "adafactor";
  double lr = 1e-2;
  bool relative_step = true;
  bool scale_by_value = true;
  double beta1 = 0.0;
  double decay_exponent = 0.8;
  double clip_threshold = 1.0;
  double eps1 = 1e-30;
  double eps2 = 1e-3;
  Factored factored = Factored::all;
  double weight_decay = 0.0;  ///< decoupled
};

using OptimizerConfig = std::variant<SgdConfig, AdamConfig, AdamWConfig, AdafactorConfig>;

template <class V>
void describe(SgdConfig& c, V&& v) {
  v("lr", c.lr, "Peak learning rate; the schedule multiplies it", positive());
  v("momentum", c.momentum, "Momentum coefficient; 0 keeps no state", range(0.0, 1.0));
  v("dampening", c.dampening, "Share of the gradient kept out of the momentum", range(0.0, 1.0));
  v("nesterov", c.nesterov, "Nesterov's form of momentum");
  v("weight_decay", c.weight_decay, "L2 penalty on weight matrices (never on biases, norms and embeddings)",
    non_negative());
}

template <class C, class V>
void describe_adam(C& c, V&& v) {
  v("lr", c.lr, "Peak learning rate; the schedule multiplies it", positive());
  v("beta1", c.beta1, "Decay of the gradient's running mean", range(0.0, 1.0));
  v("beta2", c.beta2, "Decay of the squared gradient's running mean", range(0.0, 1.0));
  v("eps", c.eps, "Added to the denominator", positive());
}

template <class V>
void describe(AdamConfig& c, V&& v) {
  describe_adam(c, v);
  v("weight_decay", c.weight_decay, "L2 penalty, added to the gradient of weight matrices", non_negative());
}

template <class V>
void describe(AdamWConfig& c, V&& v) {
  describe_adam(c, v);
  v("weight_decay", c.weight_decay, "Decoupled decay of weight matrices, times the learning rate", non_negative());
}

template <class V>
void describe(AdafactorConfig& c, V&& v) {
  v("lr", c.lr, "Largest relative step; the schedule multiplies what relative_step makes of it", positive());
  v("relative_step", c.relative_step, "Step sizes min(lr, 1 / sqrt(step)); false: lr alone");
  v("scale_by_value", c.scale_by_value, "Times max(eps2, root mean square of the weight's stored values)");
  v("beta1", c.beta1, "Decay of the updates' running mean; 0 keeps none", fraction());
  v("decay_exponent", c.decay_exponent, "The squared gradient's running mean decays by 1 - step^-this", positive(),
    range(0.0, 1.0));
  v("clip_threshold", c.clip_threshold, "Largest root mean square of an update before the step size; 0 = no clipping",
    non_negative());
  v("eps1", c.eps1, "Added to the squared gradient", range(1e-37, 1.0));
  v("eps2", c.eps2, "Least root mean square of the values that scales the step", positive());
  v("factored", c.factored,
    "Matrices whose squared gradients are kept as means of rows and columns: all, dense (a sparse weight keeps a number "
    "per nonzero) or none");
  v("weight_decay", c.weight_decay, "Decoupled decay of weight matrices, times the whole step size", non_negative());
}

}  // namespace lacuna
