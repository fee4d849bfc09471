#include "data/byte_text.h"

#include <set>

#include "tests/data/fixtures.h"

namespace lacuna::test {
namespace {

Bytes counting(std::int64_t count) {
  ByteVector values;
  for (std::int64_t i = 0; i < count; ++i) values.push_back(static_cast<std::uint8_t>(i));
  return Bytes::from(values);
}

TEST(ByteText, FixedWindowsPredictEveryByteOnce) {
  const ByteText text(counting(101), 10, Windows::fixed, "counting");
  ASSERT_EQ(text.num_examples(), 10);
  const Batch batch = text.batch(iota(10), {});
  const auto inputs = batch.inputs.to_vector<std::int32_t>();
  const auto targets = batch.targets.to_vector<std::int32_t>();
  ASSERT_EQ(batch.inputs.shape(), Shape({100}));
  for (std::int32_t i = 0; i < 100; ++i) {
    EXPECT_EQ(inputs[static_cast<std::size_t>(i)], i);
    EXPECT_EQ(targets[static_cast<std::size_t>(i)], i + 1);
  }
}

TEST(ByteText, FixedWindowsIgnoreTheEpoch) {
  const ByteText text(counting(100), 7, Windows::fixed, "counting");
  EXPECT_TRUE(equal(text.batch(iota(3), {1, 0, true}), text.batch(iota(3), {1, 5, true})));
}

TEST(ByteText, ShiftedWindowsStayInsideAndVisitEveryByte) {
  for (const std::int64_t size : {6, 7, 9, 10, 11, 50, 53}) {
    const ByteText text(counting(size), 5, Windows::shifted, "counting");
    std::set<std::int64_t> shifts;
    std::set<std::int32_t> predicted;
    for (std::int64_t epoch = 0; epoch < 200; ++epoch) {
      const AugmentKey key{3, epoch, true};
      shifts.insert(text.shift(key));
      const Batch batch = text.batch(iota(text.num_examples()), key);
      ASSERT_LE(text.shift(key) + text.num_examples() * 5 + 1, size);
      const auto inputs = batch.inputs.to_vector<std::int32_t>();
      const auto targets = batch.targets.to_vector<std::int32_t>();
      for (std::size_t i = 0; i < inputs.size(); ++i) ASSERT_EQ(targets[i], inputs[i] + 1);
      predicted.insert(targets.begin(), targets.end());
    }
    EXPECT_EQ(static_cast<std::int64_t>(shifts.size()), std::min<std::int64_t>(5, size - text.num_examples() * 5));
    EXPECT_LT(*shifts.rbegin(), 5);
    if (size >= 10) {
      EXPECT_GE(static_cast<std::int64_t>(predicted.size()), size - 5);
    }
  }
}

TEST(ByteText, WithoutAugmentationTheWindowsStandStill) {
  const ByteText text(counting(100), 7, Windows::shifted, "counting");
  EXPECT_EQ(text.shift({3, 9, false}), 0);
}

TEST(ByteText, RefusesIndicesOutside) {
  const ByteText text(counting(100), 7, Windows::fixed, "counting");
  const std::vector<std::int64_t> past{text.num_examples()};
  const std::vector<std::int64_t> negative{-1};
  EXPECT_THROW(text.batch(past, {}), IndexError);
  EXPECT_THROW(text.batch(negative, {}), IndexError);
}

TEST(ReadTree, SortsFiltersAndBounds) {
  TempDir dir;
  write_file(dir / "b.txt", std::string("BB"));
  write_file(dir / "a/z.txt", std::string("zz"));
  write_file(dir / "a/y.md", std::string("yy"));
  write_file(dir / "a.txt", std::string("AA"));
  std::filesystem::create_symlink(dir / "b.txt", dir / "link.txt");
  const auto read = [&](const TreeOptions& options) {
    const Bytes bytes = read_tree(dir.path(), options);
    return std::string(bytes.view.begin(), bytes.view.end());
  };
  EXPECT_EQ(read({}), "AAyyzzBB");  // '.' sorts before '/'
  EXPECT_EQ(read({.extensions = {".md"}}), "yy");
  EXPECT_EQ(read({.extensions = {"a/*"}}), "yyzz");
  EXPECT_EQ(read({.extensions = {".md", "b.*"}}), "yyBB");
  EXPECT_EQ(read({.max_bytes = 5}), "AAyyz");
  const std::string shuffled = read({.shuffle = true, .seed = 4});
  EXPECT_EQ(shuffled, read({.shuffle = true, .seed = 4}));
  EXPECT_EQ(shuffled.size(), 8u);
}

TEST(ReadTree, GzipMembersFollowEachOther) {
  TempDir dir;
  ByteVector both = gzip({1, 2, 3});
  const ByteVector second = gzip(ByteVector(100000, 7));
  both.insert(both.end(), second.begin(), second.end());
  write_file(dir / "x.gz", both);
  const ByteVector out = read_maybe_gzip(dir / "x.gz");
  ASSERT_EQ(out.size(), 100003u);
  EXPECT_EQ(out[2], 3);
  EXPECT_EQ(out[100002], 7);
}

}  // namespace
}  // namespace lacuna::test
