// Goal: whichever process of a way through jump hosts is killed while a command runs at its end, who waits is
// told soon and rightly, and nothing is left on any of the machines. Method: a chain of machines; each
// process that takes part is found on its machine by its name, and gets SIGKILL.
#include "tests/end_to_end/chain.h"

using namespace banyan::test;

namespace {

Words to_the_end(const std::string& line) {
  return {"run", "--ssh", "openssh", "-F", Chain::kTunnel, "D", "--json", "-n", "--sh", "echo up; " + line};
}

void check_lost_and_clean(RunAtHome& run) {
  CHECK(check_lost(run, kAtOnce)["started"] == "yes");
  check_clean(run.chain);
}

}  // namespace

TEST_CASE("when the program at the head of a chain of jump hosts is killed nothing is left anywhere") {
  if (!has_chain()) return;
  TestedChain chain;
  RunAtHome run(chain, to_the_end("trap '' TERM HUP; sleep 600 & sleep 600"));
  run.signal(chain.home().the("banyan"), SIGKILL);
  CHECK(run.program.finish().code == 1000 + SIGKILL);
  check_clean(chain);
}

TEST_CASE("when an ssh of the root is killed, and be it to a host on the way, the host behind is lost") {
  if (!has_chain()) return;
  TestedChain chain;
  constexpr std::size_t kSshs = 4;  // one to each
  for (std::size_t i = 0; i < kSshs; ++i) {
    CAPTURE(i);
    RunAtHome run(chain, to_the_end("sleep 600"));
    std::vector<pid_t> found;
    // A listing of processes that come and go may miss one.
    for (int look = 0; look < 100 && found.size() != kSshs; ++look) {
      found.clear();
      for (const Machine::Process& process : chain.home().processes())
        if (process.name == "ssh") found.push_back(process.pid);
    }
    REQUIRE(found.size() == kSshs);
    run.signal(found[i], SIGKILL);
    check_lost_and_clean(run);
  }
}

TEST_CASE("when the server's session at any host of a chain is killed the last one is lost") {
  if (!has_chain()) return;
  TestedChain chain;
  for (const char name : {'A', 'B', 'C', 'D'}) {
    CAPTURE(name);
    RunAtHome run(chain, to_the_end("sleep 600"));
    run.signal(chain[name].the("sshd"), SIGKILL);
    check_lost_and_clean(run);
  }
}

TEST_CASE("when the agent at the end of a chain is killed that is said, and its command is gone") {
  if (!has_chain()) return;
  TestedChain chain;
  RunAtHome run(chain, to_the_end("sleep 600"));
  run.signal(chain['D'].the("banyan-agent"), SIGKILL);
  check_lost_and_clean(run);
}

TEST_CASE("when the command at the end of a chain is killed its signal is told") {
  if (!has_chain()) return;
  TestedChain chain;
  RunAtHome run(chain, to_the_end("exec sleep 600"));
  run.signal(chain['D'].wait_for("sleep"), SIGKILL);
  const Finished got = run.program.finish();
  CAPTURE(got.out, got.err);
  CHECK(got.code == 128 + SIGKILL);
  CHECK(the_event(got.out, "exit").value("signal", "") == "SIGKILL");
  check_clean(chain);
}
