// core/reaper.h -- waiting for a child process without blocking, and ending it.
//
// By a pidfd on the loop; where the kernel has none (before 5.3, some emulators), by asking ever more slowly.
// Thread: the loop's.
#pragma once

#include <sys/types.h>

#include "core/fd.h"
#include "core/loop.h"

namespace banyan {

constexpr Nanos kGrace = 1 * kSecond;  // between SIGTERM and SIGKILL, for everything we end
constexpr int kStatusUnknown = -1;  // somebody else reaped it: the program ignores SIGCHLD, or waits for all

class ChildProcess {
 public:
  // `pid` is a child of ours that nobody else waits for. `on_end` gets its wait status once, from the loop,
  // and may destroy this.
  // `leads_group`: it was started in a process group of its own; signals go to all of that, and what is left
  // of the group when it ends is killed.
  ChildProcess(Loop& loop, pid_t pid, bool leads_group, Function<void(int status)> on_end);
  ChildProcess(const ChildProcess&) = delete;
  ChildProcess& operator=(const ChildProcess&) = delete;
  // One that still runs is killed and reaped. That blocks until the kernel has ended it: for ever, if it
  // hangs in a system call that cannot be interrupted. Who minds ends it first.
  ~ChildProcess();

  pid_t pid() const { return pid_; }
  bool has_ended() const { return ended_; }
  void signal(int number);
  // SIGTERM now, and SIGCONT in case it was stopped; SIGKILL after kGrace.
  void end();
  // It is nobody's any more: neither it nor its group is ended with us. One that ends before us is reaped.
  void let_go() {
    leads_group_ = false;
    is_let_go_ = true;
  }

 private:
  void look();
  void end_group_of_the_dead() const;

  Loop& loop_;
  const pid_t pid_;
  bool leads_group_;
  Function<void(int)> on_end_;
  Fd pidfd_;
  Loop::WatchId watch_ = 0;
  Loop::TimerId look_timer_ = 0, kill_timer_ = 0;
  Nanos look_delay_ = kMillisecond;
  bool ended_ = false;
  bool is_let_go_ = false;
};

}  // namespace banyan
