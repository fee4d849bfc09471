#include <fmt/format.h>

#include <set>

#include "data/byte_text.h"
#include "data/data_config.h"
#include "tests/data/fixtures.h"

namespace lacuna::test {
namespace {

std::string text_of(const Dataset& dataset) {
  std::string out;
  const auto targets = dataset.batch(iota(dataset.num_examples()), {}).targets.to_vector<std::int32_t>();
  for (const std::int32_t value : targets) out.push_back(static_cast<char>(value));
  return out;
}

TEST(OpenData, TextIsDividedInOrder) {
  TempDir dir;
  std::string text;
  for (int i = 0; i < 1000; ++i) text.push_back(static_cast<char>('A' + i / 100));
  write_file(dir / "text", text);
  const DataSplits splits = open_data(
      {.type = "text", .path = dir / "text", .valid_fraction = 0.1, .test_fraction = 0.2, .sequence_length = 9});
  EXPECT_EQ(text_of(*splits.valid), std::string(99, 'H'));
  EXPECT_EQ(text_of(*splits.test).substr(0, 99), std::string(99, 'I'));
  EXPECT_EQ(dynamic_cast<ByteText&>(*splits.train).num_bytes(), 700);
}

TEST(OpenData, TextWithAFileForTheTest) {
  TempDir dir;
  write_file(dir / "train.txt", std::string(900, 'a') + std::string(100, 'v'));
  write_file(dir / "test.txt", std::string(64, 't'));
  const DataSplits splits = open_data({.type = "text",
                                       .path = dir / "train.txt",
                                       .test_path = dir / "test.txt",
                                       .valid_fraction = 0.1,
                                       .sequence_length = 10});
  EXPECT_EQ(dynamic_cast<ByteText&>(*splits.train).num_bytes(), 900);
  EXPECT_EQ(text_of(*splits.valid), std::string(90, 'v'));
  EXPECT_EQ(text_of(*splits.test), std::string(60, 't'));
}

TEST(OpenData, NothingHeldOutMeansNull) {
  TempDir dir;
  write_file(dir / "train.txt", std::string(900, 'a'));
  const DataSplits splits =
      open_data({.type = "text", .path = dir / "train.txt", .valid_fraction = 0, .test_fraction = 0});
  EXPECT_EQ(splits.valid, nullptr);
  EXPECT_EQ(splits.test, nullptr);
}

TEST(OpenData, CifarHoldsOutWithoutOverlap) {
  TempDir dir;
  for (int i = 0; i < 5; ++i)
    write_file(dir / ("data_batch_" + std::to_string(i + 1) + ".bin"), cifar_file(8, false, 8 * i));
  write_file(dir / "test_batch.bin", cifar_file(6, false, 100));
  DataConfig config{
      .type = "cifar10", .path = dir.path(), .valid_fraction = 0.25, .mean = {0, 0, 0}, .deviation = {1, 1, 1}};
  const DataSplits splits = open_data(config);
  EXPECT_EQ(splits.train->num_examples(), 30);
  EXPECT_EQ(splits.valid->num_examples(), 10);
  EXPECT_EQ(splits.test->num_examples(), 6);
  std::set<std::vector<float>> images;
  for (const auto& split : {splits.train, splits.valid, splits.test}) {
    for (std::int64_t i = 0; i < split->num_examples(); ++i) {
      images.insert(split->batch(iota(1, i), {}).inputs.to_vector<float>());
    }
  }
  EXPECT_EQ(images.size(), 46u);
  // Only training is augmented.
  EXPECT_FALSE(equal(splits.train->batch(iota(9), {0, 0, true}), splits.train->batch(iota(9), {})));
  EXPECT_TRUE(equal(splits.valid->batch(iota(9), {0, 0, true}), splits.valid->batch(iota(9), {})));
  config.type = "cifar10_bytes";
  EXPECT_EQ(open_data(config).train->sequence_length(), 3072);
}

TEST(OpenData, IdxMeasuresItsNormalisation) {
  TempDir dir;
  write_file(dir / "train-images-idx3-ubyte.gz", gzip(idx_images(40, 8, 8)));
  write_file(dir / "train-labels-idx1-ubyte.gz", gzip(idx_labels(40, 4)));
  write_file(dir / "t10k-images-idx3-ubyte", idx_images(10, 8, 8));
  write_file(dir / "t10k-labels-idx1-ubyte", idx_labels(10, 4));
  const DataSplits splits = open_data({.type = "idx", .path = dir.path(), .valid_fraction = 0});
  EXPECT_EQ(splits.valid, nullptr);
  EXPECT_EQ(splits.train->num_classes(), 4);
  double sum = 0;
  for (const float v : splits.train->batch(iota(40), {}).inputs.to_vector<float>()) sum += v;
  EXPECT_NEAR(sum / (40 * 64), 0, 1e-4);
  EXPECT_EQ(splits.test->batch(iota(10), {}).inputs.shape(), Shape({1, 640}));
}

TEST(OpenData, Synthetic) {
  const DataSplits images = open_data({.image_size = 8, .num_examples = 100});
  EXPECT_EQ(images.train->num_examples(), 100);
  EXPECT_EQ(images.valid->num_examples(), 5);
  EXPECT_FALSE(equal(images.valid->batch(iota(5), {}), images.test->batch(iota(5), {})));
  for (const std::int64_t count : {1, 50}) {
    const DataSplits tokens = open_data({.type = "synthetic_tokens", .sequence_length = 32, .num_examples = count});
    EXPECT_GE(tokens.train->num_examples(), count);
    EXPECT_GE(tokens.valid->num_examples(), 1);
    EXPECT_GE(tokens.test->num_examples(), 1);
    EXPECT_EQ(tokens.train->num_classes(), 256);
  }
}

TEST(OpenData, RefusesConfigsThatCannotBe) {
  const auto expect = [](const DataConfig& config, const std::string& key) {
    const std::string message = message_of<ConfigError>([&] { open_data(config); });
    EXPECT_NE(message.find(fmt::format("'{}'", key)), std::string::npos) << message;
  };
  expect({.type = "text"}, "path");
  expect({.valid_fraction = 0.6, .test_fraction = 0.4}, "valid_fraction");
  expect({.type = "synthetic_tokens", .num_classes = 3}, "num_classes");
  expect({.type = "cifar10", .path = "x", .mean = {0.5}}, "mean");
  expect({.type = "image_folder", .path = "x", .min_crop_area = 0}, "min_crop_area");
  expect({.type = "image_folder", .path = "x", .image_size = 64, .resize_size = 32}, "resize_size");
  expect({.type = "cifar11", .path = "x"}, "cifar11");
}

TEST(DataConfig, DescribesEveryField) {
  DataConfig config;
  std::set<std::string> keys;
  describe(config, [&](const char* key, auto&, const std::string& meaning, const FieldRule& = {}) {
    EXPECT_TRUE(keys.insert(key).second) << key;
    EXPECT_GT(meaning.size(), 10u) << key;
  });
  EXPECT_EQ(keys.size(), 24u);
}

}  // namespace
}  // namespace lacuna::test
