#include <fmt/format.h>

#include <cstdio>

#include "app/commands.h"
#include "app/run_config.h"

namespace lacuna {

int explain_command(const ExplainArguments& arguments) {
  fmt::print("{}\n", explain_run_config(arguments.key));
  return kExitDone;
}

}  // namespace lacuna
