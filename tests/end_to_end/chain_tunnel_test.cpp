// Goal: at the end of a chain of hosts, each reachable only from the one before, a command runs as if it were
// here, and nothing is left on any of them. Method: machines of namespaces with real sshds, reached by ssh's
// own ProxyJump; what they hold before and after is compared.
#include <set>

#include "tests/end_to_end/chain.h"

using namespace banyan::test;
using banyan::cat;

TEST_CASE("machines of a chain are reached from the one before, and from nowhere else") {
  if (!has_chain()) return;
  TestedChain chain;
  for (const char name : {'A', 'B', 'C', 'D'}) {
    CAPTURE(name);
    const auto reaches = [&](Machine& from) {
      return from.run(
          cat("ssh-keyscan -T 1 -t ed25519 ", chain[name].address(), " 2>&1 | grep -c '^[0-9]' || :"));
    };
    Machine& before = name == 'A' ? chain.home() : chain[char(name - 1)];
    CHECK(reaches(before) == "1\n");
    if (name > 'A') CHECK(reaches(chain.home()) == "0\n");
  }
}

TEST_CASE("what is left on a machine of a chain is seen: a process, a file, one that was changed") {
  if (!has_chain()) return;
  TestedChain chain;
  CHECK(chain.leftovers() == std::vector<std::string>{});
  chain['B'].run(
      "sleep 1000 >/dev/null 2>&1 & echo x >/dev/shm/.banyan-x; echo >>/etc/hosts; rm /etc/shadow");
  const std::vector<std::string> left = chain.leftovers();
  REQUIRE(left.size() == 4);
  CHECK(contains(left[0], "sleep 1000"));
  CHECK(contains(left[1], "B: new file /dev/shm/.banyan-x"));
  CHECK(contains(left[2], "/etc/hosts was "));
  CHECK(contains(left[3], "/etc/shadow has gone"));
  chain.remember_files();
  ::kill(chain['B'].the("sleep"), SIGKILL);
}

TEST_CASE(
    "a chain ends at once whatever still runs in it, also what was left behind by who brought it there") {
  if (!has_chain()) return;
  const Stopwatch since;
  {
    Chain chain(TestedChain::with_programs({.length = 1}));
    Program program({"run", "local", "--sh", "echo up; sleep 600"}, Program::Shape::kPipes, {},
                    at_home(chain));
    REQUIRE(program.wait_for("up"));
  }
  CHECK(since.seconds() < 5 + kSlack);
}

TEST_CASE(
    "a command at the end of a chain of jump hosts is given its input, and its code and outputs come back") {
  if (!has_chain()) return;
  TestedChain chain;
  const Words ways[] = {{"-F", Chain::kTunnel}, {"-F", Chain::kRelay, "-J", "A,B,C"}};
  for (const Words& way : ways) {
    CAPTURE(way);
    const Finished got =
        run_at_home(chain, Words{"run"} + way + Words{"D", "--sh", "hostname; cat; echo e >&2; exit 7"},
                    "what was given\n");
    CHECK(got.code == 7);
    CHECK(got.out == "D\nwhat was given\n");
    CHECK(got.err == "e\n");
    CHECK(chain.is_quiet());
  }
}

TEST_CASE("a megabyte goes through a chain of jump hosts and back as it was") {
  if (!has_chain()) return;
  TestedChain chain;
  const std::string bytes = random_bytes(1 << 20);
  const Finished got = run_at_home(chain, {"run", "-F", Chain::kTunnel, "D", "--", "cat"}, bytes);
  CHECK(got.code == 0);
  CHECK((got.out == bytes));
  CHECK(got.err == "");
}

TEST_CASE("through jump hosts each machine of a chain is a child of the root, with its way there and back") {
  if (!has_chain()) return;
  TestedChain chain;
  const Finished got = run_at_home(chain, {"tree", "-F", Chain::kTunnel, "A,B,C,D", "--json"});
  CAPTURE(got.err);
  CHECK(got.code == 0);
  std::set<std::string> names;
  std::set<std::uint64_t> ids;
  for (const nlohmann::json& context : events_of(got.out)) {
    if (context.contains("event")) continue;
    names.insert(context.at("name").get<std::string>());
    ids.insert(context.at("context").get<std::uint64_t>());
    if (context.at("name") == "root") continue;
    CHECK(context.at("parent") == 0);
    CHECK(context.at("method") == "ssh");
    CHECK(context.at("rtt_us").get<std::uint64_t>() < 5'000'000);
  }
  CHECK(names == std::set<std::string>{"root", "A", "B", "C", "D"});
  CHECK(ids.size() == 5);
}

TEST_CASE("sudo at the first host of a chain, and at the last, makes another user of who was let in") {
  if (!has_chain()) return;
  TestedChain chain({.user = "ann"});
  for (const char* target : {"A/sudo:db", "D/sudo:db", "D/local/sudo:db"}) {
    CAPTURE(target);
    const Finished got =
        run_at_home(chain, {"run", "-F", Chain::kTunnel, target, "--sh", "hostname; id -un; exit 3"});
    CAPTURE(got.err);
    CHECK(got.code == 3);
    CHECK(got.out == cat(target[0], "\ndb\n"));
    CHECK(chain.is_quiet());
  }
}

TEST_CASE("a host of the chain that shows another key ends the way there, and nothing is begun behind it") {
  if (!has_chain()) return;
  TestedChain chain;
  for (const char changed : {'D', 'B'}) {
    CAPTURE(changed);
    chain[changed].change_host_key();
    const Finished got = run_at_home(chain, {"run", "-F", Chain::kTunnel, "D", "--json", "--", "true"});
    CAPTURE(got.out, got.err);
    check_failed(got, {.phases = "kex", .classes = "hostkey"});
    CHECK(chain.is_quiet());
  }
}
