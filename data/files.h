// Bytes of files: mapped, read, unzipped, gathered from a directory tree.
#pragma once

#include <cstdint>
#include <filesystem>
#include <memory>
#include <span>
#include <string>
#include <vector>

namespace lacuna {

/// Immutable bytes and whatever keeps them alive. Copies and slices share them.
struct Bytes {
  std::shared_ptr<const void> owner;
  std::span<const std::uint8_t> view;

  std::int64_t size() const { return static_cast<std::int64_t>(view.size()); }
  Bytes slice(std::int64_t begin, std::int64_t end) const {
    return {owner, view.subspan(static_cast<std::size_t>(begin), static_cast<std::size_t>(end - begin))};
  }
  static Bytes from(std::vector<std::uint8_t> values);
};

/// Maps a regular file for reading. The file must not shrink while it is mapped. Throws DataError.
Bytes map_file(const std::filesystem::path& path);

/// A regular file's bytes, unzipped when they begin with gzip's magic number. Throws DataError (missing, unreadable,
/// corrupt or truncated gzip, more than 4 GiB unzipped).
std::vector<std::uint8_t> read_maybe_gzip(const std::filesystem::path& path);

struct TreeOptions {
  /// Keep files whose path relative to the root ends in one of these (".cpp"), or matches it where it holds a '*' or
  /// '?' ("docs/*.md"; '*' crosses slashes). Empty keeps all.
  std::vector<std::string> extensions;
  bool shuffle = false;  ///< order the files by a permutation drawn from `seed` instead of by path
  std::uint64_t seed = 0;
  std::int64_t max_bytes = 0;  ///< stop after this many bytes; 0 = no limit
};

/// A file's bytes (mapped), or those of all regular files below a directory, one after another in the order of their
/// paths (bytewise, so it does not depend on locale). Symbolic links below the root are not followed.
/// Throws DataError when nothing remains.
Bytes read_tree(const std::filesystem::path& root, const TreeOptions& options);

}  // namespace lacuna
