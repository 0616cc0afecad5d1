// tests/end_to_end/chain.h -- banyan at the head of a chain of machines, and who is who along it.
#pragma once

#include "tests/end_to_end/ssh.h"
#include "tests/support/chain.h"
#include "tests/support/not_tested.h"

namespace banyan::test {

// Can we make one? If not, it is said, and the test is passed over.
inline bool has_chain() {
  if (!has_sshd()) return false;
  const std::string lacks = lacks_for_chains();
  // Namespaces only the machine's owner can grant, as mounts; what is not installed is another matter.
  if (!lacks.empty()) not_tested(contains(lacks, "only for root") ? "mounts" : "chain", lacks);
  return lacks.empty();
}

// One with our program, which must be left as it was.
class TestedChain : public Chain {
 public:
  explicit TestedChain(Options options = {}) : Chain(with_programs(std::move(options))) {}
  ~TestedChain() {
    is_quiet();
    for (const std::string& left : leftovers()) FAIL_CHECK("left in the chain: " << left);
  }

  static Options with_programs(Options options) {
    options.server = find_server("sshd");
    const std::string program = BANYAN_PROGRAM;
    options.folders["/opt/banyan"] = program.substr(0, program.rfind('/'));
    return options;
  }
};

// Words that run the program on home.
inline Words at_home(Chain& chain, const Words& environment = {}) {
  Words words = chain.home().starter();
  words.insert(words.end(), environment.begin(), environment.end());
  words.insert(words.end(), {"sh", "-c", "shift; exec /opt/banyan/banyan \"$@\"", "sh"});
  return words;
}

inline Words operator+(Words words, const Words& more) {
  words.insert(words.end(), more.begin(), more.end());
  return words;
}

inline Finished run_at_home(Chain& chain, const Words& arguments, std::string_view input = {},
                            const Words& environment = {}) {
  ::signal(SIGPIPE, SIG_IGN);
  Program program(arguments, Program::Shape::kPipes, {}, at_home(chain, environment));
  return program.finish(input);
}

// A run whose command has said "up". Its own process is the one that brought it to home; it is at("banyan").
struct RunAtHome {
  Chain& chain;
  Program program;
  Stopwatch since;  // the last thing that was done to it

  RunAtHome(Chain& a_chain, const Words& arguments, const Words& environment = {})
      : chain(a_chain), program(arguments, Program::Shape::kPipes, {}, at_home(a_chain, environment)) {
    const bool is_up = program.wait_for("up") && program.has_said("up");
    INFO(program.err());
    REQUIRE(is_up);
  }
  void signal(pid_t pid, int number) {
    REQUIRE(pid > 0);
    REQUIRE(::kill(pid, number) == 0);
    since = Stopwatch();
  }
};

// On that machine the program of that name is this shell script; the real one is in /opt. What is in there is
// not looked at.
inline void replace(Machine& machine, const std::string& program, const std::string& script) {
  machine.run(cat("cp -p /usr/bin/", program, " /opt/", program));
  machine.write(cat("/opt/other_", program), "#!/bin/sh\n" + script, 0755);
  machine.run(cat("mount --bind /opt/other_", program, " /usr/bin/", program));
}
inline void replace_ssh(Machine& machine, const std::string& script) {
  replace(machine, "ssh", script);
}

// Of the last failure that was told. Null: there was none.
inline nlohmann::json failure_in(const Finished& got) {
  nlohmann::json failure;
  for (const nlohmann::json& event : events_of(got.out))
    if (event.value("event", "") == "fail") failure = event;
  return failure;
}

inline void check_clean(const Chain& chain) {
  CHECK(chain.is_quiet());
  CHECK(chain.leftovers() == std::vector<std::string>{});
}

// In seconds: when who waits is told of a loss.
struct Told {
  double from, to;
};
constexpr Told kAtOnce{0, 2 + kSlack}, kAfterSilence{9, 20 + kSmallSlack};

// Takes the end of a run that lost its command while that ran, and what was told of it. `seconds`: after how
// many of them; 0: when the run has ended.
inline nlohmann::json check_lost(RunAtHome& run, Told bound, double seconds = 0) {
  const Finished got = run.program.finish();
  if (seconds == 0) seconds = run.since.seconds();
  CAPTURE(got.out, got.err, seconds);
  CHECK(got.code == 255);
  CHECK(seconds >= bound.from);
  CHECK(seconds < bound.to);
  nlohmann::json fail = failure_in(got);
  REQUIRE(fail.is_object());
  CHECK(fail["phase"] == "link");
  CHECK(contains("dead lost", fail["class"].get<std::string>()));
  CHECK(contains("yes unknown", fail["started"].get<std::string>()));
  return fail;
}

// Agents and commands on all machines end behind a wire that is cut, though nobody tells them. What of ssh
// and sshd waits there for its peer does so for as long as TCP would have it.
inline bool is_over_behind_a_cut(Chain& chain) {
  const Stopwatch since;
  const auto runs = [&] {
    for (std::size_t i = 0; i < chain.length(); ++i)
      for (const Machine::Process& process : chain[char('A' + i)].processes())
        if (process.name != "sshd" && process.name != "ssh") return true;
    return false;
  };
  while (runs() && since.seconds() < 10 + kSmallSlack) ::poll(nullptr, 0, 20);
  return !runs();
}
constexpr int kWireComesBackIn = 60;  // where the kernel waits as long again as it has waited

}  // namespace banyan::test
