#include <new>

#include "app/commands.h"
#include "core/errors.h"

namespace lacuna {

int exit_code_of(const std::exception& error) {
  const auto is = [&error]<class E>(const E*) { return dynamic_cast<const E*>(&error) != nullptr; };
  if (is(static_cast<const ConfigError*>(nullptr))) return kExitConfig;
  if (is(static_cast<const CheckpointError*>(nullptr))) return kExitData;
  if (is(static_cast<const DataError*>(nullptr))) return kExitData;
  if (is(static_cast<const DivergedError*>(nullptr))) return kExitDiverged;
  if (is(static_cast<const OutOfMemoryError*>(nullptr))) return kExitOutOfMemory;
  if (is(static_cast<const std::bad_alloc*>(nullptr))) return kExitOutOfMemory;
  return kExitRuntime;
}

}  // namespace lacuna
