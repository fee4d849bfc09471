#include "train/tensorboard.h"

#include <unistd.h>

#include <algorithm>
#include <array>
#include <chrono>
#include <cstring>
#include <optional>

#include <fmt/format.h>

#include "core/errors.h"
#include "train/atomic_file.h"

namespace lacuna {
namespace {

// Wire types and field numbers of tensorflow/core/util/event.proto and framework/summary.proto.
enum WireType : std::uint64_t { kVarint = 0, kFixed64 = 1, kBytes = 2, kFixed32 = 5 };
constexpr std::uint64_t kEventWallTime = 1;     // double
constexpr std::uint64_t kEventStep = 2;         // int64
constexpr std::uint64_t kEventFileVersion = 3;  // string
constexpr std::uint64_t kEventSummary = 5;      // Summary
constexpr std::uint64_t kSummaryValue = 1;      // repeated Value
constexpr std::uint64_t kValueTag = 1;          // string
constexpr std::uint64_t kValueSimple = 2;       // float
constexpr std::uint64_t kValueHistogram = 5;    // HistogramProto
constexpr std::uint64_t kHistogramMin = 1;      // double, as all that follow
constexpr std::uint64_t kHistogramMax = 2;
constexpr std::uint64_t kHistogramNum = 3;
constexpr std::uint64_t kHistogramSum = 4;
constexpr std::uint64_t kHistogramSumSquares = 5;
constexpr std::uint64_t kHistogramLimit = 6;   // packed: the upper end of each bin
constexpr std::uint64_t kHistogramBucket = 7;  // packed: its count

template <class T>
void append_raw(std::string& to, T value) {
  char bytes[sizeof value];
  std::memcpy(bytes, &value, sizeof value);
  to.append(bytes, sizeof value);
}

void append_varint(std::string& to, std::uint64_t value) {
  for (; value >= 0x80; value >>= 7) to.push_back(static_cast<char>(value | 0x80));
  to.push_back(static_cast<char>(value));
}

void append_tag(std::string& to, std::uint64_t field, WireType type) { append_varint(to, field << 3 | type); }

void append_bytes(std::string& to, std::uint64_t field, std::string_view bytes) {
  append_tag(to, field, kBytes);
  append_varint(to, bytes.size());
  to.append(bytes);
}

void append_double(std::string& to, std::uint64_t field, double value) {
  append_tag(to, field, kFixed64);
  append_raw(to, value);
}

void append_wall_time(std::string& to, double seconds) { append_double(to, kEventWallTime, seconds); }

/// Sums are those of the bins' centres: the values themselves are gone.
std::string histogram_message(const Histogram& h) {
  const double width = (h.high - h.low) / static_cast<double>(std::max<std::size_t>(h.counts.size(), 1));
  double num = 0, sum = 0, sum_squares = 0;
  std::string limits, buckets;
  for (std::size_t i = 0; i < h.counts.size(); ++i) {
    const double centre = h.low + width * (static_cast<double>(i) + 0.5);
    num += h.counts[i];
    sum += h.counts[i] * centre;
    sum_squares += h.counts[i] * centre * centre;
    append_raw(limits, h.low + width * static_cast<double>(i + 1));
    append_raw(buckets, h.counts[i]);
  }
  std::string message;
  append_double(message, kHistogramMin, h.low);
  append_double(message, kHistogramMax, h.high);
  append_double(message, kHistogramNum, num);
  append_double(message, kHistogramSum, sum);
  append_double(message, kHistogramSumSquares, sum_squares);
  append_bytes(message, kHistogramLimit, limits);
  append_bytes(message, kHistogramBucket, buckets);
  return message;
}

std::optional<std::uint64_t> take_varint(std::string_view& from) {
  std::uint64_t value = 0;
  for (int shift = 0; shift < 64 && !from.empty(); shift += 7) {
    const auto byte = static_cast<unsigned char>(from.front());
    from.remove_prefix(1);
    value |= static_cast<std::uint64_t>(byte & 0x7F) << shift;
    if (byte < 0x80) return value;
  }
  return std::nullopt;
}

/// An event's step; 0 when the field is absent or the message is not understood.
std::int64_t step_of(std::string_view event) {
  while (!event.empty()) {
    const auto tag = take_varint(event);
    if (!tag) return 0;
    std::uint64_t skip = 0;
    switch (*tag & 7) {
      case kVarint: {
        const auto value = take_varint(event);
        if (!value || *tag >> 3 == kEventStep) return static_cast<std::int64_t>(value.value_or(0));
        break;
      }
      case kFixed64: skip = 8; break;
      case kFixed32: skip = 4; break;
      case kBytes: skip = take_varint(event).value_or(event.size() + 1); break;
      default: return 0;
    }
    if (skip > event.size()) return 0;
    event.remove_prefix(skip);
  }
  return 0;
}

double now_s() { return std::chrono::duration<double>(std::chrono::system_clock::now().time_since_epoch()).count(); }

std::filesystem::path new_event_file(const std::filesystem::path& directory) {
  std::filesystem::create_directories(directory);
  const auto seconds = static_cast<std::int64_t>(now_s());
  for (int i = 0;; ++i) {
    auto path = directory / fmt::format("events.out.tfevents.{}.lacuna.{}.{}", seconds, ::getpid(), i);
    if (!std::filesystem::exists(path)) return path;
  }
}

constexpr std::array<std::uint32_t, 256> make_crc_table() {
  std::array<std::uint32_t, 256> table{};
  for (std::uint32_t i = 0; i < 256; ++i) {
    std::uint32_t crc = i;
    for (int bit = 0; bit < 8; ++bit) crc = crc >> 1 ^ (crc & 1 ? 0x82F63B78u : 0u);  // Castagnoli, reflected
    table[i] = crc;
  }
  return table;
}
constexpr std::array<std::uint32_t, 256> kCrcTable = make_crc_table();

constexpr std::size_t kFrameHead = 12;  // u64 length, u32 checksum of it
constexpr std::size_t kFrameTail = 4;   // u32 checksum of the payload

}  // namespace

std::uint32_t crc32c(std::string_view bytes) {
  std::uint32_t crc = 0xFFFFFFFFu;
  for (char byte : bytes) crc = crc >> 8 ^ kCrcTable[(crc ^ static_cast<unsigned char>(byte)) & 0xFF];
  return crc ^ 0xFFFFFFFFu;
}

std::uint32_t masked_crc32c(std::string_view bytes) {
  const std::uint32_t crc = crc32c(bytes);
  return (crc >> 15 | crc << 17) + 0xA282EAD8u;
}

std::string tfrecord(std::string_view payload) {
  std::string record;
  append_raw(record, static_cast<std::uint64_t>(payload.size()));
  append_raw(record, masked_crc32c(record));
  record.append(payload);
  append_raw(record, masked_crc32c(payload));
  return record;
}

std::string file_version_event(double wall_time_s) {
  std::string event;
  append_wall_time(event, wall_time_s);
  append_bytes(event, kEventFileVersion, "brain.Event:2");
  return event;
}

std::string summary_event(double wall_time_s, std::int64_t step, const Scalars& scalars,
                          const std::vector<Histogram>& histograms) {
  std::string summary;
  for (const auto& [name, number] : scalars) {
    std::string value;
    append_bytes(value, kValueTag, name);
    append_tag(value, kValueSimple, kFixed32);
    append_raw(value, static_cast<float>(number));
    append_bytes(summary, kSummaryValue, value);
  }
  for (const Histogram& histogram : histograms) {
    std::string value;
    append_bytes(value, kValueTag, histogram.name);
    append_bytes(value, kValueHistogram, histogram_message(histogram));
    append_bytes(summary, kSummaryValue, value);
  }
  std::string event;
  append_wall_time(event, wall_time_s);
  append_tag(event, kEventStep, kVarint);
  append_varint(event, static_cast<std::uint64_t>(step));
  append_bytes(event, kEventSummary, summary);
  return event;
}

EventWriter::EventWriter(const std::filesystem::path& directory) : file_(new_event_file(directory), true) {
  file_.append(tfrecord(file_version_event(now_s())));
}

void EventWriter::write(std::int64_t step, const Scalars& scalars, const std::vector<Histogram>& histograms) {
  file_.append(tfrecord(summary_event(now_s(), step, scalars, histograms)));
}

void drop_events_after(const std::filesystem::path& directory, std::int64_t step) {
  if (!std::filesystem::is_directory(directory)) return;
  for (const auto& item : std::filesystem::directory_iterator(directory)) {
    if (item.path().filename().string().find("tfevents") == std::string::npos) continue;
    const std::string bytes = read_text_file(item.path());
    std::string kept;
    for (std::string_view rest = bytes; rest.size() >= kFrameHead + kFrameTail;) {
      std::uint64_t size = 0;
      std::memcpy(&size, rest.data(), sizeof size);
      if (size > rest.size() - kFrameHead - kFrameTail) break;  // torn by a kill
      const std::string_view record = rest.substr(0, kFrameHead + size + kFrameTail);
      if (step_of(record.substr(kFrameHead, size)) <= step) kept.append(record);
      rest.remove_prefix(record.size());
    }
    if (kept.size() != bytes.size()) write_file_atomically(item.path(), kept);
  }
}

}  // namespace lacuna
