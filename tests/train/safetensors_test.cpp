#include "train/safetensors.h"

#include <gtest/gtest.h>
#include <sys/stat.h>

#include <cmath>
#include <cstring>

#include "core/errors.h"
#include "tests/train/small_model.h"
#include "tests/train/temporary_directory.h"
#include "train/hash.h"

namespace lacuna {
namespace {

std::string file_bytes(std::uint64_t header_bytes, const std::string& header, const std::string& data) {
  std::string bytes(8, '\0');
  std::memcpy(bytes.data(), &header_bytes, 8);
  return bytes + header + data;
}

std::string file_bytes(const std::string& header, const std::string& data) { return file_bytes(header.size(), header, data); }

TEST(Hash64, MatchesPublishedVectors) {
  const auto hash = [](const std::string& text) {
    Hash64 h;
    h.update(text.data(), text.size());
    return h.digest();
  };
  EXPECT_EQ(hash(""), 0xEF46DB3751D8E999u);
  EXPECT_EQ(hash("a"), 0xD24EC4F1A98C6E5Bu);
  EXPECT_EQ(hash("abc"), 0x44BC2CF5AD770999u);
  EXPECT_EQ(hash("Nobody inspects the spammish repetition"), 0xFBCEA83C8A378BF1u);
  EXPECT_EQ(hex64(0x0123456789ABCDEFu), "0123456789abcdef");
}

TEST(Hash64, IsIndependentOfTheSplit) {
  std::string text;
  for (int i = 0; i < 200; ++i) text.push_back(static_cast<char>(i * 37));
  Hash64 whole;
  whole.update(text.data(), text.size());
  for (std::size_t step : {1, 3, 7, 31, 32, 33, 64}) {
    Hash64 parts;
    for (std::size_t i = 0; i < text.size(); i += step) parts.update(text.data() + i, std::min(step, text.size() - i));
    EXPECT_EQ(parts.digest(), whole.digest()) << step;
  }
}

TEST(Safetensors, RoundTripsEveryDtypeAlignedAndInBits) {
  TemporaryDirectory directory;
  SafetensorsFile file;
  file.metadata["note"] = "caf\xC3\xA9 \"quoted\"\n";
  file.tensors["odd_bytes"] = Tensor::from<std::uint8_t>({1, 2, 3}, {3});
  file.tensors["A"] = Tensor::from<float>({1.5f, -0.0f, 3e-42f, 4}, {2, 2});
  file.tensors["doubles"] = Tensor::from<double>({0.1, 1e300}, {1, 2, 1});
  file.tensors["i32"] = Tensor::from<std::int32_t>({-1, 2147483647}, {2});
  file.tensors["i64"] = Tensor::from<std::int64_t>({-1, INT64_MAX}, {2});
  file.tensors["half"] = Tensor::empty({5}, DType::bf16);
  std::memset(file.tensors["half"].raw(), 0x3F, 10);
  file.tensors["scalar"] = Tensor::full({}, 2.5, DType::f32);
  file.tensors["empty"] = Tensor::empty({0, 7}, DType::f32);
  write_safetensors(directory / "x.safetensors", file);
  EXPECT_EQ(directory.num_files(), 1u);

  const SafetensorsFile back = read_safetensors(directory / "x.safetensors", Checksum::required);
  EXPECT_EQ(back.metadata, file.metadata);
  ASSERT_EQ(back.tensors.size(), file.tensors.size());
  for (const auto& [name, tensor] : file.tensors) EXPECT_TRUE(same_bits(back.tensors.at(name), tensor)) << name;

  const std::string bytes = slurp(directory / "x.safetensors");
  std::uint64_t header_bytes = 0;
  std::memcpy(&header_bytes, bytes.data(), 8);
  EXPECT_EQ((8 + header_bytes) % 8, 0u);
  EXPECT_EQ(bytes[8], '{');
}

TEST(Safetensors, NoTensorsAtAll) {
  TemporaryDirectory directory;
  write_safetensors(directory / "x", {});
  EXPECT_TRUE(read_safetensors(directory / "x").tensors.empty());
}

TEST(Safetensors, ReadsAFileOfAnotherToolWithoutChecksum) {
  TemporaryDirectory directory;
  const std::string header = R"({"b":{"dtype":"U8","shape":[2],"data_offsets":[4,6]},"a":{"dtype":"F32","shape":[],"data_offsets":[0,4]}}   )";
  spill(directory / "x", file_bytes(header, std::string("\0\0\x80\x3F", 4) + "\x07\x08"));
  const SafetensorsFile file = read_safetensors(directory / "x");
  EXPECT_EQ(file.tensors.at("a").item(), 1.0);
  EXPECT_EQ(file.tensors.at("b").to_vector<std::uint8_t>(), (std::vector<std::uint8_t>{7, 8}));
  EXPECT_THROW(read_safetensors(directory / "x", Checksum::required), CheckpointError);
}

TEST(Safetensors, RefusesWhatItCannotWrite) {
  TemporaryDirectory directory;
  SafetensorsFile file;
  file.tensors["\xFF\xFE"] = Tensor::zeros({1}, DType::f32);
  EXPECT_THROW(write_safetensors(directory / "x", file), CheckpointError);
  EXPECT_THROW(write_safetensors(directory / "missing" / "x", {}), CheckpointError);
  EXPECT_EQ(directory.num_files(), 0u);
}

struct Broken {
  const char* what;
  std::string bytes;
  const char* message;  // a part of it
};

std::string entry(const std::string& name, const std::string& dtype, const std::string& shape, const std::string& offsets) {
  return "\"" + name + R"(":{"dtype":")" + dtype + R"(","shape":)" + shape + R"(,"data_offsets":)" + offsets + "}";
}

std::vector<Broken> broken_files() {
  const std::string good = "{" + entry("w", "F32", "[2]", "[0,8]") + "}";
  const std::string data(8, 'x');
  std::string deep = "{\"a\":";
  for (int i = 0; i < 100000; ++i) deep += "[";
  const auto one = [&](const std::string& dtype, const std::string& shape, const std::string& offsets) {
    return file_bytes("{" + entry("w", dtype, shape, offsets) + "}", data);
  };
  const auto two = [&](const std::string& first, const std::string& second) {
    return file_bytes("{" + entry("w", "F32", "[1]", first) + "," + entry("v", "F32", "[1]", second) + "}", data);
  };
  return {
      {"empty file", "", "0 bytes long"},
      {"seven bytes", "1234567", "7 bytes long"},
      {"only a length", file_bytes(5, "", ""), "truncated"},
      {"header length past the end", file_bytes(1000, good, data), "truncated"},
      {"header length past the limit", file_bytes(1ull << 40, good, data), "limit"},
      {"header length all ones", file_bytes(~0ull, good, data), "limit"},
      {"header length zero", file_bytes(0, "", data), "does not begin with"},
      {"header is an array", file_bytes("[1,2]", data), "does not begin with"},
      {"another format", file_bytes("PK\x03\x04....", data), "does not begin with"},
      {"header is not JSON", file_bytes("{\"w\":", data), "not JSON"},
      {"header is not UTF-8", file_bytes("{\"\xFF\xC0\":1}", data), "not JSON"},
      {"text after the JSON", file_bytes(good + "}", data), "not JSON"},
      {"deep nesting", file_bytes(deep, data), "nested"},
      {"name twice", file_bytes("{" + entry("w", "F32", "[1]", "[0,4]") + "," + entry("w", "F32", "[1]", "[4,8]") + "}", data), "twice"},
      {"key twice", file_bytes(R"({"w":{"dtype":"F32","dtype":"F32","shape":[2],"data_offsets":[0,8]}})", data), "twice"},
      {"entry is a number", file_bytes(R"({"w":3})", data), "not a JSON object"},
      {"dtype missing", file_bytes(R"({"w":{"shape":[2],"data_offsets":[0,8]}})", data), "lacks 'dtype'"},
      {"extra key", file_bytes(R"({"w":{"dtype":"F32","shape":[2],"data_offsets":[0,8],"x":1}})", data), "keys beside"},
      {"metadata is a list", file_bytes(R"({"__metadata__":[]})", ""), "object of strings"},
      {"metadata holds a number", file_bytes(R"({"__metadata__":{"a":1}})", ""), "not a string"},
      {"unknown dtype", one("F16", "[4]", "[0,8]"), "F16"},
      {"dtype in small letters", one("f32", "[2]", "[0,8]"), "f32"},
      {"shape negative", one("F32", "[-2]", "[0,8]"), "counts"},
      {"shape fractional", one("F32", "[2.0]", "[0,8]"), "counts"},
      {"shape a number", one("F32", "2", "[0,8]"), "not a list"},
      {"shape overflows", one("F32", "[4294967296,4294967296]", "[0,8]"), "overflows"},
      {"shape overflows to 2", one("F32", "[9223372036854775809,2]", "[0,8]"), "overflows"},
      {"shape overflows beside a zero", one("F32", "[0,4611686018427387904,8]", "[0,0]"), "overflows"},
      {"shape of rank 7", one("F32", "[1,1,1,1,1,1,2]", "[0,8]"), "axes"},
      {"size mismatch", one("F32", "[3]", "[0,8]"), "12 bytes"},
      {"size mismatch of dtype", one("F64", "[2]", "[0,8]"), "16 bytes"},
      {"offsets of three", one("F32", "[2]", "[0,4,8]"), "two counts"},
      {"offsets negative", one("F32", "[2]", "[-8,0]"), "two counts"},
      {"offsets reversed", one("F32", "[2]", "[8,0]"), "outside"},
      {"offsets past the end", one("F32", "[4]", "[0,16]"), "outside"},
      {"offsets near 2^64", one("F32", "[2]", "[18446744073709551608,18446744073709551615]"), "outside"},
      {"overlap", two("[0,4]", "[0,4]"), "inside of"},
      {"overlap by a byte", two("[0,4]", "[3,7]"), "inside of"},
      {"hole", file_bytes("{" + entry("w", "U8", "[3]", "[0,3]") + "," + entry("v", "F32", "[1]", "[4,8]") + "}", data), "hole"},
      {"hole at the front", one("F32", "[1]", "[4,8]"), "hole"},
      {"bytes at the end", file_bytes(good, data + "y"), "follow"},
      {"bytes without tensors", file_bytes("{}", data), "follow"},
      {"data cut", file_bytes(good, "xxxxxxx"), "truncated"},
  };
}

TEST(Safetensors, ReadsHalvesAndTruthsOnRequest) {
  TemporaryDirectory directory;
  const std::filesystem::path path = directory / "half.safetensors";
  // 1, -2, the least subnormal, the largest, infinity, -0; NaN is looked at apart.
  const std::vector<std::uint16_t> halves{0x3C00, 0xC000, 0x0001, 0x7BFF, 0x7C00, 0x8000, 0x7E00, 0x3555};
  const std::string header =
      "{" + entry("h", "F16", "[8]", "[0,16]") + "," + entry("t", "BOOL", "[2]", "[16,18]") + "}";
  spill(path, file_bytes(header, std::string(reinterpret_cast<const char*>(halves.data()), 16) + std::string("\1\0", 2)));
  EXPECT_THROW(read_safetensors(path), CheckpointError);
  const SafetensorsFile file = read_safetensors(path, Checksum::if_present, ForeignDtypes::converted);
  const std::vector<float> h = file.tensors.at("h").to_vector<float>();
  EXPECT_EQ(h[0], 1.0f);
  EXPECT_EQ(h[1], -2.0f);
  EXPECT_EQ(h[2], std::ldexp(1.0f, -24));
  EXPECT_EQ(h[3], 65504.0f);
  EXPECT_TRUE(std::isinf(h[4]));
  EXPECT_TRUE(h[5] == 0 && std::signbit(h[5]));
  EXPECT_TRUE(std::isnan(h[6]));
  EXPECT_EQ(h[7], 0.333251953125f);
  EXPECT_EQ(file.tensors.at("t").to_vector<std::uint8_t>(), (std::vector<std::uint8_t>{1, 0}));
  EXPECT_EQ(file.converted, (std::map<std::string, std::string>{{"h", "F16"}, {"t", "BOOL"}}));
}

TEST(Safetensors, RefusesBrokenFilesByName) {
  TemporaryDirectory directory;
  for (const Broken& broken : broken_files()) {
    spill(directory / "broken.safetensors", broken.bytes);
    try {
      read_safetensors(directory / "broken.safetensors");
      ADD_FAILURE() << broken.what << " was accepted";
    } catch (const CheckpointError& error) {
      const std::string message = error.what();
      EXPECT_NE(message.find("broken.safetensors"), std::string::npos) << broken.what << ": " << message;
      EXPECT_NE(message.find(broken.message), std::string::npos) << broken.what << ": " << message;
      EXPECT_LT(message.size(), 1000u) << broken.what;
    }
  }
  EXPECT_GE(broken_files().size(), 40u);
}

TEST(Safetensors, NamesTheTensor) {
  TemporaryDirectory directory;
  spill(directory / "x", file_bytes("{" + entry("blocks.0.weight", "F32", "[3]", "[0,8]") + "}", std::string(8, 'x')));
  try {
    read_safetensors(directory / "x");
    FAIL();
  } catch (const CheckpointError& error) {
    EXPECT_NE(std::string(error.what()).find("\"blocks.0.weight\""), std::string::npos) << error.what();
  }
}

TEST(Safetensors, RefusesWhatIsNoRegularFile) {
  TemporaryDirectory directory;
  EXPECT_THROW(read_safetensors(directory.path()), CheckpointError);
  EXPECT_THROW(read_safetensors(directory / "absent"), CheckpointError);
  EXPECT_THROW(read_safetensors("/dev/zero"), CheckpointError);
  ASSERT_EQ(::mkfifo((directory / "pipe").c_str(), 0600), 0);
  EXPECT_THROW(read_safetensors(directory / "pipe"), CheckpointError);
}

}  // namespace
}  // namespace lacuna
