// Goal: a wire of the way that goes silent, and a machine on it that stands still, are told in 10 to 20
// seconds, and nothing of ours is left running behind them; a wire that comes back earlier has cost nothing.
// Method: chains of machines side by side, since silence takes its time; a wire is cut without a word to
// either end.
#include "tests/end_to_end/chain.h"

using namespace banyan::test;

namespace {

Words to_the_end(const std::string& line) {
  return {"run", "-F", Chain::kTunnel, "D", "--json", "-n", "--sh", "echo up; " + line};
}

constexpr int kShortCutMs = 6'000;

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

  for (RunAtHome* run : {&at_near, &at_middle, &at_stopped}) {
    const nlohmann::json fail = check_lost(*run, kAfterSilence);
    CHECK(fail["class"] == "lost");
    CHECK(fail["started"] == "yes");
  }
  for (RunAtHome* run : {&at_near, &at_middle, &at_stopped}) CHECK(is_over_behind_a_cut(run->chain));
  near.mend('A');
  middle.mend('C');
  ::kill(session, SIGCONT);
  CHECK(near.is_quiet(kWireComesBackIn));
  CHECK(middle.is_quiet(kWireComesBackIn));
}
