// Convolutions over CNHW images: ordinary, pointwise (1x1) and depthwise.
//
// An image tensor is [channels, batch * height * width]; column (b * height + y) * width + x. Height and width are
// fixed at construction; the batch follows from the columns.
#pragma once

#include "core/ops/conv.h"
#include "layers/fold.h"
#include "layers/initialize.h"
#include "layers/module.h"

namespace lacuna {

/// Extents of one image or map.
struct MapSize {
  std::int64_t height = 0;
  std::int64_t width = 0;
  std::int64_t pixels() const { return height * width; }
};

/// Extents after a convolution. Throws ShapeError when nothing is left.
MapSize conv_output(MapSize input, const ConvSpec& spec);

struct ConvOptions {
  ConvSpec spec;
  bool bias = false;  ///< a batch norm usually follows and has its own
  bool prunable = false;
};

/// Ordinary convolution: weight [out, in * kernel^2] times the unfolded image. Dense: pruning goes to PointwiseConv.
/// Parameters: weight (He normal over fan-out, as torchvision's MobileNets), bias [out] (0) on request.
///   x  [in, batch * h * w]      returns [out, batch * ho * wo]
class Conv2d : public Module {
 public:
  Conv2d(std::int64_t in_channels, std::int64_t out_channels, MapSize input, const ConvOptions& options, Init init);
  Var forward(const Var& x, ForwardContext& context) override;
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override;
  MapSize output() const { return conv_output(input_, spec_); }
  /// For inference: its outputs are from here on those that `map` would make of them. A bias comes where there was none.
  void absorb(const ChannelMap& map);

 private:
  std::int64_t batch(const Shape& shape) const;

  MapSize input_;
  ConvSpec spec_;
  std::int64_t in_channels_;
  Activation activation_ = Activation::none;  // of an absorbed norm
  Parameter* weight_ = nullptr;
  Parameter* bias_ = nullptr;
};

struct PointwiseOptions {
  bool bias = false;
  Activation activation = Activation::none;
  bool prunable = true;
};

/// 1x1 convolution: in CNHW one product, dense or sparse.
/// Parameters: weight [out, in] (He normal over fan-out), bias [out] (0) on request.
///   x  [in, columns]      returns [out, columns]
class PointwiseConv : public Module {
 public:
  PointwiseConv(std::int64_t in_channels, std::int64_t out_channels, const PointwiseOptions& options, Init init);
  Var forward(const Var& x, ForwardContext& context) override;
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override;
  Parameter& weight() { return *weight_; }
  /// As Conv2d's. Throws ValueError when an activation stands between.
  void absorb(const ChannelMap& map);

 private:
  Activation activation_;
  Parameter* weight_ = nullptr;
  Parameter* bias_ = nullptr;
};

/// One kernel per channel.
/// Parameters: weight [channels, kernel^2] (He normal over its fan, kernel^2; not prunable, and without decay: Howard
/// et al., MobileNets, section 3.2, found that decay hurts so few numbers).
///   x  [channels, batch * h * w]      returns [channels, batch * ho * wo]
class DepthwiseConv : public Module {
 public:
  DepthwiseConv(std::int64_t channels, MapSize input, const ConvSpec& spec, Init init);
  Var forward(const Var& x, ForwardContext& context) override;
  Shape plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const override;
  MapSize output() const { return conv_output(input_, spec_); }
  /// As Conv2d's.
  void absorb(const ChannelMap& map);

 private:
  std::int64_t batch(const Shape& shape) const;

  MapSize input_;
  ConvSpec spec_;
  Activation activation_ = Activation::none;  // of an absorbed norm
  Parameter* weight_ = nullptr;
  Parameter* bias_ = nullptr;  // of an absorbed norm
};

}  // namespace lacuna
