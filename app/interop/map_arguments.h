// Name maps as the command line gives them.
#pragma once

#include "app/commands.h"
#include "train/interop/name_map.h"

namespace lacuna {

/// Rules first, then files, each in the order given. Throws ConfigError, DataError.
inline interop::NameMap read_map(const MapArguments& arguments) {
  interop::NameMap map;
  for (const std::string& rule : arguments.rules) map.add(rule, "--map");
  for (const std::string& file : arguments.files) map.add_file(file);
  return map;
}

}  // namespace lacuna
