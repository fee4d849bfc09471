// Broken files: each gives one DataError that names the file, what was found and what must hold.
#include <filesystem>

#include "data/byte_text.h"
#include "data/cifar.h"
#include "data/data_config.h"
#include "data/files.h"
#include "data/idx.h"
#include "data/image_folder.h"
#include "tests/data/fixtures.h"

namespace lacuna::test {
namespace {
namespace fs = std::filesystem;

/// A place for one broken case: writes files, opens them, looks at the message.
class BrokenFile : public ::testing::Test {
 protected:
  template <class F>
  void expect(F&& open, const std::vector<std::string>& words) {
    const std::string message = message_of<DataError>(open);
    for (const std::string& word : words) {
      EXPECT_NE(message.find(word), std::string::npos) << "'" << word << "' is not in: " << message;
    }
  }
  void expect_cifar(const ByteVector& bytes, CifarKind kind, std::vector<std::string> words) {
    write_file(dir_ / "broken.bin", bytes);
    words.push_back("broken.bin");
    expect([&] { read_cifar({dir_ / "broken.bin"}, kind); }, words);
  }
  void expect_idx(const ByteVector& images, const ByteVector& labels, const std::vector<std::string>& words,
                  std::int64_t num_classes = 0) {
    write_file(dir_ / "images", images);
    write_file(dir_ / "labels", labels);
    expect([&] { read_idx(dir_ / "images", dir_ / "labels", "broken", num_classes); }, words);
  }
  void expect_image(const ByteVector& bytes, std::vector<std::string> words) {
    write_file(dir_ / "root/a/broken.jpeg", bytes);
    const ImageFolder folder(dir_ / "root", {.image_size = 8});
    words.push_back("broken.jpeg");
    expect([&] { folder.batch(iota(1), {}); }, words);
  }
  void expect_text(const std::string& path, DataConfig config, const std::vector<std::string>& words) {
    config.type = "text";
    config.path = dir_ / path;
    expect([&] { open_data(config); }, words);
  }

  TempDir dir_;
};

TEST_F(BrokenFile, CifarNotWholeRecords) {
  ByteVector bytes = cifar_file(2);
  bytes.pop_back();
  expect_cifar(bytes, CifarKind::cifar10, {"6145 bytes", "3073"});
}
TEST_F(BrokenFile, CifarEmpty) { expect_cifar({}, CifarKind::cifar10, {"0 bytes", "3073"}); }
TEST_F(BrokenFile, CifarLabel) {
  ByteVector bytes = cifar_file(3);
  bytes[3073] = 10;
  expect_cifar(bytes, CifarKind::cifar10, {"record 1", "label 10", "[0, 10)"});
}
TEST_F(BrokenFile, Cifar100FineLabel) {
  ByteVector bytes = cifar_file(2, true);
  bytes[1] = 100;
  expect_cifar(bytes, CifarKind::cifar100, {"record 0", "label 100", "[0, 100)"});
}
TEST_F(BrokenFile, Cifar10ReadAsCifar100) { expect_cifar(cifar_file(2), CifarKind::cifar100, {"3074"}); }
TEST_F(BrokenFile, CifarBatchMissing) {
  for (const int i : {1, 2, 4, 5}) write_file(dir_ / ("data_batch_" + std::to_string(i) + ".bin"), cifar_file(1));
  expect([&] { cifar_files(dir_.path(), CifarKind::cifar10, true); }, {"data_batch_3.bin", dir_.path().string()});
}
TEST_F(BrokenFile, CifarIsADirectory) {
  expect([&] { read_cifar({dir_.path()}, CifarKind::cifar10); }, {"not a regular file"});
}
TEST_F(BrokenFile, CifarMissing) {
  expect([&] { read_cifar({dir_ / "absent.bin"}, CifarKind::cifar10); }, {"absent.bin", "No such file"});
}

TEST_F(BrokenFile, IdxMagic) {
  expect_idx({'P', 'K', 3, 4, 0, 0}, idx_labels(2, 2), {"images", "50 4b 03 04", "00 00 08 03"});
}
TEST_F(BrokenFile, IdxTooShortForMagic) { expect_idx({0, 0}, idx_labels(2, 2), {"2 bytes"}); }
TEST_F(BrokenFile, IdxElementType) {
  ByteVector images = idx_images(2, 3, 3);
  images[2] = 0x0D;
  expect_idx(images, idx_labels(2, 2), {"0x0d", "0x08"});
}
TEST_F(BrokenFile, IdxRank) { expect_idx(idx_labels(2, 2), idx_labels(2, 2), {"1 axes", "3"}); }
TEST_F(BrokenFile, IdxHeaderTruncated) {
  ByteVector images = idx_images(2, 3, 3);
  images.resize(9);
  expect_idx(images, idx_labels(2, 2), {"truncated", "9 bytes", "16"});
}
TEST_F(BrokenFile, IdxTruncated) {
  ByteVector images = idx_images(2, 3, 3);
  images.pop_back();
  expect_idx(images, idx_labels(2, 2), {"truncated", "[2, 3, 3]", "18", "17"});
}
TEST_F(BrokenFile, IdxTrailingBytes) {
  ByteVector labels = idx_labels(2, 2);
  labels.push_back(0);
  expect_idx(idx_images(2, 3, 3), labels, {"labels", "trailing", "3"});
}
TEST_F(BrokenFile, IdxExtentsOverflow) {
  expect_idx(idx_file({0xFFFFFFFF, 0xFFFFFFFF, 0xFFFFFFFF}, {1, 2, 3}), idx_labels(2, 2), {"4294967295", "overflows"});
}
TEST_F(BrokenFile, IdxNoImages) {
  expect_idx(idx_file({0, 28, 28}, {}), idx_labels(0, 2), {"[0, 28, 28]", "at least one"});
}
TEST_F(BrokenFile, IdxCountsDiffer) { expect_idx(idx_images(3, 2, 2), idx_labels(2, 2), {"3 images", "2 labels"}); }
TEST_F(BrokenFile, IdxLabel) {
  expect_idx(idx_images(3, 2, 2), idx_labels(3, 3), {"label 2", "example 2", "[0, 2)"}, 2);
}
TEST_F(BrokenFile, IdxMissing) {
  expect([&] { idx_files(dir_.path(), "train"); }, {"train-images-idx3-ubyte", ".gz"});
}

TEST_F(BrokenFile, GzipCorrupt) {
  ByteVector images = gzip(idx_images(20, 8, 8));
  images[images.size() / 2] ^= 0xFF;
  expect_idx(images, idx_labels(20, 2), {"corrupt", "images"});
}
TEST_F(BrokenFile, GzipChecksum) {
  ByteVector images = gzip(idx_images(20, 8, 8));
  images[images.size() - 6] ^= 1;  // the CRC
  expect_idx(images, idx_labels(20, 2), {"corrupt", "check"});
}
TEST_F(BrokenFile, GzipTruncated) {
  ByteVector images = gzip(idx_images(20, 8, 8));
  images.resize(images.size() / 2);
  expect_idx(images, idx_labels(20, 2), {"truncated", "images"});
}
TEST_F(BrokenFile, GzipOfNothing) { expect_idx({0x1F, 0x8B}, idx_labels(20, 2), {"truncated"}); }
TEST_F(BrokenFile, GzipByNameOnly) {
  write_file(dir_ / "x.gz", std::string("plain"));
  expect([&] { read_maybe_gzip(dir_ / "x.gz"); }, {"x.gz", "1f 8b"});
}

TEST_F(BrokenFile, TextMissing) { expect_text("absent.txt", {}, {"absent.txt", "no such file"}); }
TEST_F(BrokenFile, TextTooShort) {
  write_file(dir_ / "short.txt", std::string(256, 'x'));
  expect_text("short.txt", {.valid_fraction = 0, .test_fraction = 0}, {"256 bytes", "sequence_length 256", "257"});
}
TEST_F(BrokenFile, TextEmpty) {
  write_file(dir_ / "empty.txt", std::string());
  expect_text("empty.txt", {}, {"0 bytes"});
}
TEST_F(BrokenFile, TextSplitTooShort) {
  write_file(dir_ / "text.txt", std::string(1000, 'x'));
  expect_text("text.txt", {.valid_fraction = 0.2, .test_fraction = 0}, {"validation part", "200 bytes", "257"});
}
TEST_F(BrokenFile, TreeEmpty) {
  fs::create_directories(dir_ / "tree/inner");
  expect_text("tree", {}, {"tree", "no files"});
}
TEST_F(BrokenFile, TreeFilteredAway) {
  write_file(dir_ / "tree/a.txt", std::string(1000, 'x'));
  expect_text("tree", {.extensions = {".py"}}, {"tree", "extensions"});
}

TEST_F(BrokenFile, FolderMissing) {
  expect([&] { ImageFolder(dir_ / "absent", {}); }, {"absent", "No such file"});
}
TEST_F(BrokenFile, FolderWithoutClasses) {
  write_file(dir_ / "root/image.png", encode_png(gradient_image(4, 4)));
  expect([&] { ImageFolder(dir_ / "root", {}); }, {"root", "one per class"});
}
TEST_F(BrokenFile, FolderClassWithoutImages) {
  write_file(dir_ / "root/a/notes.txt", std::string("x"));
  expect([&] { ImageFolder(dir_ / "root", {}); }, {"root/a", "at least one"});
}
TEST_F(BrokenFile, FolderUnknownClass) {
  write_file(dir_ / "val/zebra/1.png", encode_png(gradient_image(4, 4)));
  expect([&] { ImageFolder(dir_ / "val", {}, {"ant", "bee"}); }, {"zebra", "2 classes"});
}
TEST_F(BrokenFile, ImageEmpty) { expect_image({}, {"0 bytes", "neither JPEG nor PNG"}); }
TEST_F(BrokenFile, ImageOfAnotherKind) { expect_image({'G', 'I', 'F', '8', '9', 'a'}, {"neither JPEG nor PNG"}); }
TEST_F(BrokenFile, JpegHeaderOnly) { expect_image({0xFF, 0xD8, 0xFF, 0xE0}, {"undecodable JPEG"}); }
TEST_F(BrokenFile, JpegTruncated) {
  ByteVector bytes = encode_jpeg(gradient_image(64, 64));
  bytes.resize(bytes.size() * 2 / 3);
  expect_image(bytes, {"undecodable JPEG", "remature"});
}
TEST_F(BrokenFile, PngTruncated) {
  ByteVector bytes = encode_png(gradient_image(64, 64));
  bytes.resize(bytes.size() / 2);
  expect_image(bytes, {"undecodable PNG"});
}
TEST_F(BrokenFile, PngCorrupt) {
  ByteVector bytes = encode_png(gradient_image(64, 64));
  bytes[bytes.size() / 2] ^= 0x55;
  expect_image(bytes, {"undecodable PNG"});
}
TEST_F(BrokenFile, PngTooLarge) {
  ByteVector bytes = encode_png(gradient_image(4, 4));
  bytes[16] = bytes[20] = 0x7F;  // width and height past 2^30
  expect_image(bytes, {"PNG"});
}

}  // namespace
}  // namespace lacuna::test
