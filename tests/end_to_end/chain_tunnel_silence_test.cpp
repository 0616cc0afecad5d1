// Goal: a wire of the way that goes silent, and a machine on it that stands still, are told in 10 to 20
// seconds, and nothing of ours is left running behind them; a wire that comes back earlier has cost nothing.
// Method: chains of machines side by side, since silence takes its time; a wire is cut without a word to
// either end.
#include "tests/end_to_end/chain.h"

using namespace banyan::test;
using banyan::cat;

namespace {

Words to_the_end(const std::string& line) {
  return {"run", "-F", Chain::kTunnel, "D", "--json", "-n", "--sh", "echo up; " + line};
}

void check_lost(RunAtHome& run) {
  const Finished got = run.program.finish();
  const double seconds = run.since.seconds();
  CAPTURE(got.out, got.err, seconds);
  CHECK(got.code == 255);
  CHECK(seconds > 9);
  CHECK(seconds < 20 + kSmallSlack);
  const nlohmann::json fail = failure_in(got);
  REQUIRE(fail.is_object());
  CHECK(fail["phase"] == "link");
  CHECK(fail["class"] == "lost");
  CHECK(fail["started"] == "yes");
}

// The agent at the end and its command, though nothing tells them.
bool is_over_at_the_end(Chain& chain) {
  const Stopwatch since;
  const auto runs = [&] {
    for (const Machine::Process& process : chain.last().processes())
      if (process.name != "sshd") return true;
    return false;
  };
  while (runs() && since.seconds() < 10 + kSmallSlack) ::poll(nullptr, 0, 20);
  return !runs();
}

constexpr int kShortCutMs = 6'000;
constexpr int kWireComesBackIn = 60;  // where the kernel waits as long again as it has waited

}  // namespace

TEST_CASE("a wire that is cut, or a host that stands still, is lost after its silence, and leaves nothing") {
  if (!has_chain()) return;
  TestedChain near, middle, stopped, short_cut;
  RunAtHome at_near(near, to_the_end("sleep 600")), at_middle(middle, to_the_end("sleep 600")),
      at_stopped(stopped, to_the_end("sleep 600")), at_short(short_cut, to_the_end("sleep 9; echo done"));
  near.cut('A');
  middle.cut('C');
  short_cut.cut('B');
  at_near.since = at_middle.since = Stopwatch();
  const pid_t session = stopped['B'].the("sshd");
  at_stopped.signal(session, SIGSTOP);

  ::poll(nullptr, 0, kShortCutMs);
  short_cut.mend('B');
  const Finished kept = at_short.program.finish();
  CAPTURE(kept.out, kept.err);
  CHECK(kept.code == 0);
  CHECK(contains(kept.out, "done"));

  check_lost(at_near);
  check_lost(at_middle);
  check_lost(at_stopped);
  // Nobody can tell them, and what of sshd waits there for its peer does so for as long as TCP would have it.
  CHECK(is_over_at_the_end(near));
  CHECK(is_over_at_the_end(middle));
  CHECK(is_over_at_the_end(stopped));
  near.mend('A');
  middle.mend('C');
  ::kill(session, SIGCONT);
  CHECK(near.is_quiet(kWireComesBackIn));
  CHECK(middle.is_quiet(kWireComesBackIn));
}
