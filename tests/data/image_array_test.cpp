// CIFAR, IDX, augmentation, images as bytes.
#include "data/image_array.h"

#include <cmath>
#include <set>

#include "data/cifar.h"
#include "data/idx.h"
#include "tests/data/fixtures.h"

namespace lacuna::test {
namespace {

const Normalisation kPlain{{0, 0, 0}, {1.0 / 255, 1.0 / 255, 1.0 / 255}};  // values = pixels

ImageArrayPtr cifar(int count) {
  TempDir dir;
  write_file(dir / "a.bin", cifar_file(count / 2));
  write_file(dir / "b.bin", cifar_file(count - count / 2, false, count / 2));
  return std::make_shared<const ImageArray>(read_cifar({dir / "a.bin", dir / "b.bin"}, CifarKind::cifar10));
}

TEST(Cifar, ReadsRecordsAcrossFiles) {
  const ImageArrayPtr images = cifar(13);
  ASSERT_EQ(images->size(), 13);
  EXPECT_EQ(images->extent, (ImageExtent{3, 32, 32}));
  for (int i = 0; i < 13; ++i) {
    EXPECT_EQ(images->labels[static_cast<std::size_t>(i)], i % 10);
    for (int p = 0; p < 3072; ++p) ASSERT_EQ(images->image(i)[p], cifar_pixel(i, p));
  }
}

TEST(Cifar, HundredTakesTheFineLabel) {
  TempDir dir;
  write_file(dir / "train.bin", cifar_file(30, true, 60));
  const ImageArray images = read_cifar({dir / "train.bin"}, CifarKind::cifar100);
  EXPECT_EQ(images.num_classes, 100);
  EXPECT_EQ(images.labels[25], 85);  // the coarse one is 5
  EXPECT_EQ(images.image(25)[9], cifar_pixel(85, 9));
}

TEST(Cifar, FindsFilesWhereTheArchiveUnpacks) {
  TempDir dir;
  write_file(dir / "cifar-10-batches-bin/test_batch.bin", cifar_file(1));
  const auto outer = cifar_files(dir.path(), CifarKind::cifar10, false);
  const auto inner = cifar_files(dir / "cifar-10-batches-bin", CifarKind::cifar10, false);
  EXPECT_EQ(outer, inner);
}

TEST(Idx, PlainAndGzipAgree) {
  TempDir dir;
  write_file(dir / "images", idx_images(7, 5, 4));
  write_file(dir / "labels", idx_labels(7, 3));
  write_file(dir / "images.gz", gzip(idx_images(7, 5, 4)));
  write_file(dir / "labels.gz", gzip(idx_labels(7, 3)));
  const ImageArray plain = read_idx(dir / "images", dir / "labels", "plain");
  const ImageArray zipped = read_idx(dir / "images.gz", dir / "labels.gz", "zipped");
  EXPECT_EQ(plain.extent, (ImageExtent{1, 5, 4}));
  EXPECT_EQ(plain.num_classes, 3);
  EXPECT_EQ(plain.pixels, zipped.pixels);
  EXPECT_EQ(plain.labels, zipped.labels);
  EXPECT_EQ(plain.labels[5], 2);
  EXPECT_EQ(plain.pixels[100], static_cast<std::uint8_t>(100 * 13 + 2));
}

TEST(ImageArrayDataset, BatchIsChannelMajor) {
  const ImageArrayPtr images = cifar(6);
  const ImageArrayDataset dataset(images, {5, 3, 1}, kPlain);
  const std::vector<std::int64_t> indices{2, 0};
  const Batch batch = dataset.batch(indices, {});
  ASSERT_EQ(batch.inputs.shape(), Shape({3, 2 * 1024}));
  const auto values = batch.inputs.to_vector<float>();
  const int source[] = {1, 5};
  for (int c = 0; c < 3; ++c) {
    for (int b = 0; b < 2; ++b) {
      for (int p = 0; p < 1024; ++p) {
        ASSERT_FLOAT_EQ(values[static_cast<std::size_t>((c * 2 + b) * 1024 + p)], cifar_pixel(source[b], c * 1024 + p));
      }
    }
  }
  EXPECT_EQ(batch.targets.to_vector<std::int32_t>(), (std::vector<std::int32_t>{1, 5}));
}

TEST(ImageArrayDataset, NormalisesToMeanZeroDeviationOne) {
  const ImageArrayPtr images = cifar(40);
  const ImageArrayDataset dataset(images, {}, measure_normalisation(*images));
  const auto values = dataset.batch(iota(40), {}).inputs.to_vector<float>();
  for (std::size_t c = 0; c < 3; ++c) {
    double sum = 0;
    double square = 0;
    for (std::size_t i = 0; i < 40 * 1024; ++i) {
      const double v = values[c * 40 * 1024 + i];
      sum += v;
      square += v * v;
    }
    EXPECT_NEAR(sum / (40 * 1024), 0, 1e-5);
    EXPECT_NEAR(square / (40 * 1024), 1, 1e-4);
  }
}

TEST(ImageArrayDataset, RefusesAWrongNormalisation) {
  EXPECT_THROW(ImageArrayDataset(cifar(2), {}, {{0.5}, {0.5}}), ValueError);
  EXPECT_THROW(ImageArrayDataset(cifar(2), {}, {{0, 0, 0}, {1, 0, 1}}), ValueError);
  EXPECT_THROW(ImageArrayDataset(cifar(2), {2}, kPlain), IndexError);
}

/// Each augmented image must be what a pixel-by-pixel reading of its placement gives.
TEST(Augment, WritesWhatThePlacementSays) {
  const ImageExtent extent{2, 6, 5};
  ByteVector pixels;
  for (int i = 0; i < 60; ++i) pixels.push_back(static_cast<std::uint8_t>(i * 4 + 3));
  const AugmentOptions options{3, true, 3};
  const float scale[] = {1.0f, 0.5f};
  const float bias[] = {-1.0f, 2.0f};
  std::set<std::int64_t> dys;
  int flips = 0;
  for (std::int64_t example = 0; example < 200; ++example) {
    const Placement place = draw_placement(options, extent, ExampleDraws(data_key(7, DataDraw::augment, 0), example));
    ASSERT_LE(std::abs(place.dy), 3);
    ASSERT_LE(std::abs(place.dx), 3);
    dys.insert(place.dy);
    flips += place.flip;
    std::vector<float> out(60, NAN);
    write_image(pixels.data(), extent, place, scale, bias, out.data(), 30);
    for (std::int64_t c = 0; c < 2; ++c) {
      for (std::int64_t y = 0; y < 6; ++y) {
        for (std::int64_t x = 0; x < 5; ++x) {
          const std::int64_t from_y = y + place.dy;
          const std::int64_t from_x = (place.flip ? 4 - x : x) + place.dx;
          const bool inside = from_y >= 0 && from_y < 6 && from_x >= 0 && from_x < 5;
          const float pixel = inside ? pixels[static_cast<std::size_t>((c * 6 + from_y) * 5 + from_x)] : 0;
          const bool cut = y >= place.cut_y0 && y < place.cut_y1 && x >= place.cut_x0 && x < place.cut_x1;
          const float expected = cut ? 0 : pixel * scale[c] + bias[c];
          ASSERT_EQ(out[static_cast<std::size_t>((c * 6 + y) * 5 + x)], expected) << example;
        }
      }
    }
  }
  EXPECT_EQ(dys.size(), 7u);
  EXPECT_GT(flips, 70);
  EXPECT_LT(flips, 130);
}

TEST(Augment, IsAFunctionOfSeedEpochAndExample) {
  const ImageArrayPtr images = cifar(8);
  const ImageArrayDataset dataset(images, {}, kPlain, {4, true, 8});
  const Batch first = dataset.batch(iota(8), {1, 2, true});
  EXPECT_TRUE(equal(first, dataset.batch(iota(8), {1, 2, true})));
  EXPECT_FALSE(equal(first, dataset.batch(iota(8), {1, 3, true})));
  EXPECT_FALSE(equal(first, dataset.batch(iota(8), {2, 2, true})));
  EXPECT_FALSE(equal(first, dataset.batch(iota(8), {1, 2, false})));
  // An example looks the same whatever batch it is in.
  const auto all = first.inputs.to_vector<float>();
  const auto alone = dataset.batch(iota(1, 6), {1, 2, true}).inputs.to_vector<float>();
  for (std::size_t c = 0; c < 3; ++c) {
    for (std::size_t p = 0; p < 1024; ++p) ASSERT_EQ(alone[c * 1024 + p], all[(c * 8 + 6) * 1024 + p]);
  }
}

TEST(ImageBytes, RasterOrderShiftedByOne) {
  const ImageArrayPtr images = cifar(4);
  const ImageBytes dataset(images, {}, true);
  EXPECT_EQ(dataset.sequence_length(), 3072);
  const Batch batch = dataset.batch(iota(1, 2), {});
  const auto inputs = batch.inputs.to_vector<std::int32_t>();
  const auto targets = batch.targets.to_vector<std::int32_t>();
  EXPECT_EQ(inputs[0], 0);
  for (int p = 0; p < 1024; ++p) {
    for (int c = 0; c < 3; ++c) ASSERT_EQ(targets[static_cast<std::size_t>(p * 3 + c)], cifar_pixel(2, c * 1024 + p));
  }
  for (std::size_t t = 1; t < 3072; ++t) ASSERT_EQ(inputs[t], targets[t - 1]);
  int mirrored = 0;
  for (std::int64_t epoch = 0; epoch < 40; ++epoch) {
    const auto seen = dataset.batch(iota(1, 2), {0, epoch, true}).targets.to_vector<std::int32_t>();
    if (seen != targets) {
      ++mirrored;
      for (int c = 0; c < 3; ++c)
        ASSERT_EQ(seen[static_cast<std::size_t>(c)], targets[static_cast<std::size_t>(31 * 3 + c)]);
    }
  }
  EXPECT_GT(mirrored, 5);
  EXPECT_LT(mirrored, 35);
}

}  // namespace
}  // namespace lacuna::test
