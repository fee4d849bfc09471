#include <fmt/format.h>

#include <cstdio>

#include "app/commands.h"
#include "app/run_config.h"
#include "train/config/load.h"

namespace lacuna {

int explain_command(const std::string& key) {
  fmt::print("{}\n", config::explain_config<RunConfig>(key));
  return kExitDone;
}

}  // namespace lacuna
