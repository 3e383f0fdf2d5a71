#include "tools/signals.hh"

#include <csignal>
#include <initializer_list>

namespace pleach::tool {

namespace {
volatile std::sig_atomic_t stop_wanted = 0;
void on_signal(int) { stop_wanted = 1; }
}  // namespace

void install_signal_handlers() {
  struct sigaction stop = {};
  stop.sa_handler = on_signal;
  stop.sa_flags = static_cast<int>(SA_RESETHAND);
  sigemptyset(&stop.sa_mask);
  for (const int number : {SIGINT, SIGTERM, SIGHUP}) {
    struct sigaction before = {};
    // nohup and shells that start background jobs ignore some of them: so do we.
    if (sigaction(number, nullptr, &before) == 0 && before.sa_handler == SIG_IGN) continue;
    sigaction(number, &stop, nullptr);
  }
  signal(SIGPIPE, SIG_IGN);
  signal(SIGXFSZ, SIG_IGN);  // a limit on the size of files is an error like others
}

bool interrupted() { return stop_wanted != 0; }

}  // namespace pleach::tool
