// What a run may say about its optimizer. Defaults are PyTorch's, but for the learning rate.
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

using OptimizerConfig = std::variant<SgdConfig, AdamConfig, AdamWConfig>;

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

}  // namespace lacuna
