// What a config may say about MobileNetV1.
#pragma once

#include <vector>

#include "core/field.h"

namespace lacuna {

/// imagenet: stem of stride 2, blocks 1,2,1,2,1,2,1,1,1,1,1,2,1: 224 -> 112 -> 56 -> 28 -> 14 -> 7.
/// cifar: stem of stride 1, blocks 1,2,1,2,1,2,1,1,1,1,1,1,1: 32 -> 16 -> 8 -> 4.
enum class MobilenetStem : std::uint8_t { imagenet, cifar };
inline EnumNames<MobilenetStem> enum_names(MobilenetStem) {
  return {{"imagenet", MobilenetStem::imagenet}, {"cifar", MobilenetStem::cifar}};
}

struct MobilenetConfig {
  static constexpr const char* kType = "mobilenet_v1";
  double width = 1.0;
  MobilenetStem stem = MobilenetStem::imagenet;
  std::int64_t image_size = 0;
  std::int64_t num_classes = 0;
  std::vector<int> strides;
  double dropout = 0.0;
  bool recompute = false;
};
template <class V>
void describe(MobilenetConfig& c, V&& v) {
  v("width", c.width, "Multiplies every channel count, which is then rounded to a multiple of 8", positive(),
    range(0, 16));
  v("stem", c.stem, "First layer and strides: 'imagenet' for 224 x 224, 'cifar' for 32 x 32");
  v("image_size", c.image_size, "Height and width in pixels; 0 = as the data has them", non_negative());
  v("num_classes", c.num_classes, "Classes; 0 = as the data has them", non_negative());
  v("strides", c.strides, "Strides of the 13 blocks; empty = the stem's own", range(1, 2));
  v("dropout", c.dropout, "Before the classifier", fraction());
  v("recompute", c.recompute, "Keep each block's input alone for backward, and compute its activations again there");
}
inline void validate(const MobilenetConfig& c, const ReportProblem& problem) {
  if (!c.strides.empty() && c.strides.size() != 13) {
    problem("strides", "must be empty or 13 numbers, one per block, got " + std::to_string(c.strides.size()));
  }
}

}  // namespace lacuna
