// Writing a file so that a reader finds the old one or the whole new one, whatever happens in between.
#pragma once

#include <sys/types.h>

#include <cstddef>
#include <filesystem>
#include <functional>
#include <string>
#include <vector>

namespace lacuna {

/// The system calls that write a file. Tests replace them to fail at a byte of their choice; all report through errno.
struct FileCalls {
  std::function<ssize_t(int file, const void* bytes, std::size_t size)> write;  ///< null: ::write
  std::function<int(int file)> sync;                                            ///< null: ::fsync
  std::function<int(const char* from, const char* to)> rename;                  ///< null: ::rename
};

/// Bytes that someone else keeps alive.
struct ByteSpan {
  const void* bytes = nullptr;
  std::size_t size = 0;
};

/// Writes the pieces, one after another, to `<path>.tmp-<pid>`, syncs it, renames it to path and syncs the directory.
/// Throws Error saying what failed and why. Then the temporary is gone and a file that was at path before is unharmed;
/// only when the last step, syncing the directory, fails, the new file is already there, whole.
void write_file_atomically(const std::filesystem::path& path, const std::vector<ByteSpan>& pieces,
                           const FileCalls& calls = {});
void write_file_atomically(const std::filesystem::path& path, const std::string& text);

/// Removes temporaries of the name above that no living process of this machine can still be writing: their process is
/// gone, or it is this one. Returns what was removed. Never throws.
std::vector<std::filesystem::path> remove_abandoned_files(const std::filesystem::path& directory);

/// The whole file. Throws Error.
std::string read_text_file(const std::filesystem::path& path);

}  // namespace lacuna
