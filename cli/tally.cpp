#include "cli/tally.h"

#include <algorithm>

namespace banyan::cli {

void Tally::add(const Ending& ending) {
  int severity = 0, code = ending.code;
  switch (ending.verdict) {
    case Verdict::kOk:
      ++counts_.ok;
      break;
    case Verdict::kFailed:
      ++counts_.failed;
      severity = 1;
      break;
    case Verdict::kTimeout:
      ++counts_.timeout;
      severity = 3;
      code = kExitTimeout;
      break;
    case Verdict::kNotStarted:
      ++counts_.failed;
      severity = 3;
      code = kExitUnreachable;
      break;
    case Verdict::kUnreachable:
      ++counts_.unreachable;
      severity = 4;
      code = kExitUnreachable;
      break;
    case Verdict::kCancelled:
      ++counts_.cancelled;
      severity = 3;
      code = kExitInterrupted;
      break;
  }
  severity_ = std::max(severity_, severity);
  largest_ = std::max(largest_, code);
}

int Tally::exit_code(bool one, bool maximum) const {
  return one || maximum ? largest_ : severity_;
}

}  // namespace banyan::cli
