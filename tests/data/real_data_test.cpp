// The loaders on the public sets as downloaded. LACUNA_DATA_DIR names the directory that holds them; tests of sets that
// are absent are skipped.
#include <cmath>
#include <cstdlib>
#include <map>

#include "data/batch_loader.h"
#include "data/byte_text.h"
#include "data/cifar.h"
#include "data/data_config.h"
#include "tests/data/fixtures.h"

namespace lacuna::test {
namespace {
namespace fs = std::filesystem;

#define REQUIRE_SET(path, name)                             \
  const char* root_ = std::getenv("LACUNA_DATA_DIR");       \
  if (!root_) GTEST_SKIP() << "LACUNA_DATA_DIR is not set"; \
  const fs::path path = fs::path(root_) / (name);           \
  if (!fs::exists(path)) GTEST_SKIP() << path << " is absent"

TEST(RealData, FashionMnist) {
  REQUIRE_SET(path, "fashion-mnist");
  const DataSplits splits = open_data({.type = "idx", .path = path, .valid_fraction = 0});
  EXPECT_EQ(splits.train->num_examples(), 60000);
  EXPECT_EQ(splits.test->num_examples(), 10000);
  EXPECT_EQ(splits.train->image(), (ImageExtent{1, 28, 28}));
  EXPECT_EQ(splits.train->num_classes(), 10);
  std::map<std::int32_t, int> counts;
  const Batch batch = splits.test->batch(iota(10000), {});
  for (const std::int32_t label : batch.targets.to_vector<std::int32_t>()) ++counts[label];
  for (const auto& [label, count] : counts) EXPECT_EQ(count, 1000) << label;
  double sum = 0;
  for (const float v : batch.inputs.to_vector<float>()) sum += v;
  EXPECT_NEAR(sum / (10000.0 * 784), 0, 0.02);  // normalised by the training images
}

TEST(RealData, Imagenette) {
  REQUIRE_SET(path, "imagenette2-96");
  const DataSplits splits = open_data({.type = "image_folder", .path = path, .image_size = 64});
  EXPECT_EQ(splits.train->num_examples(), 9469);
  EXPECT_EQ(splits.valid->num_examples(), 3925);
  EXPECT_EQ(splits.train->num_classes(), 10);
  BatchLoader loader(splits.train, {.batch_size = 64, .seed = 1, .shuffle = true, .augment = true});
  double sum = 0;
  double square = 0;
  for (int i = 0; i < 8; ++i) {
    for (const float v : loader.next().inputs.to_vector<float>()) {
      sum += v;
      square += v * v;
    }
  }
  const double count = 8.0 * 64 * 3 * 64 * 64;
  EXPECT_NEAR(sum / count, 0, 0.15);
  EXPECT_NEAR(square / count, 1.1, 0.3);
}

TEST(RealData, Imdb) {
  REQUIRE_SET(path, "imdb");
  const DataSplits splits =
      open_data({.type = "text", .path = path / "train.txt", .test_path = path / "test.txt", .sequence_length = 1024});
  const auto bytes = [](const std::shared_ptr<Dataset>& split) { return dynamic_cast<ByteText&>(*split).num_bytes(); };
  EXPECT_EQ(bytes(splits.train) + bytes(splits.valid), static_cast<std::int64_t>(fs::file_size(path / "train.txt")));
  EXPECT_EQ(bytes(splits.test), static_cast<std::int64_t>(fs::file_size(path / "test.txt")));
  EXPECT_EQ(splits.test->num_examples(), (bytes(splits.test) - 1) / 1024);
}

TEST(RealData, TextDirectory) {
  REQUIRE_SET(path, "text");
  const DataSplits splits = open_data({.type = "text", .path = path, .extensions = {"tinyshakespeare*"}});
  EXPECT_EQ(splits.train->num_classes(), 256);
  EXPECT_GT(splits.train->num_examples(), 3900);
}

TEST(RealData, CifarTestBatch) {
  REQUIRE_SET(path, "cifar-10-batches-bin/test_batch.bin");
  const auto images = std::make_shared<const ImageArray>(read_cifar({path}, CifarKind::cifar10));
  ASSERT_EQ(images->size(), 10000);
  std::map<std::int32_t, int> counts;
  for (const std::int32_t label : images->labels) ++counts[label];
  for (const auto& [label, count] : counts) EXPECT_EQ(count, 1000) << label;
  const Normalisation measured = measure_normalisation(*images);
  for (std::size_t c = 0; c < 3; ++c) {
    EXPECT_NEAR(measured.mean[c], kCifar10Normalisation.mean[c], 0.005);
    EXPECT_NEAR(measured.deviation[c], kCifar10Normalisation.deviation[c], 0.005);
  }
}

}  // namespace
}  // namespace lacuna::test
