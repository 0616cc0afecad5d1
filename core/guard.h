// core/guard.h -- a command and the process that watches over it.
//
// Between us and every command stands a guard: a process of its own, forked from this one, that adopts
// whatever the command forks out of sight. It holds one socket to us. When we say so over it, or it ends
// because we did, the guard ends the command and all that descends from it: SIGTERM now, SIGKILL after a
// second, until nobody is left. When the command ends by itself the guard says how and goes, and what runs on
// in the background runs on. What escapes: processes that turned into another user (they cannot be
// signalled), and, when the guard itself is killed, those that left the command's session.
//
// Thread: the loop's. In the guard process only async-signal-safe code runs, so a program with threads may
// fork one.
#pragma once

#include <memory>

#include "core/reaper.h"
#include "core/spawn.h"

namespace banyan {

constexpr Nanos kKillWaitMax =
    kSecond / 2;  // what the destructor of a guard waits for the end of its command

class Guard {
 public:
  class Owner {
   public:
    virtual void on_started(pid_t pid) = 0;
    virtual void on_not_started(SpawnStep step, int error) = 0;
    // The command has ended and is reaped. `terminated`: because it was told to; then nothing of it is left.
    // kStatusUnknown: it could not be ended, because it runs as another user.
    virtual void on_ended(int status, bool terminated) = 0;
    // The guard is reaped as well. The last call; it may destroy the guard.
    virtual void on_gone() = 0;

   protected:
    ~Owner() = default;
  };

  // The guard and the command get copies of the descriptors; the caller closes its own. `plan` is used before
  // this returns, and should be made with new_session and die_with_parent.
  static Result<std::unique_ptr<Guard>> start(Loop& loop, Owner& owner, const SpawnPlan& plan,
                                              const Stdio& stdio);
  Guard(const Guard&) = delete;
  Guard& operator=(const Guard&) = delete;
  ~Guard();  // kill(), and waits until it has, at most kKillWaitMax

  // SIGTERM to all, SIGKILL after kGrace. Again: no effect.
  void terminate();
  // SIGKILL to all, at once.
  void kill();

 private:
  Guard(Loop& loop, Owner& owner, Fd control, pid_t pid);
  void tell(char order);
  void on_readable();
  bool read_report();
  void on_guard_end();

  Loop& loop_;
  Owner& owner_;
  Fd control_;
  Loop::WatchId watch_ = 0;
  Loop::TimerId stuck_timer_ = 0;
  pid_t command_ = 0;
  bool ended_ = false;  // the command has, or was never started
  bool terminating_ = false;
  ChildProcess process_;
};

}  // namespace banyan
