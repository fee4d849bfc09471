#include "train/signals.h"

#include <pthread.h>
#include <signal.h>
#include <unistd.h>

#include <system_error>
#include <thread>

namespace lacuna {
namespace {

// What a thread's own instruction raises must reach that thread.
sigset_t asynchronous_signals() {
  sigset_t set;
  sigfillset(&set);
  for (const int own : {SIGSEGV, SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGABRT, SIGSYS, SIGPIPE, SIGXFSZ})
    sigdelset(&set, own);
  return set;
}

}  // namespace

void keep_signals_off_computing_threads() {
  const sigset_t set = asynchronous_signals();
  sigset_t before;
  if (pthread_sigmask(SIG_BLOCK, &set, &before) != 0) return;
  try {
    std::thread([before] {
      pthread_sigmask(SIG_SETMASK, &before, nullptr);
      for (;;) pause();
    }).detach();
  } catch (const std::system_error&) {
    pthread_sigmask(SIG_SETMASK, &before, nullptr);
  }
}

}  // namespace lacuna
