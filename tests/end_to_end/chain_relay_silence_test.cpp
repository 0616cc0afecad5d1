// Goal: a wire between two hops that goes silent, and a hop that stands still, are told in 10 to 20 seconds,
// and nothing of ours is left running behind them; one that comes back earlier has cost nothing. Method:
// chains of machines side by side, since silence takes its time; a wire is cut without a word to either end.
#include <optional>

#include "tests/end_to_end/chain.h"

using namespace banyan::test;

namespace {

Words to_the_end(const std::string& line) {
  return {"run", "-F", Chain::kRelay, "A/B/C/D", "--json", "-n", "--sh", "echo up; " + line};
}

constexpr int kShortMs = 6'000;

}  // namespace

TEST_CASE(
    "whichever wire of a chain of hops is cut, the end is lost after its silence, and nothing is left") {
  if (!has_chain()) return;
  TestedChain chains[4];
  std::optional<RunAtHome> runs[4];
  for (std::size_t i = 0; i < 4; ++i) runs[i].emplace(chains[i], to_the_end("sleep 600"));
  for (std::size_t i = 0; i < 4; ++i) {
    chains[i].cut(char('A' + i));
    runs[i]->since = Stopwatch();
  }
  double seconds[4] = {};
  for (std::size_t ended = 0; ended < 4 && runs[0]->since.seconds() < 60;) {
    ::poll(nullptr, 0, 20);
    ended = 0;
    for (std::size_t i = 0; i < 4; ++i) {
      runs[i]->program.look();
      if (seconds[i] == 0 && runs[i]->program.has_said("summary")) seconds[i] = runs[i]->since.seconds();
      if (seconds[i] != 0) ++ended;
    }
  }
  for (std::size_t i = 0; i < 4; ++i) {
    CAPTURE(i);
    check_lost(*runs[i], kAfterSilence, seconds[i]);
    CHECK(is_over_behind_a_cut(chains[i]));
    chains[i].mend(char('A' + i));
  }
  for (const TestedChain& chain : chains) CHECK(chain.is_quiet(kWireComesBackIn));
}

TEST_CASE("a hop that stands still is lost after its silence; a pause of one, or a short cut, loses nobody") {
  if (!has_chain()) return;
  TestedChain stopped, paused, short_cut;
  RunAtHome at_stopped(stopped, to_the_end("sleep 600")), at_paused(paused, to_the_end("sleep 9; echo done")),
      at_short(short_cut, to_the_end("sleep 9; echo done"));
  const pid_t still = stopped['B'].the("banyan-agent"), pausing = paused['B'].the("banyan-agent");
  at_stopped.signal(still, SIGSTOP);
  at_paused.signal(pausing, SIGSTOP);
  short_cut.cut('C');

  ::poll(nullptr, 0, kShortMs);
  at_paused.signal(pausing, SIGCONT);
  short_cut.mend('C');
  for (RunAtHome* run : {&at_paused, &at_short}) {
    const Finished kept = run->program.finish();
    CAPTURE(kept.out, kept.err);
    CHECK(kept.code == 0);
    CHECK(contains(kept.out, "done"));
  }

  REQUIRE(at_stopped.program.wait_for("summary"));
  check_lost(at_stopped, kAfterSilence);
  // What is stopped cannot end; once it may go on, it does.
  ::kill(still, SIGCONT);
  CHECK(stopped.is_quiet(20));
}
