#include "models/mobilenet.h"

#include <fmt/format.h>

#include <algorithm>
#include <array>
#include <cmath>

#include "core/errors.h"
#include "core/ops/pool.h"
#include "layers/multiply.h"
#include "layers/recompute.h"
#include "layers/shapes.h"

namespace lacuna {

namespace {

constexpr std::size_t kNumBlocks = 13;
constexpr std::int64_t kStemChannels = 32;
constexpr std::array<std::int64_t, kNumBlocks> kChannels{64,  128, 128, 256, 256,  512, 512,
                                                         512, 512, 512, 512, 1024, 1024};
constexpr std::array<int, kNumBlocks> kImagenetStrides{1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 2, 1};
constexpr std::array<int, kNumBlocks> kCifarStrides{1, 2, 1, 2, 1, 2, 1, 1, 1, 1, 1, 1, 1};

}  // namespace

std::vector<int> block_strides(const MobilenetConfig& config) {
  if (config.strides.empty()) {
    const auto& strides = config.stem == MobilenetStem::cifar ? kCifarStrides : kImagenetStrides;
    return {strides.begin(), strides.end()};
  }
  if (config.strides.size() != kNumBlocks) {
    throw ValueError("mobilenet_v1",
                     fmt::format("{} strides; must be {}, one per block", config.strides.size(), kNumBlocks));
  }
  return config.strides;
}

std::int64_t scaled_channels(std::int64_t channels, double width) {
  const double exact = static_cast<double>(channels) * width;
  const auto rounded = std::max<std::int64_t>(8, static_cast<std::int64_t>(exact + 4) / 8 * 8);
  return static_cast<double>(rounded) < 0.9 * exact ? rounded + 8 : rounded;
}

MobilenetBlock::MobilenetBlock(const Options& options, Init init)
    : depthwise_(add_child<DepthwiseConv>("depthwise", options.in_channels, options.input,
                                          ConvSpec{.kernel = 3, .stride = options.stride, .padding = 1}, init)),
      depthwise_norm_(
          add_child<BatchNorm>("depthwise_norm", options.in_channels, BatchNormOptions{.relu = true}, init)),
      pointwise_(add_child<PointwiseConv>("pointwise", options.in_channels, options.out_channels,
                                          PointwiseOptions{.prunable = options.prunable}, init)),
      pointwise_norm_(
          add_child<BatchNorm>("pointwise_norm", options.out_channels, BatchNormOptions{.relu = true}, init)) {}

Var MobilenetBlock::forward(const Var& x, ForwardContext& context) {
  const Var spatial = depthwise_norm_.forward(depthwise_.forward(x, context), context);
  return pointwise_norm_.forward(pointwise_.forward(spatial, context), context);
}

Shape MobilenetBlock::plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const {
  Shape y = depthwise_.plan(shape, join_path(prefix, "depthwise"), lines);
  y = depthwise_norm_.plan(y, join_path(prefix, "depthwise_norm"), lines);
  y = pointwise_.plan(y, join_path(prefix, "pointwise"), lines);
  return pointwise_norm_.plan(y, join_path(prefix, "pointwise_norm"), lines);
}

void MobilenetBlock::on_prepare_for_inference() {
  depthwise_.absorb(depthwise_norm_.dissolve());
  pointwise_.absorb(pointwise_norm_.dissolve());
}

Mobilenet::Mobilenet(const MobilenetConfig& config, std::int64_t channels, Init init)
    : dropout_(config.dropout), recompute_(config.recompute) {
  require_positive("mobilenet_v1", "channels", channels);
  require_positive("mobilenet_v1", "image_size", config.image_size);
  require_positive("mobilenet_v1", "num_classes", config.num_classes);
  require_dropout_rate("mobilenet_v1", config.dropout);
  if (!(config.width > 0 && std::isfinite(config.width))) {
    throw ValueError("mobilenet_v1", fmt::format("width is {}; must be positive", config.width));
  }
  const std::vector<int> strides = block_strides(config);
  const ConvSpec stem{.kernel = 3, .stride = config.stem == MobilenetStem::cifar ? 1 : 2, .padding = 1};
  std::int64_t width = scaled_channels(kStemChannels, config.width);
  stem_ = &add_child<Conv2d>("stem", channels, width, MapSize{config.image_size, config.image_size},
                             ConvOptions{.spec = stem}, init);
  stem_norm_ = &add_child<BatchNorm>("stem_norm", width, BatchNormOptions{.relu = true}, init);
  blocks_ = &add_child<ModuleList<MobilenetBlock>>("blocks");
  last_map_ = stem_->output();
  for (std::size_t i = 0; i < kNumBlocks; ++i) {
    const std::int64_t next = scaled_channels(kChannels[i], config.width);
    const MobilenetBlock::Options options{
        .in_channels = width, .out_channels = next, .input = last_map_, .stride = strides[i], .prunable = i > 0};
    last_map_ = blocks_->append(options, init).output();
    width = next;
  }
  classifier_ = &add_child<Linear>("classifier", width, config.num_classes,
                                   LinearOptions{.prunable = false, .deviation = 0.01}, init);
}

Var Mobilenet::forward(const Var& x, ForwardContext& context) {
  Var y = forward_blocks(*blocks_, recompute_, stem_norm_->forward(stem_->forward(x, context), context), context);
  const std::int64_t batch = y.shape()[1] / last_map_.pixels();
  y = global_avg_pool(y, ImageShape{batch, last_map_.height, last_map_.width});  // [channels, batch]
  return classifier_->forward(dropout(y, dropout_, context), context);
}

void Mobilenet::on_prepare_for_inference() { stem_->absorb(stem_norm_->dissolve()); }

Shape Mobilenet::plan(const Shape& shape, const std::string& prefix, std::vector<LayerPlan>& lines) const {
  Shape y = stem_->plan(shape, join_path(prefix, "stem"), lines);
  y = stem_norm_->plan(y, join_path(prefix, "stem_norm"), lines);
  y = plan_blocks(*blocks_, recompute_, y, join_path(prefix, "blocks"), lines);
  LayerPlan pool{.name = join_path(prefix, "pool"), .kind = "global_avg_pool"};
  y = Shape{y[0], y[1] / last_map_.pixels()};
  pool.activation_bytes = activation_bytes_of(y.numel());
  lines.push_back(pool);
  return classifier_->plan(y, join_path(prefix, "classifier"), lines);
}

}  // namespace lacuna
