// cli/tally.h -- how targets ended, and the exit code that follows from it (docs/cli.md).
#pragma once

#include "cli/events.h"

namespace banyan::cli {

constexpr int kExitTimeout = 124, kExitNotExecutable = 126, kExitNotFound = 127, kExitSignalBase = 128,
              kExitInterrupted = 130, kExitUsage = 2, kExitUnreachable = 255;

enum class Verdict {
  kOk,
  kFailed,       // the command ran, or could not be found or executed: `code` says how
  kTimeout,      // --timeout
  kNotStarted,   // reached, but no process to be had there
  kUnreachable,  // not reached, or lost on the way
  kCancelled,
};

struct Ending {
  Verdict verdict = Verdict::kOk;
  int code = 0;  // kOk, kFailed: as a shell gives it
};

class Tally {
 public:
  void add(const Ending& ending);
  const Counts& counts() const { return counts_; }
  // `one`: transparent. `maximum`: the largest code of any target, as with one.
  int exit_code(bool one, bool maximum) const;

 private:
  Counts counts_;
  int severity_ = 0;  // of many: 0, 1, 3 or 4
  int largest_ = 0;
};

}  // namespace banyan::cli
