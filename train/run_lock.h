// One process at a time writes into a run's directory.
#pragma once

#include <filesystem>

namespace lacuna {

/// Held while a process trains in a directory. It is an flock of the directory itself: no file is made, and it goes with its
/// process however that ends. File systems that know no such lock are used without one.
class RunLock {
 public:
  /// Throws Error when another process holds it, or the directory cannot be opened.
  explicit RunLock(const std::filesystem::path& directory);
  ~RunLock();
  RunLock(const RunLock&) = delete;
  RunLock& operator=(const RunLock&) = delete;

 private:
  int file_ = -1;
};

}  // namespace lacuna
