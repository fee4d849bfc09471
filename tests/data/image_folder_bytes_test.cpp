#include "data/image_folder_bytes.h"

#include "data/data_config.h"
#include "tests/data/fixtures.h"

namespace lacuna::test {
namespace {

/// Pixel (x, y) of picture i is (10 x + i, 20 y, 3 i).
RgbImage picture(int side, int i) {
  RgbImage image{side, side, {}};
  for (int y = 0; y < side; ++y)
    for (int x = 0; x < side; ++x)
      for (const int v : {10 * x + i, 20 * y, 3 * i}) image.pixels.push_back(static_cast<std::uint8_t>(v));
  return image;
}

class FolderBytes : public ::testing::Test {
 protected:
  FolderBytes() {
    for (int i = 0; i < 4; ++i)
      write_file(dir_ / ("train/" + std::to_string(i % 2) + "/" + std::to_string(i) + ".png"),
                 encode_png(picture(8, i)));
    write_file(dir_ / "val/0/0.png", encode_png(picture(8, 9)));
  }
  TempDir dir_;
};

TEST_F(FolderBytes, AreThePixelsInRasterOrder) {
  const ImageFolderBytes bytes(dir_ / "train", {.image_size = 8});
  EXPECT_EQ(bytes.kind(), DatasetKind::tokens);
  EXPECT_EQ(bytes.num_examples(), 4);
  EXPECT_EQ(bytes.num_classes(), 256);
  ASSERT_EQ(bytes.sequence_length(), 192);
  const Batch batch = bytes.batch(iota(4), {});
  const auto inputs = batch.inputs.to_vector<std::int32_t>(), targets = batch.targets.to_vector<std::int32_t>();
  ASSERT_EQ(targets.size(), 4u * 192);
  const int order[] = {0, 2, 1, 3};  // by class, then name
  for (std::size_t b = 0; b < 4; ++b) {
    const RgbImage image = picture(8, order[b]);
    for (std::size_t t = 0; t < 192; ++t) {
      ASSERT_EQ(targets[b * 192 + t], image.pixels[t]) << b << " " << t;
      ASSERT_EQ(inputs[b * 192 + t], t == 0 ? 0 : image.pixels[t - 1]) << b << " " << t;
    }
  }
}

TEST_F(FolderBytes, MirrorInTrainingAlone) {
  const ImageFolderBytes bytes(dir_ / "train", {.image_size = 8, .flip = true});
  const auto targets = [&](const AugmentKey& key) {
    return bytes.batch(iota(1), key).targets.to_vector<std::int32_t>();
  };
  const auto plain = targets({});
  int mirrored = 0;
  for (std::int64_t epoch = 0; epoch < 40; ++epoch) {
    EXPECT_EQ(targets({1, epoch, false}), plain);
    const auto seen = targets({1, epoch, true});
    EXPECT_EQ(seen, targets({1, epoch, true}));
    if (seen == plain) continue;
    ++mirrored;
    for (std::size_t x = 0; x < 8; ++x)
      for (std::size_t c = 0; c < 3; ++c) ASSERT_EQ(seen[x * 3 + c], plain[(7 - x) * 3 + c]);
  }
  EXPECT_GT(mirrored, 8);
  EXPECT_LT(mirrored, 32);
}

TEST_F(FolderBytes, ResizeToTheSquareThatIsAskedFor) {
  write_file(dir_ / "wide/a/x.png", encode_png(gradient_image(96, 32)));  // the middle third: red 85 to 170
  const ImageFolderBytes bytes(dir_ / "wide", {.image_size = 16});
  const auto targets = bytes.batch(iota(1), {}).targets.to_vector<std::int32_t>();
  ASSERT_EQ(targets.size(), 3u * 256);
  EXPECT_NEAR(targets[8 * 48], 87, 4);
  EXPECT_NEAR(targets[8 * 48 + 45], 167, 4);
  for (const std::int32_t t : targets) ASSERT_TRUE(t >= 0 && t <= 255);
}

TEST_F(FolderBytes, OpenAsAConfigSays) {
  DataConfig config{.type = "image_folder_bytes", .path = dir_.path(), .image_size = 8};
  const DataSplits splits = open_data(config);
  EXPECT_EQ(splits.train->num_examples(), 4);
  EXPECT_EQ(splits.valid->num_examples(), 1);
  EXPECT_EQ(splits.test, nullptr);
  EXPECT_EQ(splits.train->sequence_length(), 192);
  config.image_size = 0;
  EXPECT_EQ(open_data(config).train->sequence_length(), 12288) << "ImageNet 64x64, as the paper has it";
  config.resize_size = 32;
  const std::string message = message_of<ConfigError>([&] { open_data(config); });
  EXPECT_NE(message.find("'resize_size' must be at least 'image_size' (64)"), std::string::npos) << message;
}

}  // namespace
}  // namespace lacuna::test
