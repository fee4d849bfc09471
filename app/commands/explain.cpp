#include <fmt/format.h>

#include <cstdio>

#include "app/commands.h"
#include "app/run_config.h"

namespace lacuna {

int explain_command(const std::string& key) {
  fmt::print("{}\n", explain_run_config(key));
  return kExitDone;
}

}  // namespace lacuna
