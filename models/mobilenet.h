// MobileNetV1 (Howard et al., MobileNets, 2017, table 1), channels first (CNHW).
#pragma once

#include "layers/conv.h"
#include "layers/dropout.h"
#include "layers/linear.h"
#include "layers/module_list.h"
#include "layers/norm.h"
#include "models/mobilenet_config.h"

namespace lacuna {

/// Depthwise 3x3, batch norm, ReLU, pointwise, batch norm, ReLU.
///   x  [in, batch * h * w]      returns [out, batch * ho * wo]
class MobilenetBlock : public Module {
 public:
  struct Options {
    std::int64_t in_channels = 0;
    std::int64_t out_channels = 0;
    MapSize input;
    int stride = 1;
    bool prunable = true;  ///< of the pointwise weight
  };
  MobilenetBlock(const Options& options, Init init);
  Var forward(const Var& x, ForwardContext& context) override;
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override;
  MapSize output() const { return depthwise_.output(); }

 protected:
  void on_prepare_for_inference() override;

 private:
  DepthwiseConv& depthwise_;
  BatchNorm& depthwise_norm_;
  PointwiseConv& pointwise_;
  BatchNorm& pointwise_norm_;
};

/// 3x3 stem, 13 blocks, global average pooling, classifier.
///   x  [3, batch * size * size]      returns logits [classes, batch]
/// Parameters: stem.weight, stem_norm, blocks.<0..12>.{depthwise, depthwise_norm, pointwise, pointwise_norm},
/// classifier.{weight, bias}. Buffers: the norms' running statistics.
/// Prunable: the pointwise weights of blocks 1 to 12. Stem, depthwise, first pointwise and classifier stay dense, as in
/// Gale et al. (SC 2020): they hold few of the numbers and lose the most when cut.
/// Initial weights much as in torchvision's MobileNets: convolutions He normal over fan-out (depthwise ones over their
/// own fan of 9), norms 1 and 0, the classifier with deviation 0.01.
class Mobilenet : public Module {
 public:
  /// Throws ValueError on a width, size, class count or strides that make no network; channels is 3 for colour images.
  Mobilenet(const MobilenetConfig& config, std::int64_t channels, Init init);
  Var forward(const Var& x, ForwardContext& context) override;
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override;

 protected:
  void on_prepare_for_inference() override;

 private:
  double dropout_;
  bool recompute_;
  MapSize last_map_;
  Conv2d* stem_ = nullptr;
  BatchNorm* stem_norm_ = nullptr;
  ModuleList<MobilenetBlock>* blocks_ = nullptr;
  Linear* classifier_ = nullptr;
};

/// Strides of the 13 blocks: the config's own, or its stem's. Throws ValueError for another number of them.
std::vector<int> block_strides(const MobilenetConfig& config);

/// channels * width to the nearest multiple of 8, at least 8, never below 90 % of the exact product (as torchvision).
std::int64_t scaled_channels(std::int64_t channels, double width);

}  // namespace lacuna
