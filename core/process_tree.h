// core/process_tree.h -- signalling processes by what they descend from.
//
// All of it is async-signal-safe: a guard calls it between fork and exit. Needs /proc; says so when it is
// missing.
#pragma once

#include <sys/types.h>

namespace banyan {

struct Sweep {
  bool has_proc = false;  // else nobody was found, whoever there is
  int signalled = 0;
  int refused = 0;  // they run as somebody else
};

// Every living descendant of `root`, itself excepted, gets the signal (and SIGCONT after it unless it is
// SIGKILL, so that a stopped one acts on it). Those in process group `spared` (0: none) get none, and are not
// counted.
Sweep signal_descendants(pid_t root, int signal, pid_t spared);

// The same for every member of a session.
Sweep signal_session(pid_t session, int signal);

}  // namespace banyan
