// Goal: the line that says how far a run is: what it says, and that no terminal is too narrow for it.
// Method: counts in, text out.
#include "cli/progress.h"

#include <catch2/catch.hpp>

using namespace banyan;
using namespace banyan::cli;

namespace {

ProgressCounts some_counts() {
  ProgressCounts counts;
  counts.total = 100;
  counts.over = 12;
  counts.reaching[std::size_t(Phase::kConnect)] = 3;
  counts.reaching[std::size_t(Phase::kAuth)] = 5;
  counts.running = 2;
  counts.failed = 1;
  return counts;
}

}  // namespace

TEST_CASE("progress counts what is over, what is on its way by phase, what runs and what failed") {
  CHECK(progress_text(some_counts(), 4'250 * kMillisecond, true, 80) ==
        "12/100 · 3 connect · 5 auth · 2 running · 1 failed · 4.2s");
  CHECK(progress_text(some_counts(), 4'250 * kMillisecond, false, 80) ==
        "12/100, 3 connect, 5 auth, 2 running, 1 failed, 4.2s");
  CHECK(progress_text({.total = 3}, 0, true, 80) == "0/3 · 0.0s");
}

TEST_CASE(
    "progress is narrower than the terminal, with the echo of a key behind it, and tears no character") {
  const std::string whole = progress_text(some_counts(), 0, true, 200);
  for (std::size_t columns = 0; columns < 100; ++columns) {
    const std::string line = progress_text(some_counts(), 0, true, columns);
    CAPTURE(columns, line);
    if (columns > kEchoColumns) CHECK(columns_of(line) + kEchoColumns < columns);
    if (columns <= kEchoColumns + 1) CHECK(line.empty());
    CHECK(whole.starts_with(line));
    CHECK((line.size() == whole.size() || (static_cast<unsigned char>(whole[line.size()]) & 0xc0) != 0x80));
  }
}
