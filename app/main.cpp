// The `lacuna` program: what must be set before anything runs, then the command line.
#include <unistd.h>

#include <csignal>
#include <cstdlib>

#include "app/command_line/command_line.h"
#include "train/signals.h"

namespace {

// OpenMP's teams spin between parallel regions, by default for milliseconds. With the cores to themselves that is fast; with
// anything else on them each region waits for a thread that a spinner keeps from running, and training is 10 to 40 times
// slower. The runtime reads its settings before main, so the program starts itself once more with a short spin.
void limit_spinning(char** argv) {
  if (std::getenv("OMP_WAIT_POLICY") || std::getenv("GOMP_SPINCOUNT")) return;  // the user's choice, or ours already
  setenv("GOMP_SPINCOUNT", "10000", 1);                                         // some 10 us
  execv("/proc/self/exe", argv);  // returns only where it is not possible; then nothing is lost
}

}  // namespace

int main(int argc, char** argv) {
  limit_spinning(argv);
  lacuna::keep_signals_off_computing_threads();
  // A file at its size limit is then an error of the write, which says what is still valid.
  std::signal(SIGXFSZ, SIG_IGN);
  return lacuna::run_command_line(argc, argv);
}
