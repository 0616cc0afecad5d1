// Goal: -J leads through the hosts it names, with every verb and whoever speaks SSH; what goes wrong on the
// way is told with the hop, the phase and the class.
// Method: real sshds, two as gateways and one as the target behind them; ssh's configuration knows them by
// names. An account of a gateway has no shell that runs anything, since a tunnel needs none.
#include <poll.h>
#include <pwd.h>

#include <cstdio>
#include <fstream>

#include "tests/end_to_end/ssh.h"

using namespace banyan::test;
using banyan::cat;
using nlohmann::json;

namespace {

constexpr const char* kNoShell = "/usr/sbin/nologin";

std::string section(const std::string& name, const Sshd& server, const std::string& more = "") {
  return cat("Host ", name, "\n", more, "\nHostName 127.0.0.1\nPort ", server.port(),
             "\nUser hop\nIdentityFile ", server.folder(),
             "/user_key\nIdentitiesOnly yes\nIdentityAgent none\nUserKnownHostsFile ", server.folder(),
             "/known_hosts\nGlobalKnownHostsFile /dev/null\nKexAlgorithms curve25519-sha256\n");
}

struct Scene {
  explicit Scene(const std::string& for_gateway = "", const std::string& server_lines = "",
                 const std::string& for_target = "")
      : gateway({.server_lines = server_lines, .accounts = {{.name = "hop", .shell = kNoShell}}}),
        inner({.accounts = {{.name = "hop", .shell = kNoShell}}}),
        target({.client_lines = for_target}) {
    write(for_gateway);
  }
  void write(const std::string& for_gateway) const {
    std::ofstream(config) << section("gw", gateway, for_gateway) << section("inner", inner)
                          << section("behind", inner, "ProxyJump gw") << "Host *\nInclude "
                          << target.client_config() << "\n";
  }
  Words words(const std::string& verb, const Words& rest) const {
    Words words = {verb, "-F", config};
    words.insert(words.end(), rest.begin(), rest.end());
    return words;
  }
  Words run(const std::string& back_end, const std::string& jumps, const Words& rest) const {
    Words all = words("run", {"--ssh", back_end, "-J", jumps, "web"});
    all.insert(all.end(), rest.begin(), rest.end());
    return all;
  }

  Sshd gateway, inner, target;
  const std::string config = target.folder() + "/through";
};

std::string user_of_this_test() {
  const passwd* account = ::getpwuid(::geteuid());
  return account == nullptr ? "root" : account->pw_name;
}

// How often it let somebody in.
std::size_t logins_at(const Sshd& server) {
  const std::string log = server.log();
  std::size_t count = 0;
  for (std::size_t at = 0; (at = log.find("Accepted publickey", at)) != log.npos; ++at) ++count;
  return count;
}

}  // namespace

TEST_CASE("-J leads through one host or two, whose accounts need no shell") {
  if (!has_sshd() || !has_namespaces()) return;
  for (const char* back_end : kBackEnds) {
    const Scene scene;
    CAPTURE(back_end);
    const Finished one = run_program(scene.run(back_end, "gw", {"--", "echo", "here"}));
    CAPTURE(one.err);
    CHECK(one.code == 0);
    CHECK(one.out == "here\n");
    CHECK(logins_at(scene.gateway) == 1);
    CHECK(logins_at(scene.inner) == 0);
    const Finished two = run_program(scene.run(back_end, "gw,inner", {"--sh", "cat; exit 7"}), "much\n");
    CAPTURE(two.err);
    CHECK(two.code == 7);
    CHECK(two.out == "much\n");
    CHECK(logins_at(scene.gateway) == 2);
    CHECK(logins_at(scene.inner) == 1);
    // The first jump's own configuration says how it is reached.
    const Finished own = run_program(scene.run(back_end, "behind", {"--", "true"}));
    CAPTURE(own.err);
    CHECK(own.code == 0);
    CHECK(logins_at(scene.gateway) == 3);
    CHECK(logins_at(scene.inner) == 2);
    CHECK(logins_at(scene.target) == 3);
  }
}

TEST_CASE("-J counts before ProxyJump and ProxyCommand of the configuration, and none is through none") {
  if (!has_sshd() || !has_namespaces()) return;
  for (const char* lines : {"ProxyJump inner", "ProxyCommand /bin/false"}) {
    const Scene scene("", "", lines);
    for (const char* back_end : {"openssh", "libssh2"}) {
      CAPTURE(lines, back_end);
      const std::size_t before = logins_at(scene.gateway);
      CHECK(run_program(scene.run(back_end, "gw", {"--", "true"})).code == 0);
      CHECK(logins_at(scene.gateway) == before + 1);
      CHECK(run_program(scene.run(back_end, "none", {"--", "true"})).code == 0);
      CHECK(logins_at(scene.gateway) == before + 1);
      CHECK(logins_at(scene.inner) == 0);
    }
  }
}

TEST_CASE("tree, plan and doctor go the way that -J says") {
  if (!has_sshd() || !has_namespaces()) return;
  const Scene scene;
  const Finished plan = run_program(scene.words("plan", {"--json", "-J", "gw,inner", "web"}));
  CAPTURE(plan.out, plan.err);
  REQUIRE(plan.code == 0);
  const json route = json::parse(plan.out).at("route");
  REQUIRE(route.size() == 3);
  CHECK(route[0].at("name") == "gw");
  CHECK(route[1].at("name") == "inner");
  CHECK(route[0].at("because").at("name") == "-J");
  CHECK(route[1].at("because").at("mode").get<std::string>().starts_with("-J: "));
  CHECK(route[2].at("port") == scene.target.port());
  for (const json& step : route) CHECK(step.at("backend") == "libssh2");
  CHECK(logins_at(scene.gateway) == 0);

  const Finished tree = run_program(scene.words("tree", {"-J", "gw", "web"}));
  CAPTURE(tree.out, tree.err);
  CHECK(tree.code == 0);
  CHECK(logins_at(scene.gateway) == 1);
  for (const char* back_end : kBackEnds) {
    const std::size_t before = logins_at(scene.inner);
    const Finished doctor = run_program(scene.words("doctor", {"--ssh", back_end, "-J", "gw,inner", "web"}));
    CAPTURE(back_end, doctor.out, doctor.err);
    CHECK(doctor.code == 0);
    CHECK(contains(doctor.out, "all is well"));
    CHECK(logins_at(scene.inner) == before + 1);
  }
}

TEST_CASE("the route of an event names each host on the way, those that a jump is reached through as well") {
  if (!has_sshd() || !has_namespaces()) return;
  const Scene scene("", "", "ProxyJump behind");  // which has a ProxyJump of its own
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished got = run_program(scene.words("run", {"--ssh", back_end, "--json", "web", "--", "true"}));
    CAPTURE(got.out, got.err);
    CHECK(the_event(got.out, "start")["route"] == json({"gw", "behind", "web"}));
    const Finished failed =
        run_program(scene.words("run", {"--ssh", back_end, "--json", "--port", "1", "web", "--", "true"}));
    CAPTURE(failed.out);
    CHECK(the_event(failed.out, "fail")["route"] == json({"gw", "behind", "web"}));
  }
}

TEST_CASE("many hosts behind one jump all come up, and each fails by itself") {
  if (!has_sshd() || !has_namespaces()) return;
  const Scene scene;
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished got = run_program(
        scene.words("run", {"--ssh", back_end, "-J", "gw", "db[1-12],inner", "--", "echo", "here"}));
    CAPTURE(got.out, got.err);
    CHECK(got.code == 4);
    std::size_t here = 0;
    for (const std::string& line : lines_of(got.out)) here += contains(line, "here") ? 1 : 0;
    CHECK(here == 12);
    CHECK(contains(got.err, "This account is currently not available"));
  }
}

TEST_CASE("a jump that would be reached through itself is told as ssh tells it") {
  if (!has_sshd() || !has_namespaces()) return;
  const Scene scene;
  const std::string itself = cat("hop@127.0.0.1:", scene.gateway.port());
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished got =
        run_program(scene.words("run", {"--json", "--ssh", back_end, "-J", itself, itself, "--", "true"}));
    CAPTURE(got.out);
    const json fail = the_event(got.out, "fail");
    REQUIRE(fail.is_object());
    CHECK(fail["phase"] == "resolve");
    CHECK(contains(fail["error"].get<std::string>(), "jumphost loop via 127.0.0.1"));
  }
  CHECK(run_program(scene.words("plan", {"-J", itself, itself})).code == 255);
  CHECK(logins_at(scene.gateway) == 0);
}

TEST_CASE("a hostile -J is refused before anything is asked or contacted") {
  if (!has_sshd()) return;
  const Sshd server;
  const std::string file = server.folder() + "/made";
  const std::string hostile[] = {
      cat("-oProxyCommand=touch ", file),
      cat("gw;touch ", file),
      cat("$(touch ", file, ")"),
      cat("`touch ", file, "`@gw"),
      cat("gw,x\ntouch ", file),
      "[::1]:22;id",
      "gw,",
  };
  for (const std::string& jumps : hostile) {
    for (const char* verb : {"run", "tree", "plan", "doctor"}) {
      CAPTURE(jumps, verb);
      Words words = {verb, "-F", server.client_config(), "-J", jumps, "web"};
      if (std::string_view(verb) == "run") words.insert(words.end(), {"--", "true"});
      const Finished got = run_program(words);
      CAPTURE(got.err);
      CHECK(got.code == 2);
      CHECK(got.out == "");
      CHECK(lines_of(got.err).size() == 1);
    }
  }
  CHECK(::access(file.c_str(), F_OK) != 0);
  CHECK_FALSE(contains(server.log(), "Connection from"));
}

TEST_CASE("what goes wrong on the way is told with the hop, the phase and the class, whoever speaks SSH") {
  if (!has_sshd() || !has_namespaces()) return;
  const Scene scene;
  const Sshd closed({.server_lines = "AllowTcpForwarding no"});
  const std::string none = scene.target.folder() + "/none", other = scene.target.folder() + "/other";
  std::ofstream(none) << "";
  std::ofstream(other) << "[127.0.0.1]:" << scene.gateway.port() << " " << scene.inner.host_key() << "\n";
  const struct {
    const char* what;
    std::string for_gateway;  // lines of the configuration
    Words options;
    const char *phase, *error_class, *said;
  } table[] = {
      {"unknown key", cat("UserKnownHostsFile ", none), {"-J", "gw"}, "kex", "hostkey", "not known"},
      {"changed key", cat("UserKnownHostsFile ", other), {"-J", "gw"}, "kex", "hostkey", "has changed"},
      {"no login", "PubkeyAuthentication no", {"-J", "gw"}, "auth", "auth", ""},
      {"no such user", "", {"-J", "nobody-of-that-name@gw"}, "auth", "auth", ""},
      {"no such host", "HostName no-such-host.invalid", {"-J", "gw"}, "resolve", "unreachable", ""},
      {"nobody listens there", "Port 1", {"-J", "gw"}, "connect", "unreachable", ""},
      {"behind it nobody listens",
       "",
       {"-J", "gw", "--port", "1"},
       "connect",
       "unreachable",
       "connect failed"},
      {"behind it is no such host",
       "",
       {"-J", "gw,no-such-host.invalid"},
       "connect",
       "unreachable",
       "connect failed"},
  };
  for (const char* back_end : kBackEnds) {
    const bool is_libssh2 = std::string_view(back_end) == "libssh2";
    for (const auto& row : table) {
      CAPTURE(back_end, row.what);
      scene.write(row.for_gateway);
      Words words = scene.words("run", {"--json", "--ssh", back_end, "web"});
      words.insert(words.end(), row.options.begin(), row.options.end());
      words.insert(words.end(), {"--", "true"});
      const Finished got = run_program(words);
      CAPTURE(got.out, got.err);
      CHECK(got.code == 255);
      const json fail = the_event(got.out, "fail");
      REQUIRE(fail.is_object());
      CHECK(fail["phase"] == row.phase);
      CHECK(fail["class"] == row.error_class);
      CHECK(fail["started"] == "no");
      CHECK(fail["remedy"].is_string());
      CHECK(fail["route"].size() >= 2);
      if (is_libssh2) {
        CHECK(contains(fail["error"].get<std::string>(), "gw: "));
        CHECK(contains(fail["error"].get<std::string>(), row.said));
      }
    }
    // A jump that lets in and lets nobody through.
    std::ofstream(scene.config) << section("gw", closed, cat("User ", user_of_this_test()))
                                << "Host *\nInclude " << scene.target.client_config() << "\n";
    const Finished got = run_program(scene.run(back_end, "gw", {"--json", "--", "true"}));
    CAPTURE(back_end, got.out, got.err);
    const json fail = the_event(got.out, "fail");
    REQUIRE(fail.is_object());
    CHECK(fail["phase"] == "connect");
    CHECK(fail["class"] == "refused");
    if (is_libssh2)
      CHECK(contains(fail["error"].get<std::string>(), "jump gw: it does not let us through to 127.0.0.1"));
    CHECK(logins_at(closed) > 0);
  }
  CHECK(logins_at(scene.target) == 0);
}

TEST_CASE("a host behind a jump is checked and logged in to as if there were none") {
  if (!has_sshd() || !has_namespaces()) return;
  const Scene scene;
  const std::string none = scene.target.folder() + "/none";
  std::ofstream(none) << "";
  for (const char* back_end : kBackEnds) {
    const struct {
      Words options;
      const char *phase, *error_class;
    } table[] = {
        {{"--known-hosts", none}, "kex", "hostkey"},
        {{"-l", "nobody-of-that-name"}, "auth", "auth"},
    };
    for (const auto& row : table) {
      CAPTURE(back_end, row.phase);
      Words options = row.options;
      options.insert(options.end(), {"--json", "--", "true"});
      const Finished got = run_program(scene.run(back_end, "gw", options));
      const json fail = the_event(got.out, "fail");
      CAPTURE(got.out);
      REQUIRE(fail.is_object());
      CHECK(fail["phase"] == row.phase);
      CHECK(fail["class"] == row.error_class);
      CHECK_FALSE(contains(fail["error"].get<std::string>(), "jump gw: "));
    }
  }
  CHECK(logins_at(scene.target) == 0);
}

TEST_CASE("a jump that is killed ends what goes through it as lost, at once, and nothing is left") {
  if (!has_sshd() || !has_namespaces()) return;
  for (const char* back_end : kBackEnds) {
    for (const char* jumps : {"gw", "gw,inner", "inner,gw"}) {
      CAPTURE(back_end, jumps);
      const Scene scene;
      const std::string mark = fresh_mark();
      Program program(scene.run(back_end, jumps, {"--json", "--sh", "trap '' TERM HUP; echo up; sleep 300"}),
                      Program::Shape::kPipes, {mark});
      REQUIRE(program.wait_for("up\\n"));
      const Stopwatch since;
      for (pid_t pid : descendants_of(scene.gateway.pid())) ::kill(pid, SIGKILL);
      const Finished got = program.finish();
      CAPTURE(got.out, got.err);
      CHECK(since.seconds() < 2 + kSmallSlack);
      CHECK(got.code == 255);
      const json fail = the_event(got.out, "fail");
      REQUIRE(fail.is_object());
      CHECK(fail["class"] == "lost");
      CHECK(fail["phase"] == "link");
      CHECK(fail["started"] == "yes");
      if (std::string_view(back_end) == "libssh2")
        CHECK(contains(fail["error"].get<std::string>(), "jump gw: the connection to 127.0.0.1 broke"));
      CHECK(all_gone(mark));
    }
  }
}

TEST_CASE("megabytes go through two jumps both ways, unchanged, and a reader who is slow costs no memory") {
  if (!has_sshd() || !has_namespaces()) return;
  const Scene scene;
  const std::string much = random_bytes(20'000'000), file = scene.target.folder() + "/much";
  std::ofstream(file, std::ios::binary) << much;
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished both = run_program(scene.run(back_end, "gw,inner", {"--", "cat"}), much);
    CHECK(both.code == 0);
    CHECK((both.out == much));
  }
  const std::string mark = fresh_mark();
  Program program(scene.run("libssh2", "gw,inner", {"--sh", cat("echo up; read go; exec cat '", file, "'")}),
                  Program::Shape::kPipes, {mark});
  REQUIRE(program.read_output(3));
  const pid_t connector = marked(mark, "banyan-connecto"), command = marked(mark, "sh");
  REQUIRE(connector > 0);
  REQUIRE(command > 0);
  const long idle = peak_kib(connector);
  program.write("go\n");
  std::size_t before = 0;
  const auto read_by_command = [&] {
    const std::string io = read_file(cat("/proc/", command, "/io"));
    return std::size_t(std::atoll(io.c_str() + io.find("rchar: ") + 7));
  };
  for (int same = 0; same < 10;) {
    ::poll(nullptr, 0, 50);
    const std::size_t now = read_by_command();
    same = now == before ? same + 1 : 0;
    before = now;
  }
  CHECK(before < much.size());
  const long grown = peak_kib(connector) - idle;
  std::printf("20 MB through two jumps to nobody: the connector grew by %ld KiB\n", grown);
  // Windows of three sessions, and a piece for each.
  if (kMemoryIsOurs) CHECK(grown < 12 * 1024);
  const Finished got = program.finish();
  CHECK(got.code == 0);
  CHECK((got.out == "up\n" + much));
}

TEST_CASE("a jump that needs ssh takes the whole way with it, and plan says which and why") {
  if (!has_sshd() || !has_namespaces()) return;
  const Scene scene("Compression yes");
  const Finished plan = run_program(scene.words("plan", {"--json", "-J", "inner,gw", "web"}));
  CAPTURE(plan.out, plan.err);
  REQUIRE(plan.code == 0);
  const json route = json::parse(plan.out).at("route");
  REQUIRE(route.size() == 3);
  for (const json& step : route) CHECK(step.at("backend") == "openssh");
  CHECK(contains(route[1].at("because").at("backend").get<std::string>(), "Compression: "));
  for (int at : {0, 2})
    CHECK(contains(route[std::size_t(at)].at("because").at("backend").get<std::string>(),
                   "ProxyJump: who speaks SSH speaks it all the way, and gw has Compression: "));
  const Finished refused = run_program(scene.run("libssh2", "inner,gw", {"--json", "--", "true"}));
  CHECK(refused.code == 255);
  CHECK(contains(the_event(refused.out, "fail").value("error", ""), "gw has Compression"));
  CHECK(logins_at(scene.inner) == 0);
  CHECK(run_program(scene.run("auto", "inner,gw", {"--", "true"})).code == 0);
  CHECK(logins_at(scene.gateway) == 1);
}

TEST_CASE(
    "a connector that is killed under a tunnel ends its command as lost, at once, and nothing is left") {
  if (!has_sshd() || !has_namespaces()) return;
  const Scene scene;
  for (const char* jumps : {"gw", "gw,inner"}) {
    CAPTURE(jumps);
    const std::string mark = fresh_mark();
    Program program(scene.run("libssh2", jumps, {"--json", "--sh", "trap '' TERM HUP; echo up; sleep 300"}),
                    Program::Shape::kPipes, {mark});
    REQUIRE(program.wait_for("up\\n"));
    const pid_t connector = marked(mark, "banyan-connecto");
    REQUIRE(connector > 0);
    const Stopwatch since;
    REQUIRE(::kill(connector, SIGKILL) == 0);
    const Finished got = program.finish();
    CAPTURE(got.out, got.err);
    CHECK(since.seconds() < 2 + kSmallSlack);
    CHECK(got.code == 255);
    const json fail = the_event(got.out, "fail");
    REQUIRE(fail.is_object());
    CHECK(fail["class"] == "lost");
    CHECK(fail["phase"] == "link");
    CHECK(fail["started"] == "yes");
    CHECK(all_gone(mark));
  }
}
