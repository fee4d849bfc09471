// A file that only grows, by whole records.
#pragma once

#include <filesystem>
#include <string_view>

namespace lacuna {

class AppendFile {
 public:
  /// Opens for appending, creates if need be; `must_be_new` refuses a file that exists. Throws Error.
  explicit AppendFile(std::filesystem::path path, bool must_be_new = false);
  AppendFile(AppendFile&& other) noexcept;
  AppendFile& operator=(AppendFile&&) = delete;
  AppendFile(const AppendFile&) = delete;
  AppendFile& operator=(const AppendFile&) = delete;
  ~AppendFile();

  /// Appends the bytes in one call, so that readers and a killed process see whole records. When the disk takes only a
  /// part, that part is cut off again and Error is thrown.
  void append(std::string_view bytes);
  const std::filesystem::path& path() const { return path_; }

 private:
  std::filesystem::path path_;
  int file_ = -1;
};

}  // namespace lacuna
