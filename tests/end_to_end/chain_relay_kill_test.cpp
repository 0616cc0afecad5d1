// Goal: whichever process of a chain of hops is killed while a command runs at its end, who waits is told
// soon and rightly, and nothing is left on any of the machines. Method: a chain of machines; each process
// that takes part is found on its machine by its name, and gets SIGKILL.
#include "tests/end_to_end/chain.h"

using namespace banyan::test;
using banyan::cat;

namespace {

const Words kRun = {"run", "-F", Chain::kRelay, "A/B/C/D", "--json", "-n", "--sh", "echo up; sleep 600"};

// `hop`: whose end it is, said in the error; empty: of nobody in between.
void check_lost_with(const std::string& hop, RunAtHome& run) {
  const nlohmann::json fail = check_lost(run, kAtOnce);
  CAPTURE(fail);
  if (!hop.empty()) CHECK(contains(fail["error"].get<std::string>(), cat("hop ", hop, ":")));
  check_clean(run.chain);
}

}  // namespace

TEST_CASE("when the program at the head of a chain of hops is killed nothing is left anywhere") {
  if (!has_chain()) return;
  TestedChain chain;
  for (const char* line : {"echo up; sleep 600", "trap '' TERM HUP; echo up; sleep 600 & sleep 600"}) {
    CAPTURE(line);
    RunAtHome run(chain, {"run", "-F", Chain::kRelay, "A/B/C/D", "-n", "--sh", line});
    run.signal(chain.home().the("banyan"), SIGKILL);
    CHECK(run.program.finish().code == 1000 + SIGKILL);
    check_clean(chain);
  }
}

TEST_CASE("when who speaks SSH to the first hop is killed all beneath it is lost") {
  if (!has_chain()) return;
  TestedChain chain;
  for (const auto& [back_end, name] : {std::pair{"openssh", "ssh"}, {"libssh2", "banyan-connecto"}}) {
    CAPTURE(back_end);
    Words words = kRun;
    words.insert(words.begin() + 1, {"--ssh", back_end});
    RunAtHome run(chain, words);
    std::vector<pid_t> found;
    for (const Machine::Process& process : chain.home().processes())
      if (process.name == name) found.push_back(process.pid);
    REQUIRE_FALSE(found.empty());
    run.signal(found[0], SIGKILL);
    for (const pid_t pid : found) ::kill(pid, SIGKILL);  // of the others some end by themselves
    check_lost_with("A", run);
  }
}

TEST_CASE(
    "when a hop of a chain, its ssh or the server's session there is killed, the end is lost and the hop "
    "named") {
  if (!has_chain()) return;
  TestedChain chain;
  const std::string paths[] = {"A", "A/B", "A/B/C", ""};
  for (const char name : {'A', 'B', 'C', 'D'}) {
    for (const char* role : {"banyan-agent", "sshd", "ssh"}) {
      if (name == 'D' && std::string_view(role) == "ssh") continue;
      CAPTURE(name, role);
      RunAtHome run(chain, kRun);
      run.signal(chain[name].the(role), SIGKILL);
      // Its ssh is the way to the next one.
      check_lost_with(paths[std::size_t(name - 'A') + (std::string_view(role) == "ssh" ? 1 : 0)], run);
    }
  }
}

TEST_CASE("where a tunnel leads to the first hop, whoever is killed of it takes what lies beneath along") {
  if (!has_chain()) return;
  TestedChain chain;
  for (const auto& [name, role] : {std::pair{'A', "sshd"}, {'B', "sshd"}, {'B', "banyan-agent"}}) {
    CAPTURE(name, role);
    RunAtHome run(chain, {"run", "-F", Chain::kMixed, "B/C/D", "--json", "-n", "--sh", "echo up; sleep 600"});
    run.signal(chain[name].the(role), SIGKILL);
    check_lost_with("B", run);
  }
}

TEST_CASE("when the command at the end of a chain of hops is killed its signal is told") {
  if (!has_chain()) return;
  TestedChain chain;
  RunAtHome run(chain,
                {"run", "-F", Chain::kRelay, "A/B/C/D", "--json", "-n", "--sh", "echo up; exec sleep 600"});
  run.signal(chain['D'].wait_for("sleep"), SIGKILL);
  const Finished got = run.program.finish();
  CAPTURE(got.out, got.err);
  CHECK(got.code == 128 + SIGKILL);
  CHECK(the_event(got.out, "exit").value("signal", "") == "SIGKILL");
  check_clean(chain);
}

TEST_CASE(
    "when the program, or a hop, is killed while a host beneath hops is being reached nothing is left") {
  if (!has_chain()) return;
  TestedChain chain;
  replace_ssh(chain['C'], "sleep 600\n");
  for (const char* killed : {"banyan", "banyan-agent"}) {
    CAPTURE(killed);
    Program program(kRun, Program::Shape::kPipes, {}, at_home(chain));
    chain['C'].wait_for("sleep");
    const bool is_root = std::string_view(killed) == "banyan";
    const Machine& machine = is_root ? chain.home() : chain['B'];
    REQUIRE(::kill(machine.the(killed), SIGKILL) == 0);
    const Finished got = program.finish();
    CAPTURE(got.out, got.err);
    if (is_root) {
      CHECK(got.code == 1000 + SIGKILL);
    } else {
      CHECK(got.code == 255);
      CHECK(failure_in(got).value("started", "") == "no");
      CHECK(contains(failure_in(got).value("error", ""), "hop A/B:"));
    }
    check_clean(chain);
  }
}
