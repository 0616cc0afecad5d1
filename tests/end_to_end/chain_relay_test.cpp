// Goal: at the end of a chain of hops a command runs as if it were here, whichever mix of relay and tunnel
// leads there; keys stay at home whatever a hop does; and nothing is left on any machine. Method: machines of
// namespaces with real sshds, each reached from the one before alone; on one of them `ssh` is replaced by
// what a hostile hop would put there; what all of them hold before and after is compared.
#include <map>
#include <set>

#include "tests/end_to_end/chain.h"

using namespace banyan::test;
using banyan::cat;

namespace {

constexpr const char* kUntilGo = "echo up; until [ -e /opt/go ]; do sleep 0.05; done; echo and on";

// From now on the key is in a key agent on home, and in no file. What is in /opt is not looked at.
struct KeyAgentAtHome {
  explicit KeyAgentAtHome(TestedChain& a_chain) : chain(a_chain) {
    home().write("/opt/askpass", "#!/bin/sh\necho open sesame\n", 0700);
    home().run(cat("ssh-agent -a /opt/agent >/dev/null; SSH_AUTH_SOCK=/opt/agent ssh-add -q ",
                   Chain::kUserKey, "; rm ", Chain::kUserKey,
                   "; sed -i 's,^IdentityAgent none,IdentityAgent /opt/agent,' ", Chain::kRelay));
    chain.remember_files();
  }
  ~KeyAgentAtHome() { ::kill(home().the("ssh-agent"), SIGTERM); }
  void lock(const char* option) {
    home().run(
        cat("SSH_AUTH_SOCK=/opt/agent SSH_ASKPASS=/opt/askpass SSH_ASKPASS_REQUIRE=force ssh-add ", option));
  }
  Machine& home() { return chain.home(); }

  TestedChain& chain;
};

}  // namespace

TEST_CASE("a command at the end of a chain of hops is given its input, and its code and outputs come back") {
  if (!has_chain()) return;
  TestedChain chain;
  for (const auto& [config, target] : {std::pair{Chain::kRelay, "A/B/C/D"}, {Chain::kMixed, "B/C/D"}}) {
    CAPTURE(target);
    const Finished got =
        run_at_home(chain, {"run", "-F", config, target, "--sh", "hostname; cat; echo e >&2; exit 7"},
                    "what was given\n");
    CHECK(got.code == 7);
    CHECK(got.out == "D\nwhat was given\n");
    CHECK(got.err == "e\n");
    CHECK(chain.is_quiet());
  }
}

TEST_CASE("a megabyte goes through a chain of hops and back as it was") {
  if (!has_chain()) return;
  TestedChain chain;
  const std::string bytes = random_bytes(1 << 20);
  const Finished got = run_at_home(chain, {"run", "-F", Chain::kRelay, "A/B/C/D", "--", "cat"}, bytes);
  CHECK(got.code == 0);
  CHECK((got.out == bytes));
  CHECK(got.err == "");
}

TEST_CASE("sudo at the end of a chain of hops, and at one of them, makes another user of who was let in") {
  if (!has_chain()) return;
  TestedChain chain({.user = "ann"});
  for (const auto& [target, host] : {std::pair{"A/B/C/D/sudo:db", "D"}, {"A/B/sudo:db", "B"}}) {
    CAPTURE(target);
    const Finished got =
        run_at_home(chain, {"run", "-F", Chain::kRelay, target, "--sh", "hostname; id -un; exit 3"});
    CAPTURE(got.err);
    CHECK(got.code == 3);
    CHECK(got.out == cat(host, "\ndb\n"));
    CHECK(chain.is_quiet());
  }
}

TEST_CASE("tree has each machine of a chain beneath the one before it, with its way there and back") {
  if (!has_chain()) return;
  TestedChain chain;
  const Finished got = run_at_home(chain, {"tree", "-F", Chain::kRelay, "A/B/C/D,A/B/local", "--json"});
  CAPTURE(got.out, got.err);
  CHECK(got.code == 0);
  std::map<std::string, nlohmann::json> contexts;
  std::set<std::uint64_t> ids;
  for (const nlohmann::json& context : events_of(got.out)) {
    if (context.contains("event")) continue;
    contexts[context.at("name")] = context;
    ids.insert(context.at("context").get<std::uint64_t>());
  }
  CHECK(ids.size() == 6);
  const auto check_beneath = [&](const char* name, const char* parent) {
    CAPTURE(name, parent);
    CHECK(contexts[name]["parent"] == contexts[parent]["context"]);
    CHECK(contexts[name]["rtt_us"].get<std::uint64_t>() > 0);
    CHECK(contexts[name]["rtt_us"].get<std::uint64_t>() < 5'000'000);
  };
  check_beneath("A", "root");
  check_beneath("B", "A");
  check_beneath("C", "B");
  check_beneath("D", "C");
  check_beneath("local", "B");
}

TEST_CASE(
    "a host beneath hops that shows another key than we know is not logged in to, and the hop is named") {
  if (!has_chain()) return;
  TestedChain chain;
  for (const char changed : {'D', 'C', 'A'}) {
    CAPTURE(changed);
    chain[changed].change_host_key();
    const std::string log = "/var/log/sshd";
    const std::size_t logins = count_of(read_file(chain[changed].outside(log)), "Accepted ");
    const Finished got = run_at_home(chain, {"run", "-F", Chain::kRelay, "A/B/C/D", "--json", "--", "true"});
    CAPTURE(got.out, got.err);
    check_failed(got, {.phases = "kex", .classes = "hostkey"});
    CHECK(count_of(read_file(chain[changed].outside(log)), "Accepted ") == logins);
    CHECK(chain.is_quiet());
  }
}

TEST_CASE("a key agent that is locked lets us in nowhere, and what was let in before goes on") {
  if (!has_chain()) return;
  TestedChain chain;
  KeyAgentAtHome agent(chain);
  RunAtHome run(chain, {"run", "-F", Chain::kRelay, "A/B/C/D", "--sh", kUntilGo});
  agent.lock("-x");
  check_failed(run_at_home(chain, {"run", "-F", Chain::kRelay, "A/B/C/D", "--json", "--", "true"}),
               {.phases = "auth", .classes = "auth"});
  chain['D'].run(": >/opt/go");
  CHECK(run.program.finish().out == "up\nand on\n");
  agent.lock("-X");
  CHECK(run_at_home(chain, {"run", "-F", Chain::kRelay, "A/B/C/D", "--", "true"}).code == 0);
}

TEST_CASE("a key agent that is locked while a host beneath a hop is being reached fails that host alone") {
  if (!has_chain()) return;
  TestedChain chain;
  KeyAgentAtHome agent(chain);
  replace_ssh(chain['B'], "while ! [ -e /opt/go ]; do sleep 0.05; done; exec /opt/ssh \"$@\"\n");
  Program program({"run", "-F", Chain::kRelay, "A,A/B/C/D", "--json", "--sh", "echo up"},
                  Program::Shape::kPipes, {}, at_home(chain));
  chain['B'].wait_for("ssh");
  agent.lock("-x");
  chain['B'].run(": >/opt/go");
  const Finished got = program.finish();
  CAPTURE(got.out, got.err);
  CHECK(got.code == 4);
  const nlohmann::json fail = the_event(got.out, "fail");
  REQUIRE(fail.is_object());
  CHECK(fail["target"] == "A/B/C/D");
  CHECK(fail["phase"] == "auth");
  CHECK(fail["class"] == "auth");
  CHECK(fail["started"] == "no");
  CHECK(the_event(got.out, "exit").value("target", "") == "A");
}

TEST_CASE("a hostile hop logs in nowhere but where we ordered it, and has nothing else signed") {
  if (!has_chain()) return;
  TestedChain chain;
  const std::string ssh =
      "/opt/ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o UserKnownHostsFile=/opt/known ";
  const std::string attacks[] = {
      cat(ssh, "ann@", chain['B'].address(), " echo got in"),   // another user
      cat(ssh, "root@", chain['A'].address(), " echo got in"),  // another host
      "ssh-add -L >/opt/key && echo x | ssh-keygen -Y sign -n file -f /opt/key",
      "ssh-add -D && echo got in; ssh-add -d /opt/key && echo got in",
  };
  replace_ssh(chain['A'], ". /opt/attack </dev/null >/opt/said 2>&1\nexec /opt/ssh \"$@\"\n");
  for (const std::string& attack : attacks) {
    chain['A'].write("/opt/attack", attack + "\n");
    const Finished got = run_at_home(chain, {"run", "-F", Chain::kRelay, "A/B", "--json", "--", "true"});
    const std::string said = read_file(chain['A'].outside("/opt/said"));
    CAPTURE(attack, said, got.out, got.err);
    CHECK_FALSE(said.empty());
    CHECK_FALSE(contains(said, "got in"));
    CHECK_FALSE(contains(said, "BEGIN SSH SIGNATURE"));
    CHECK_FALSE(contains(got.out, "--trust-hop"));
    CHECK_FALSE(contains(read_file(chain['B'].outside("/var/log/sshd")), "Accepted publickey for ann"));
    // Who asked for too much may be refused what was ordered as well.
    if (got.code != 0) CHECK(failure_in(got).value("class", "") == "auth");
    CHECK(chain.is_quiet());
  }
  CHECK(count_of(read_file(chain['A'].outside("/var/log/sshd")), "Accepted publickey") == std::size(attacks));
}

TEST_CASE("once a host beneath it is up a hop has no key agent of ours any more") {
  if (!has_chain()) return;
  TestedChain chain;
  replace_ssh(chain['A'],
              cat("{ until [ -e /opt/go ]; do sleep 0.05; done\n", "timeout 2 ssh-add -l && echo got in\n",
                  "timeout 5 /opt/ssh -F none -o BatchMode=yes -o StrictHostKeyChecking=no -o ",
                  "UserKnownHostsFile=/opt/known root@", chain['B'].address(), " echo got in\n",
                  ": >/opt/done; } </dev/null >/opt/said 2>&1 &\nexec /opt/ssh \"$@\"\n"));
  RunAtHome run(chain, {"run", "-F", Chain::kRelay, "A/B", "--json", "--sh", kUntilGo});
  chain['A'].run(": >/opt/go; for i in $(seq 200); do if [ -e /opt/done ]; then break; fi; sleep 0.05; done");
  chain['B'].run(": >/opt/go");
  const Finished got = run.program.finish();
  const std::string said = read_file(chain['A'].outside("/opt/said"));
  CAPTURE(said, got.out, got.err);
  CHECK(got.code == 0);
  CHECK_FALSE(said.empty());
  CHECK_FALSE(contains(said, "got in"));
  CHECK(count_of(read_file(chain['B'].outside("/var/log/sshd")), "Accepted publickey") == 1);
  CHECK(chain.is_quiet());
}
