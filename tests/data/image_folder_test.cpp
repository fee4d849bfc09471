#include "data/image_folder.h"

#include <cmath>

#include "data/image_codec.h"
#include "data/resample.h"
#include "tests/data/fixtures.h"

namespace lacuna::test {
namespace {

const Normalisation kPlain{{0, 0, 0}, {1.0 / 255, 1.0 / 255, 1.0 / 255}};

double largest_difference(const RgbImage& a, const RgbImage& b) {
  double largest = 0;
  for (std::size_t i = 0; i < a.pixels.size(); ++i) {
    largest = std::max(largest, std::abs(static_cast<double>(a.pixels[i]) - b.pixels[i]));
  }
  return largest;
}

TEST(ImageCodec, PngRoundTripIsExact) {
  const RgbImage image = gradient_image(37, 23);
  for (const bool alpha : {false, true}) {
    const RgbImage decoded = decode_image(encode_png(image, false, alpha), "x.png");
    EXPECT_EQ(decoded.width, 37);
    EXPECT_EQ(decoded.height, 23);
    EXPECT_EQ(decoded.pixels, image.pixels);
  }
}

TEST(ImageCodec, JpegRoundTripIsClose) {
  const RgbImage image = gradient_image(64, 48);
  const RgbImage decoded = decode_image(encode_jpeg(image), "x.jpg");
  ASSERT_EQ(decoded.pixels.size(), image.pixels.size());
  EXPECT_LT(largest_difference(decoded, image), 12);
}

TEST(ImageCodec, GreyBecomesRgb) {
  RgbImage grey = gradient_image(32, 32);
  for (std::size_t i = 0; i < grey.pixels.size(); i += 3) grey.pixels[i + 1] = grey.pixels[i + 2] = grey.pixels[i];
  EXPECT_LT(largest_difference(decode_image(encode_jpeg(grey, JpegColour::grey), "x.jpg"), grey), 6);
  EXPECT_EQ(decode_image(encode_png(grey, true), "x.png").pixels, grey.pixels);
}

TEST(ImageCodec, CmykBecomesRgb) {
  const RgbImage image = gradient_image(32, 32);
  EXPECT_LT(largest_difference(decode_image(encode_jpeg(image, JpegColour::cmyk, 98), "x.jpg"), image), 8);
}

TEST(ImageCodec, DecodesJpegAtAFraction) {
  const ByteVector bytes = encode_jpeg(gradient_image(100, 60));
  std::int64_t seen_width = 0;
  const RgbImage image = decode_image(bytes, "x.jpg", [&](std::int64_t width, std::int64_t) {
    seen_width = width;
    return 4;
  });
  EXPECT_EQ(seen_width, 100);
  EXPECT_EQ(image.width, 25);
  EXPECT_EQ(image.height, 15);
  EXPECT_NEAR(image.pixels[12 * 3], 127, 8);
}

TEST(Resample, IdentityAtTheSameSize) {
  const RgbImage image = gradient_image(16, 16);
  std::vector<float> out(3 * 256, NAN);
  resample(image, {0, 0, 16, 16}, 16, false, pixel_affine(kPlain), out.data(), 256);
  for (std::size_t p = 0; p < 256; ++p) {
    for (std::size_t c = 0; c < 3; ++c) ASSERT_NEAR(out[c * 256 + p], image.pixels[p * 3 + c], 1e-3);
  }
}

TEST(Resample, KeepsALinearRampWhenItShrinksOrGrows) {
  const RgbImage image = gradient_image(256, 256, 77);
  for (const std::int64_t side : {8, 100, 400}) {
    for (const bool flip : {false, true}) {
      std::vector<float> out(static_cast<std::size_t>(3 * side * side), NAN);
      resample(image, {64, 32, 128, 128}, side, flip, pixel_affine(kPlain), out.data(), side * side);
      for (std::int64_t i = side / 8 + 1; i < side - side / 8 - 1; ++i) {  // the edges see less than the whole filter
        const double step = (static_cast<double>(i) + 0.5) * 128 / static_cast<double>(side) - 0.5;
        const std::int64_t x = flip ? side - 1 - i : i;
        ASSERT_NEAR(out[static_cast<std::size_t>(side / 2 * side + x)], 64 + step, 0.1);
        ASSERT_NEAR(out[static_cast<std::size_t>(side * side + i * side + side / 2)], 32 + step, 0.1);
        ASSERT_NEAR(out[static_cast<std::size_t>(2 * side * side + i * side + i)], 77, 1e-3);
      }
    }
  }
}

class Folder : public ::testing::Test {
 protected:
  Folder() {
    write_file(dir_ / "train/bee/2.png", encode_png(gradient_image(40, 30, 20)));
    write_file(dir_ / "train/bee/1.JPEG", encode_jpeg(gradient_image(30, 50, 10)));
    write_file(dir_ / "train/ant/x.jpg", encode_png(gradient_image(24, 24, 30)));  // a PNG that lies about it
    write_file(dir_ / "train/ant/.hidden.png", std::string("no image"));
    write_file(dir_ / "train/ant/notes.txt", std::string("no image"));
    write_file(dir_ / "train/cat/big.jpeg", encode_jpeg(gradient_image(300, 200, 200)));
  }
  TempDir dir_;
};

TEST_F(Folder, NumbersClassesAndFilesByName) {
  const ImageFolder folder(dir_ / "train", {.image_size = 16, .normalisation = kPlain});
  EXPECT_EQ(folder.classes(), (std::vector<std::string>{"ant", "bee", "cat"}));
  ASSERT_EQ(folder.num_examples(), 4);
  const Batch batch = folder.batch(iota(4), {});
  EXPECT_EQ(batch.targets.to_vector<std::int32_t>(), (std::vector<std::int32_t>{0, 1, 1, 2}));
  ASSERT_EQ(batch.inputs.shape(), Shape({3, 4 * 256}));
  const auto values = batch.inputs.to_vector<float>();
  const float blue[] = {30, 10, 20, 200};
  for (std::size_t b = 0; b < 4; ++b) {
    for (std::size_t p = 0; p < 256; ++p) ASSERT_NEAR(values[2 * 1024 + b * 256 + p], blue[b], 4);
  }
}

TEST_F(Folder, CentreCropIsCentred) {
  const ImageFolder folder(dir_ / "train", {.image_size = 16, .resize_size = 20, .normalisation = kPlain});
  const auto values = folder.batch(iota(4), {}).inputs.to_vector<float>();
  for (std::size_t b = 0; b < 4; ++b) {  // red and green run from dark to bright symmetrically about the middle
    for (std::size_t c = 0; c < 2; ++c) {
      double sum = 0;
      for (std::size_t p = 0; p < 256; ++p) sum += values[c * 1024 + b * 256 + p];
      EXPECT_NEAR(sum / 256, 127.5, 3) << b << " " << c;
    }
  }
}

TEST_F(Folder, RandomCropsAreAFunctionOfTheKeyAndVary) {
  const ImageFolder folder(dir_ / "train", {.image_size = 12});
  const Batch first = folder.batch(iota(4), {1, 0, true});
  EXPECT_TRUE(equal(first, folder.batch(iota(4), {1, 0, true})));
  EXPECT_FALSE(equal(first, folder.batch(iota(4), {1, 1, true})));
  const ImageFolder plain(dir_ / "train", {.image_size = 12, .normalisation = kPlain});
  int mirrored = 0;
  for (std::int64_t epoch = 0; epoch < 60; ++epoch) {
    const auto values = plain.batch(iota(1, 3), {1, epoch, true}).inputs.to_vector<float>();
    for (const float value : values) ASSERT_TRUE(value > -1 && value < 256);
    mirrored += values[0] > values[11];  // red falls from left to right
  }
  EXPECT_GT(mirrored, 15);
  EXPECT_LT(mirrored, 45);
}

TEST_F(Folder, ValidationUsesTheTrainingNumbers) {
  write_file(dir_ / "val/cat/1.png", encode_png(gradient_image(20, 20)));
  const ImageFolder valid(dir_ / "val", {.image_size = 8}, {"ant", "bee", "cat"});
  EXPECT_EQ(valid.num_classes(), 3);
  EXPECT_EQ(valid.batch(iota(1), {}).targets.to_vector<std::int32_t>(), (std::vector<std::int32_t>{2}));
}

}  // namespace
}  // namespace lacuna::test
