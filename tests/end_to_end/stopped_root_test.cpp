// Goal: a root that was stopped for longer than its tree waits finds on waking that it has ended, says so
// once and at once, and judges nobody by the time it slept. Method: the real program with a path of three and
// a command; SIGSTOP for a minute, as a laptop that sleeps; then SIGCONT, and one target more that is started
// afterwards. It takes its minute, with the times that everybody has.
#include <nlohmann/json.hpp>

#include "tests/end_to_end/program.h"
#include "tests/support/slack.h"

using namespace banyan::test;
using banyan::cat;

namespace {

double seconds_since(std::chrono::steady_clock::time_point when) {
  return std::chrono::duration<double>(std::chrono::steady_clock::now() - when).count();
}

}  // namespace

TEST_CASE(
    "a root stopped for a minute finds its tree ended, says so once, and judges no later peer by that") {
  constexpr double kStopped = 60, kTreeEnds = 25;
  const std::string mark = fresh_mark();
  // One after the other: the second one's context comes up after the minute.
  Program program(
      {"run", "local/local/local,local2", "-f", "1", "--json", "--", "sh", "-c", "echo up; sleep 600"},
      Program::Shape::kPipes, {mark});
  REQUIRE(program.wait_for("up"));
  CHECK(processes_marked(mark).size() > 4);  // itself, the path, the command
  const auto stopped = std::chrono::steady_clock::now();

  program.signal(SIGSTOP);

  while (processes_marked(mark).size() > 1 && seconds_since(stopped) < kTreeEnds + kSmallSlack)
    ::poll(nullptr, 0, 100);
  CHECK(processes_marked(mark) == std::vector<pid_t>{program.pid()});
  const double ended = seconds_since(stopped);
  CHECK(ended > 15);  // not at the first silence
  CHECK(ended < kTreeEnds + kSmallSlack);
  while (seconds_since(stopped) < kStopped) ::poll(nullptr, 0, 100);
  const auto woken = std::chrono::steady_clock::now();
  program.signal(SIGCONT);
  CHECK(program.wait_for("\"event\":\"fail\""));
  CHECK(seconds_since(woken) < 1 * kSmallSlack);
  // The later one lives through more than a heartbeat.
  const auto is_second_up = [](const std::string& out, const std::string&) {
    return count_of(out, "\"up\\n\"") == 2;
  };
  CHECK(program.wait_until(is_second_up));
  ::poll(nullptr, 0, 6'000);
  program.signal(SIGTERM);
  const Finished got = program.finish();
  int failures = 0;
  for (const std::string& line : lines_of(got.out)) {
    const nlohmann::json event = nlohmann::json::parse(line);
    if (event.at("event") != "fail") continue;
    if (event.at("target") == "local2") {
      CHECK(event.at("class") == "cancelled");  // by us
      continue;
    }
    ++failures;
    CHECK(event.at("class") == "lost");
    CHECK(event.at("started") == "yes");
  }
  CHECK(failures == 1);
  CHECK(got.code == 128 + SIGTERM);
  CHECK(all_gone(mark));
}
