// Goal: a host that falls silent without a word is told as lost in 10 to 20 seconds and leaves nothing; our
// own pause is not mistaken for that. Method: real processes stopped with SIGSTOP, three runs side by side
// because silence takes its time.
#include "tests/end_to_end/ssh.h"
#include "tests/support/slack.h"

using namespace banyan::test;
using banyan::cat;

namespace {

constexpr int kOurPauseMs = 10'000;

struct Run {
  explicit Run(const Sshd& server, const std::string& line)
      : program(over(server, "web", {"--json", "--sh", "echo up; " + line}), Program::Shape::kPipes, {mark}) {
    REQUIRE(program.wait_for("up\\n"));
    agent = marked(mark, "banyan-agent");
    REQUIRE(agent > 0);
  }

  const std::string mark = fresh_mark();
  Program program;
  pid_t agent = -1;
};

void check_lost(Run& run, const Stopwatch& since) {
  const Finished got = run.program.finish();
  const double seconds = since.seconds();
  CAPTURE(got.out, got.err, seconds);
  CHECK(got.code == 255);
  CHECK(seconds > 9);
  CHECK(seconds < 20 + kSmallSlack);
  const nlohmann::json fail = the_event(got.out, "fail");
  REQUIRE(fail.is_object());
  CHECK(fail["phase"] == "link");
  CHECK(fail["class"] == "lost");
  CHECK(fail["started"] == "yes");
}

}  // namespace

TEST_CASE("a silent host is lost after 10 to 20 seconds, and a pause of our own loses nobody") {
  if (!has_sshd()) return;
  const Sshd server;
  Run silent_agent(server, "sleep 300"), silent_server(server, "sleep 300"),
      paused(server, "sleep 2; echo done");
  const pid_t session = parent_of(silent_server.agent);
  ::kill(paused.program.pid(), SIGSTOP);
  ::kill(silent_agent.agent, SIGSTOP);
  ::kill(session, SIGSTOP);
  const Stopwatch since;

  ::poll(nullptr, 0, kOurPauseMs);
  ::kill(paused.program.pid(), SIGCONT);
  const Finished kept = paused.program.finish();
  CAPTURE(kept.out, kept.err);
  CHECK(kept.code == 0);
  CHECK(contains(kept.out, "done"));

  check_lost(silent_agent, since);
  check_lost(silent_server, since);
  // Behind a server that is silent for good the agent finds out by itself, and takes its command along.
  const auto end = std::chrono::steady_clock::now() + std::chrono::seconds(10);
  while (processes_marked(silent_server.mark).size() > 0 && std::chrono::steady_clock::now() < end)
    ::poll(nullptr, 0, 10);
  CHECK(processes_marked(silent_server.mark).empty());
  CHECK(since.seconds() < 26 + kSmallSlack);
  // What is stopped cannot end; once it may go on, it does.
  ::kill(session, SIGCONT);
  ::kill(silent_agent.agent, SIGCONT);
  CHECK(all_gone(silent_agent.mark));
}
