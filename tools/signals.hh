// Ctrl-C and a closed pipe: a flag that long commands look at, and no death by SIGPIPE.
//
// I1 The first SIGINT, SIGTERM or SIGHUP only sets the flag; the second one kills, should a command
//    hang.
// I2 System calls are interrupted (no SA_RESTART), so that a wait for input ends too.
#pragma once

namespace pleach::tool {

void install_signal_handlers();
bool interrupted();

}  // namespace pleach::tool
