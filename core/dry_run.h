// Dry runs: the host's side of a computation alone, to learn what memory it would take.
#pragma once

namespace lacuna {

/// While one lives, float kernels are left out on this thread and float tensors that are made have no memory: the device's
/// account (MemoryStats) counts them as ever, under no limit, but nothing may read them; copies, zeros and reads of them do
/// nothing and give zeros. Integers are real: tokens, targets, and patterns with all that is derived from them. Scratch
/// (core/visit.h) counts too. Tensors made so must die before anything real is computed from them.
class DryRun {
 public:
  DryRun();
  ~DryRun();
  DryRun(const DryRun&) = delete;
  DryRun& operator=(const DryRun&) = delete;
  static bool active();  ///< on this thread

 private:
  bool previous_;
};

}  // namespace lacuna
