// Goal: a host beneath a hop is reached by the hop's own ssh, with host keys and signatures from home, and
// says in plain words what is wrong where it cannot be.
// Method: real sshds on loopback, of which one is a hop and the next lies beneath it; keys in files and in a
// real key agent; what runs at the hop is looked at.
#include <filesystem>
#include <fstream>

#include "tests/end_to_end/person.h"
#include "tests/end_to_end/questions.h"
#include "tests/end_to_end/ssh.h"
#include "tests/support/fake_server.h"
#include "tests/support/key_agent.h"

using namespace banyan::test;
using banyan::cat;

namespace {

// A hop, and a host that only our key opens. Settings of both are in one configuration.
struct Hops {
  Sshd gateway, inner;
  std::string config = inner.folder() + "/both", key = inner.folder() + "/id_inner";

  explicit Hops(const Sshd::Options& gateway_options = {}, const std::string& for_inner = "")
      : gateway(gateway_options) {
    REQUIRE(std::system(cat("ssh-keygen -q -t ed25519 -N '' -f ", key).c_str()) == 0);
    std::ofstream(inner.folder() + "/authorized_keys", std::ios::app) << read_file(key + ".pub");
    write(for_inner);
  }
  void write(const std::string& for_inner) const {
    std::ofstream(config) << "Host deep\nHostName 127.0.0.1\nPort " << inner.port() << "\nUserKnownHostsFile "
                          << inner.known_hosts() << "\n"
                          << (for_inner.empty() ? "IdentitiesOnly yes\nIdentityFile " + key + "\n"
                                                : for_inner)
                          << "Match !host deep\nInclude " << gateway.client_config() << "\n";
  }
  Words run(const std::string& targets, const Words& rest) const {
    Words words = {"run", "-F", config, targets};
    words.insert(words.end(), rest.begin(), rest.end());
    return words;
  }
};

// A hop where ssh is this shell script. The real one is $here/honest_ssh.
Sshd::Options with_ssh(const std::string& script) {
  Sshd::Options options;
  options.setup = cat("cp /usr/bin/ssh $here/honest_ssh\n{ echo '#!/bin/sh'; echo here=$here\ncat <<'END'\n",
                      script, "\nEND\n} >$here/other_ssh\nchmod 755 $here/other_ssh\n",
                      "mount --bind $here/other_ssh /usr/bin/ssh");
  return options;
}

// What makes us try again: nothing has begun then.
constexpr const char* kSaysDropped =
    "echo 'kex_exchange_identification: Connection closed by remote host' >&2; exit 255";

}  // namespace

TEST_CASE("a host beneath two hops is reached by the ssh of each") {
  if (!has_sshd()) return;
  const Sshd server;
  const Finished got = run_program(over(server, "web/db1/db2", {"--", "echo", "here"}));
  CHECK(got.err == "");
  CHECK(got.out == "here\n");
  CHECK(got.code == 0);
}

TEST_CASE("tree draws the contexts beneath hops, each beneath the one that started it") {
  if (!has_sshd()) return;
  const Sshd server;
  const Finished got =
      run_program({"tree", "-F", server.client_config(), "--json", "web/db1/db2,web/db1/local,web/db3"});
  CHECK(got.code == 0);
  std::map<std::string, std::pair<int, int>> seen;  // id and parent
  for (const nlohmann::json& event : events_of(got.out))
    if (event.contains("context") && event["parent"].is_number())
      seen[event["name"]] = {event["context"], event["parent"]};
  CHECK(seen["web"].second == 0);
  CHECK(seen["db1"].second == seen["web"].first);
  CHECK(seen["db2"].second == seen["db1"].first);
  CHECK(seen["local"].second == seen["db1"].first);
  CHECK(seen["db3"].second == seen["web"].first);
}

TEST_CASE("the key stays at home: the hop's ssh knows neither file nor configuration of ours") {
  if (!has_sshd()) return;
  const Hops hops;
  Program program(hops.run("web/deep", {"--", "sh", "-c", "echo up; exec sleep 60"}));
  REQUIRE(program.wait_for("up"));
  std::string commands;
  for (const pid_t pid : descendants_of(hops.gateway.pid())) {
    std::string line = read_file(cat("/proc/", pid, "/cmdline"));
    if (line.starts_with("ssh")) commands += line;
  }
  program.signal(SIGTERM);
  CHECK(program.finish().code == 128 + SIGTERM);
  REQUIRE(commands != "");
  std::replace(commands.begin(), commands.end(), '\0', ' ');
  CHECK(contains(commands, "-F none"));
  CHECK(contains(commands, "IdentityFile=none"));
  CHECK(contains(commands, "UserKnownHostsFile=/proc/"));
  CHECK_FALSE(contains(commands, hops.key));
  CHECK_FALSE(contains(commands, hops.inner.folder()));
}

TEST_CASE("a key agent at home signs for a host beneath a hop") {
  if (!has_sshd()) return;
  const Hops hops({}, "IdentityFile none\n");
  const KeyAgentProcess agent(hops.inner.folder(), {hops.key});
  const Finished got =
      run_program(hops.run("web/deep", {"--", "echo", "here"}), {}, {"SSH_AUTH_SOCK=" + agent.socket()});
  CHECK(got.err == "");
  CHECK(got.out == "here\n");
}

TEST_CASE("without a key for it the host beneath says so, and the hop's own keys are not tried") {
  if (!has_sshd()) return;
  const Hops hops({}, "IdentityFile none\nIdentityAgent none\n");
  check_failed(run_program(hops.run("web/deep", {"--json", "--", "true"})),
               {.phases = "auth", .classes = "auth", .said = "there is no key for it", .remedy = "ssh-add"});
  // The server notices, and then says so.
  for (int i = 0; i < 250 && !contains(hops.inner.log(), "Connection closed"); ++i) ::poll(nullptr, 0, 20);
  CHECK(contains(hops.inner.log(), "Connection closed by authenticating user"));
}

TEST_CASE(
    "what a person takes to open the key of a hop is not taken from --connect-timeout of what lies beneath") {
  if (!has_sshd()) return;
  const Hops hops;
  const std::string key = make_key(hops.gateway, "locked", "-t ed25519", "open sesame");
  let_in(hops.gateway, key);
  hops.write(
      cat("IdentitiesOnly yes\nIdentityFile ", hops.key, "\nMatch !host deep\nIdentityFile ", key, "\n"));
  OnTerminal program(hops.run("web/deep", {"--connect-timeout", "10s", "--", "echo", "here"}));
  REQUIRE(program.wait_for("Enter passphrase for key"));
  ::poll(nullptr, 0, 11'000);
  program.type("open sesame\n");
  CHECK(program.finish() == 0);
  INFO(program.shown());
  CHECK(contains(program.shown(), "here"));
}

TEST_CASE("a host beneath a hop of which no key is known here is not contacted") {
  if (!has_sshd()) return;
  const Hops hops;
  std::ofstream(hops.inner.known_hosts()) << "";
  check_failed(run_program(hops.run("web/deep", {"--json", "--", "true"})),
               {.phases = "kex",
                .classes = "hostkey",
                .said = "no key of deep is known here",
                .remedy = " -J web deep true"});
  CHECK_FALSE(contains(hops.inner.log(), "Connection from"));
}

TEST_CASE("a host beneath a hop that shows another key than the one known here is not logged in to") {
  if (!has_sshd()) return;
  const Hops hops;
  std::ofstream(hops.inner.known_hosts())
      << "[127.0.0.1]:" << hops.inner.port() << " " << hops.gateway.host_key() << "\n";
  check_failed(run_program(hops.run("web/deep", {"--json", "--", "true"})),
               {.phases = "kex", .classes = "hostkey", .said = "", .remedy = "known_hosts"});
  CHECK_FALSE(contains(hops.inner.log(), "Accepted"));
}

TEST_CASE("a host beneath a hop that refuses the connection is told as one that refuses us") {
  if (!has_sshd()) return;
  const Hops hops;
  std::ofstream(hops.inner.known_hosts(), std::ios::app) << "[127.0.0.1]:1 " << hops.inner.host_key() << "\n";
  check_failed(run_program(hops.run("web/deep:1", {"--json", "--", "true"})),
               {.phases = "connect", .classes = "unreachable", .said = "refused"});
}

TEST_CASE(
    "what lies beneath a hop without ssh is reached by a tunnel through it, if there are but hosts before") {
  if (!has_sshd() || !has_namespaces()) return;
  Sshd::Options options;
  options.setup =
      "mkdir $here/all && mount --bind /usr/bin $here/all && mount -t tmpfs none /usr/bin && "
      "$here/all/ln -s $here/all/* /usr/bin/ && $here/all/rm /usr/bin/ssh";
  const Hops hops(options);
  for (const char* back_end : {"openssh", "libssh2"}) {
    const Finished got =
        run_program(hops.run("web/deep", {"--ssh", back_end, "--", "sh", "-c", "echo $SSH_CLIENT"}));
    CHECK(got.err == "");
    CHECK(contains(got.out, "127.0.0.1"));
  }
  check_failed(run_program(hops.run("web/local/deep", {"--json", "--", "true"})),
               {.phases = "connect",
                .classes = "refused",
                .said = "there is no ssh on web/local",
                .remedy = "install one there"});
}

TEST_CASE("a hop that dies takes what lies beneath it, and is named") {
  if (!has_sshd()) return;
  const Hops hops;
  Program program(hops.run("web/deep", {"--json", "--", "sh", "-c", "echo up; exec sleep 60"}));
  REQUIRE(program.wait_for("up"));
  for (const pid_t pid : descendants_of(hops.gateway.pid()))
    if (read_file(cat("/proc/", pid, "/comm")) == "banyan-agent\n") ::kill(pid, SIGKILL);
  REQUIRE(program.wait_for("summary"));
  const Finished got = program.finish();
  CAPTURE(got.out);
  const nlohmann::json fail = the_event(got.out, "fail");
  REQUIRE(fail.is_object());
  CHECK(fail["started"] == "yes");
  CHECK(contains(fail["error"].get<std::string>(), "hop web"));
  CHECK(got.code == 255);
}

TEST_CASE("twenty hosts beneath one hop are reached side by side") {
  if (!has_sshd()) return;
  const Sshd server;
  const Finished got = run_program(over(server, "web/db[1-20]", {"--", "true"}));
  CAPTURE(got.err);
  CHECK(got.code == 0);
}

TEST_CASE("a run that is ended while a host beneath a hop is being reached ends the hop's ssh") {
  if (!has_sshd()) return;
  const Hops hops;
  const FakeServer silent("", FakeServer::Then::kSilence);
  std::ofstream(hops.inner.known_hosts(), std::ios::app)
      << "[127.0.0.1]:" << silent.port() << " " << hops.inner.host_key() << "\n";
  Program program(hops.run(cat("web/deep:", silent.port()), {"--", "true"}));
  const auto hop_ssh = [&] {
    for (const pid_t pid : descendants_of(hops.gateway.pid()))
      if (read_file(cat("/proc/", pid, "/comm")) == "ssh\n") return true;
    return false;
  };
  for (int i = 0; i < 1000 && !hop_ssh(); ++i) ::poll(nullptr, 0, 10);
  REQUIRE(hop_ssh());
  program.signal(SIGTERM);
  CHECK(program.finish().code == 128 + SIGTERM);
  CHECK_FALSE(hop_ssh());
}

TEST_CASE("a hostile hop gets no signature that nobody ordered, and what it asked for is said") {
  if (!has_sshd() || !has_namespaces()) return;
  Sshd::Options options;
  options.setup = "mount --bind " BANYAN_GREEDY_SSH " /usr/bin/ssh";
  const Hops hops(options);
  const Finished got = run_program(hops.run("web/deep", {"--json", "--", "true"}));
  CHECK(got.code == 255);
  const nlohmann::json fail = the_event(got.out, "fail");
  REQUIRE(fail.is_object());
  CAPTURE(fail.dump());
  CHECK(contains(fail["error"].get<std::string>(), "greedy: 5 5 5 5 5 5 5 5 5 5"));
  CHECK_FALSE(contains(fail["error"].get<std::string>(), "leaked"));
  CHECK_FALSE(contains(hops.inner.log(), "Connection from"));
}

TEST_CASE("the doctor walks on where a hop's ssh does, and names the step that fails there") {
  if (!has_sshd()) return;
  const Hops hops;
  const auto failed_step = [&](const std::string& target) {
    const Finished got = run_program({"doctor", "-F", hops.config, "--json", target});
    CAPTURE(got.out, got.err);
    const std::vector<nlohmann::json> reports = events_of(got.out);
    REQUIRE(reports.size() == 3);
    CHECK(reports[0].at("target") == "web");
    CHECK(reports[0].at("well") == true);
    CHECK(reports[1].at("target") == target);
    CHECK(got.code == (reports[1].at("well") == true ? 0 : 255));
    return reports[1].at("failed").is_null() ? std::string() : reports[1].at("failed").get<std::string>();
  };
  CHECK(failed_step("web/deep") == "");
  CHECK(failed_step("web/nosuchuser@deep") == "auth");
  CHECK(failed_step("web/deep:1") == "settings");  // no key of it is known here
  std::ofstream(hops.inner.known_hosts(), std::ios::app) << "[127.0.0.1]:1 " << hops.inner.host_key() << "\n";
  CHECK(failed_step("web/deep:1") == "connect");
  std::ofstream(hops.inner.known_hosts())
      << "[127.0.0.1]:" << hops.inner.port() << " " << hops.gateway.host_key() << "\n";
  CHECK(failed_step("web/deep") == "kex");
  CHECK(hops.gateway.leftovers().empty());
}

TEST_CASE(
    "a hop that asks our keys for more than was ordered is told of once, though we are let in beneath it") {
  if (!has_sshd() || !has_namespaces()) return;
  const Hops hops(with_ssh("ssh-add -L >/dev/null 2>&1; exec $here/honest_ssh \"$@\""));
  const std::string twice = cat("web/deep,web/deep:", hops.inner.port());
  const Finished got = run_program(hops.run(twice, {"--json", "--", "echo", "here"}));
  CAPTURE(got.out);
  CHECK(got.code == 0);
  CHECK(lines_of(got.err).size() == 1);
  CHECK(got.err.starts_with("web: asked our keys for more than the login to web/deep"));
  CHECK(contains(got.err, "and was refused: it asked without a proof of the host that it talks to"));
}

TEST_CASE("each try to reach a host beneath a hop has leave of its own to log in") {
  if (!has_sshd() || !has_namespaces()) return;
  // The first proves which host it talks to, and does not log in.
  const Hops hops(with_ssh(cat("if mkdir $here/tried 2>/dev/null; then\n",
                               "$here/honest_ssh -o PreferredAuthentications=none \"$@\" 2>/dev/null\n",
                               kSaysDropped, "; fi; exec $here/honest_ssh \"$@\"")));
  const Finished got = run_program(hops.run("web/deep", {"--", "echo", "here"}));
  CHECK(got.err == "");
  CHECK(got.out == "here\n");
  CHECK(count_of(hops.inner.log(), "Accepted publickey") == 1);
}

TEST_CASE("a hop that says it was dropped when our key has signed gets no second signature") {
  if (!has_sshd() || !has_namespaces()) return;
  const Hops hops(
      with_ssh(cat("timeout 5 $here/honest_ssh \"$@\" </dev/null >/dev/null 2>&1; ", kSaysDropped)));
  const Finished got = run_program(hops.run("web/deep", {"--json", "--", "true"}));
  CAPTURE(got.out, got.err);
  CHECK(got.code == 255);
  CHECK(the_event(got.out, "fail").is_object());
  CHECK(count_of(hops.inner.log(), "Accepted publickey") == 1);
}

TEST_CASE("what a hop asks our keys too much is told as well where it then says that nothing came of it") {
  if (!has_sshd() || !has_namespaces()) return;
  const Hops hops(with_ssh(
      "ssh-add -L >/dev/null 2>&1; echo connect to host x port 1: Connection refused >&2; exit 255"));
  const Finished got = run_program(hops.run("web/deep", {"--", "true"}));
  CAPTURE(got.err);
  CHECK(got.code == 255);
  CHECK(contains(got.err, "web: asked our keys for more than the login to web/deep"));
  CHECK(contains(got.err, "✗ web/deep  connect: "));
}

TEST_CASE("a hop cannot put the blame on a hop that there is not") {
  if (!has_sshd() || !has_namespaces()) return;
  const Hops hops(
      with_ssh("echo hop bastion: connect to host bastion port 22: Connection refused >&2; exit 255"));
  const Finished got = run_program({"doctor", "-F", hops.config, "web/deep/local"});
  CAPTURE(got.out);
  CHECK(got.code == 255);
  CHECK(contains(got.out, "web: all is well"));
  CHECK(contains(got.out, "web/deep: fails at connect"));
  CHECK(contains(got.out, "web/deep/local: fails at hop"));
  CHECK(contains(got.out, "FAILED               hop web/deep: "));
}
