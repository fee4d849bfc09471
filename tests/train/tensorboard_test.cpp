// Event files are decoded here by the published formats, with a decoder of the test's own.
#include "train/tensorboard.h"

#include <gtest/gtest.h>

#include <cmath>
#include <cstring>
#include <map>
#include <optional>

#include "core/errors.h"
#include "tests/train/small_model.h"
#include "tests/train/temporary_directory.h"

namespace lacuna {
namespace {

struct Field {
  int number = 0, type = 0;
  std::uint64_t integer = 0;  // varint, or the raw bits of a fixed-width field
  std::string bytes;
};

std::uint64_t varint(const std::string& text, std::size_t& at) {
  std::uint64_t value = 0;
  for (int shift = 0;; shift += 7) {
    const auto byte = static_cast<unsigned char>(text.at(at++));
    value += static_cast<std::uint64_t>(byte % 128) << shift;
    if (byte < 128) return value;
  }
}

std::vector<Field> decode(const std::string& message) {
  std::vector<Field> fields;
  for (std::size_t at = 0; at < message.size();) {
    Field field;
    const std::uint64_t tag = varint(message, at);
    field.number = static_cast<int>(tag / 8);
    field.type = static_cast<int>(tag % 8);
    const std::size_t fixed = field.type == 1 ? 8 : field.type == 5 ? 4 : 0;
    if (field.type == 0) field.integer = varint(message, at);
    if (field.type == 2) {
      const std::size_t size = varint(message, at);
      if (at + size > message.size()) throw std::out_of_range("message");
      field.bytes = message.substr(at, size);
      at += size;
    }
    if (fixed > 0) std::memcpy(&field.integer, message.data() + at, fixed);
    at += fixed;
    fields.push_back(field);
  }
  return fields;
}

std::vector<std::string> records(const std::string& file) {
  std::vector<std::string> found;
  for (std::size_t at = 0; at < file.size();) {
    std::uint64_t size = 0;
    std::uint32_t head = 0, tail = 0;
    std::memcpy(&size, file.data() + at, 8);
    std::memcpy(&head, file.data() + at + 8, 4);
    EXPECT_EQ(head, masked_crc32c(file.substr(at, 8)));
    found.push_back(file.substr(at + 12, size));
    std::memcpy(&tail, file.data() + at + 12 + size, 4);
    EXPECT_EQ(tail, masked_crc32c(found.back()));
    at += 16 + size;
  }
  return found;
}

struct DecodedEvent {
  double wall_time = 0;
  std::int64_t step = 0;
  std::string version;
  std::map<std::string, float> scalars;
};

DecodedEvent decode_event(const std::string& record) {
  DecodedEvent event;
  for (const Field& field : decode(record)) {
    if (field.number == 1) std::memcpy(&event.wall_time, &field.integer, 8);
    if (field.number == 2) event.step = static_cast<std::int64_t>(field.integer);
    if (field.number == 3) event.version = field.bytes;
    if (field.number != 5) continue;
    for (const Field& value : decode(field.bytes)) {
      EXPECT_EQ(value.number, 1);
      std::string tag;
      float number = NAN;
      for (const Field& part : decode(value.bytes)) {
        if (part.number == 1) tag = part.bytes;
        if (part.number == 2) std::memcpy(&number, &part.integer, 4);
      }
      event.scalars[tag] = number;
    }
  }
  return event;
}

TEST(Crc32c, PublishedVectors) {
  EXPECT_EQ(crc32c("123456789"), 0xE3069283u);
  EXPECT_EQ(crc32c(std::string(32, '\0')), 0x8A9136AAu);  // RFC 3720, B.4
  EXPECT_EQ(crc32c(std::string(32, '\xFF')), 0x62A8AB43u);
  EXPECT_EQ(crc32c(""), 0u);
}

TEST(Tensorboard, FileDecodes) {
  TemporaryDirectory directory;
  EventWriter writer(directory / "events");
  writer.write(7, {{"train_loss", 2.5}, {"lr", 1e-3}});
  writer.write(3'000'000'000, {{"train_loss", std::nan("")}});
  EXPECT_NE(writer.path().filename().string().find("tfevents"), std::string::npos);
  const std::vector<std::string> all = records(slurp(writer.path()));
  ASSERT_EQ(all.size(), 3u);
  EXPECT_EQ(decode_event(all[0]).version, "brain.Event:2");
  EXPECT_GT(decode_event(all[0]).wall_time, 1.7e9);
  const DecodedEvent first = decode_event(all[1]);
  EXPECT_EQ(first.step, 7);
  EXPECT_EQ(first.scalars.at("train_loss"), 2.5f);
  EXPECT_EQ(first.scalars.at("lr"), 1e-3f);
  const DecodedEvent second = decode_event(all[2]);
  EXPECT_EQ(second.step, 3'000'000'000);
  EXPECT_TRUE(std::isnan(second.scalars.at("train_loss")));
}

// Summary.value[0] of the event: tag (1) and histogram (5), whose doubles have the numbers of summary.proto.
TEST(Tensorboard, HistogramsDecode) {
  const std::string event = summary_event(1.0, 7, {}, {{"h/w", 0, 2, {3, 1}}});
  std::string value;
  for (const Field& field : decode(event))
    if (field.number == 5) value = decode(field.bytes).at(0).bytes;
  std::map<int, double> numbers;
  std::map<int, std::vector<double>> lists;
  for (const Field& field : decode(value)) {
    if (field.number == 1) {
      EXPECT_EQ(field.bytes, "h/w");
      continue;
    }
    ASSERT_EQ(field.number, 5);
    for (const Field& part : decode(field.bytes)) {
      if (part.type == 1) std::memcpy(&numbers[part.number], &part.integer, 8);
      if (part.type != 2) continue;
      lists[part.number].resize(part.bytes.size() / 8);
      std::memcpy(lists[part.number].data(), part.bytes.data(), part.bytes.size());
    }
  }
  EXPECT_EQ(numbers, (std::map<int, double>{{1, 0}, {2, 2}, {3, 4}, {4, 3}, {5, 3 * 0.25 + 2.25}}));
  EXPECT_EQ(lists.at(6), (std::vector<double>{1, 2}));
  EXPECT_EQ(lists.at(7), (std::vector<double>{3, 1}));
}

TEST(Tensorboard, TwoWritersHaveTwoFiles) {
  TemporaryDirectory directory;
  EventWriter a(directory.path()), b(directory.path());
  EXPECT_NE(a.path(), b.path());
  EXPECT_EQ(directory.num_files(), 2u);
}

TEST(Tensorboard, DropsLaterAndTornRecords) {
  TemporaryDirectory directory;
  std::filesystem::path path;
  {
    EventWriter writer(directory.path());
    for (std::int64_t step : {10, 20, 30}) writer.write(step, {{"loss", static_cast<double>(step)}});
    path = writer.path();
  }
  const std::string whole = slurp(path);
  spill(path, whole + whole.substr(0, 17));
  drop_events_after(directory.path(), 20);
  const std::vector<std::string> kept = records(slurp(path));
  ASSERT_EQ(kept.size(), 3u) << "version, 10 and 20";
  EXPECT_EQ(decode_event(kept[2]).step, 20);
  drop_events_after(directory / "absent", 20);
  for (const char* garbage : {"", "short", "\xFF\xFF\xFF\xFF\xFF\xFF\xFF\xFF and then some more bytes"}) {
    spill(path, garbage);
    drop_events_after(directory.path(), 20);
    EXPECT_EQ(slurp(path), "");
  }
}

}  // namespace
}  // namespace lacuna
