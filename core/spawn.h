// core/spawn.h -- starting a process without copying the address space it is started from.
//
// A plan holds everything that needs memory (argument vector, environment, the places to look in), so run()
// makes system calls only: it is async-signal-safe, and a guard may call it between fork and exit. Until the
// new process executes its program it borrows our memory and we stand still, so a failure is known at once,
// with the step.
//
// What the program gets: the three descriptors and no other, every signal at its default and unblocked, our
// environment with the additions. Thread: any, one run() of a plan at a time.
#pragma once

#include <sys/types.h>

#include <string>
#include <utility>
#include <vector>

#include "core/bytes.h"

namespace banyan {

// Where the program's standard descriptors lead; -1: /dev/null.
struct Stdio {
  int in = -1, out = -1, err = -1;
};

struct SpawnOptions {
  std::vector<std::pair<std::string, std::string>> environment;  // added to ours; the last of a name counts
  std::string directory;                                         // empty: ours
  bool new_session = false;                                      // its own session and process group
  bool die_with_parent =
      false;  // SIGKILL when the thread that ran the plan ends: a booster, set-uid clears it
};

enum class SpawnStep : std::uint8_t { kFork, kDescriptors, kDirectory, kExecute };

struct Spawned {
  pid_t pid = -1;  // a child of ours, to be reaped by the caller; -1: not started
  SpawnStep step = SpawnStep::kFork;
  int error = 0;  // errno of that step
};

class SpawnPlan {
 public:
  // A program by its argument vector; argv[0] is looked up in the PATH of the new environment if it has no
  // slash. REQUIRES: no NUL in any of the strings, no '=' in a variable's name.
  SpawnPlan(std::vector<std::string> argv, SpawnOptions options);
  // An executable that is open already (a sealed memfd). The descriptor must stay open until run() has
  // returned.
  SpawnPlan(int executable, std::vector<std::string> argv, SpawnOptions options);
  SpawnPlan(SpawnPlan&&) = default;

  Spawned run(const Stdio& stdio) const;

 private:
  struct Child;
  static int child_main(void* child);

  int executable_ = -1;
  SpawnOptions options_;
  std::vector<std::string> argv_, environment_, candidates_;
  std::vector<char*> argv_pointers_, environment_pointers_;  // into those, and a null each
  mutable Buffer stack_;                                     // of the new process, until it executes
};

// Closes every descriptor from `first` on. Async-signal-safe.
void close_from(int first);

}  // namespace banyan
