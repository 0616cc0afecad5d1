// core/process_tree.h -- signalling processes: the one that is meant, and those that descend from it.
//
// All of it is async-signal-safe: a guard calls it between fork and exit. Needs /proc; says so when it is
// missing.
#pragma once

#include <sys/types.h>

#include <cstdint>

namespace banyan {

// The kernel's calls of these names; -1 and errno where there are none (before 5.3, some emulators).
int open_pidfd(pid_t pid);
int send_by_pidfd(int pidfd, int signal);

// A process as /proc told it. Its number may have another owner since; when it started tells them apart.
struct Process {
  pid_t pid = 0, parent = 0, group = 0, session = 0;
  std::int64_t started = 0;  // in the kernel's ticks
};

// False for one that has ended, wholly or but for its parent's asking.
bool read_process(pid_t pid, Process& process);

// The signal for that process and for no later one with its number (and SIGCONT after it unless it is
// SIGKILL, so that a stopped one acts on it). Where the kernel has no pidfd a moment remains
// between the last look and the signal. 0, or an errno: ESRCH when it is no more.
int signal_process(const Process& process, int signal);

struct Sweep {
  bool has_proc = false;  // else nobody was found, whoever there is
  int signalled = 0;
  int refused = 0;  // they run as somebody else
};

// Every living descendant of `root`, itself excepted, gets the signal as by signal_process(). Those in
// process group `spared` (0: none) get none, and are not counted.
Sweep signal_descendants(pid_t root, int signal, pid_t spared);

// The same for every member of a session.
Sweep signal_session(pid_t session, int signal);

}  // namespace banyan
