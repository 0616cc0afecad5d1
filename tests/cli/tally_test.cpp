// Goal: exit codes are those of docs/cli.md.
// Method: the table of that document.
#include "cli/tally.h"

#include <catch2/catch.hpp>

using namespace banyan::cli;

namespace {

int code(std::initializer_list<Ending> endings, bool one, bool maximum = false) {
  Tally tally;
  for (const Ending& ending : endings) tally.add(ending);
  return tally.exit_code(one, maximum);
}

}  // namespace

TEST_CASE("one target's exit code is transparent") {
  CHECK(code({{Verdict::kOk, 0}}, true) == 0);
  CHECK(code({{Verdict::kFailed, 3}}, true) == 3);
  CHECK(code({{Verdict::kFailed, kExitSignalBase + 9}}, true) == 137);
  CHECK(code({{Verdict::kFailed, kExitNotFound}}, true) == 127);
  CHECK(code({{Verdict::kFailed, kExitNotExecutable}}, true) == 126);
  CHECK(code({{Verdict::kTimeout, 0}}, true) == 124);
  CHECK(code({{Verdict::kUnreachable, 0}}, true) == 255);
  CHECK(code({{Verdict::kNotStarted, 0}}, true) == 255);
}

TEST_CASE("of many the most severe wins") {
  const Ending ok{Verdict::kOk, 0}, failed{Verdict::kFailed, 200}, timeout{Verdict::kTimeout, 0},
      not_started{Verdict::kNotStarted, 0}, unreachable{Verdict::kUnreachable, 0};
  CHECK(code({}, false) == 0);
  CHECK(code({ok, ok}, false) == 0);
  CHECK(code({ok, failed, ok}, false) == 1);
  CHECK(code({failed, timeout, ok}, false) == 3);
  CHECK(code({not_started, failed}, false) == 3);
  CHECK(code({unreachable, timeout, failed}, false) == 4);
  CHECK(code({failed, unreachable}, false) == 4);
}

TEST_CASE("-S gives the largest code of any target") {
  CHECK(code({{Verdict::kFailed, 3}, {Verdict::kFailed, 7}, {Verdict::kOk, 0}}, false, true) == 7);
  CHECK(code({{Verdict::kFailed, 3}, {Verdict::kTimeout, 0}}, false, true) == 124);
  CHECK(code({{Verdict::kFailed, 3}, {Verdict::kUnreachable, 0}}, false, true) == 255);
}

TEST_CASE("each ending is counted once") {
  Tally tally;
  for (Verdict verdict : {Verdict::kOk, Verdict::kFailed, Verdict::kNotStarted, Verdict::kTimeout,
                          Verdict::kUnreachable, Verdict::kCancelled, Verdict::kCancelled}) {
    tally.add({verdict, 0});
  }
  CHECK(tally.counts().ok == 1);
  CHECK(tally.counts().failed == 2);
  CHECK(tally.counts().timeout == 1);
  CHECK(tally.counts().unreachable == 1);
  CHECK(tally.counts().cancelled == 2);
}
