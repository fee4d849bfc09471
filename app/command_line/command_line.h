// From argv to an exit code.
#pragma once

namespace lacuna {

/// Parses the command line, runs the command it names and returns what main returns. Errors are printed, none leaves.
int run_command_line(int argc, char** argv);

}  // namespace lacuna
