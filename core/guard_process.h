// core/guard_process.h -- what runs in a guard process, and what it says to the context that forked it
// (core/guard.h).
#pragma once

#include "core/spawn.h"

namespace banyan {

// One datagram each, guard to context.
struct GuardReport {
  enum class Kind : std::int32_t { kStarted, kNotStarted, kEnded };
  Kind kind;
  std::int32_t value;  // the pid; the SpawnStep; the wait status
  std::int32_t extra;  // 0; errno; 1 if it was terminated
};

// Context to guard. The end of the socket means the same as kGuardTerminate.
constexpr char kGuardTerminate = 'T';
constexpr char kGuardKill = 'K';

// In the freshly forked process; calls nothing that is not async-signal-safe.
[[noreturn]] void run_guard(const SpawnPlan& plan, Stdio stdio, int control);

}  // namespace banyan
