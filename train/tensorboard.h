// TensorBoard event files: TFRecord framing around hand-encoded protocol buffers, scalars and histograms.
#pragma once

#include <cstdint>
#include <filesystem>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "train/append_file.h"

namespace lacuna {

using Scalars = std::vector<std::pair<std::string, double>>;

/// Counts in equal bins from low to high.
struct Histogram {
  std::string name;
  double low = 0;
  double high = 0;
  std::vector<double> counts;
};

/// CRC-32C (Castagnoli), and the masked form that TFRecord stores.
std::uint32_t crc32c(std::string_view bytes);
std::uint32_t masked_crc32c(std::string_view bytes);

/// One TFRecord: length, its checksum, the bytes, their checksum.
std::string tfrecord(std::string_view payload);

/// Serialised tensorflow.Event messages.
std::string file_version_event(double wall_time_s);
std::string summary_event(double wall_time_s, std::int64_t step, const Scalars& scalars,
                          const std::vector<Histogram>& histograms = {});

/// One event file of a run; TensorBoard merges all that lie in a directory. Each record is written by one call.
class EventWriter {
 public:
  /// Opens a new events.out.tfevents.* in `directory`, which it creates. Throws Error.
  explicit EventWriter(const std::filesystem::path& directory);
  /// Values become f32, as the format has them.
  void write(std::int64_t step, const Scalars& scalars, const std::vector<Histogram>& histograms = {});
  const std::filesystem::path& path() const { return file_.path(); }

 private:
  AppendFile file_;
};

/// Rewrites the event files of a directory without records of steps past `step` and without a torn last record, so
/// that a resumed run doubles nothing. Throws Error.
void drop_events_after(const std::filesystem::path& directory, std::int64_t step);

}  // namespace lacuna
