// Goal: -J leads through the hosts it names, with every verb and whoever speaks SSH; what goes wrong on the
// way is told with the hop, the phase and the class.
// Method: real sshds, two as gateways and one as the target behind them; ssh's configuration knows them by
// names. An account of a gateway has no shell that runs anything, since a tunnel needs none.
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
                          << section("behind", inner, "ProxyJump gw") << "Include " << target.client_config()
                          << "\n";
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
  for (const char* back_end : {"openssh", "auto"}) {
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
    for (const char* back_end : {"openssh", "auto"}) {
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
  CHECK(logins_at(scene.gateway) == 0);

  const Finished tree = run_program(scene.words("tree", {"-J", "gw", "web"}));
  CAPTURE(tree.out, tree.err);
  CHECK(tree.code == 0);
  CHECK(logins_at(scene.gateway) == 1);
  for (const char* back_end : {"openssh", "auto"}) {
    const std::size_t before = logins_at(scene.inner);
    const Finished doctor = run_program(scene.words("doctor", {"--ssh", back_end, "-J", "gw,inner", "web"}));
    CAPTURE(back_end, doctor.out, doctor.err);
    CHECK(doctor.code == 0);
    CHECK(contains(doctor.out, "all is well"));
    CHECK(logins_at(scene.inner) == before + 1);
  }
}

TEST_CASE("many hosts behind one jump all come up, and each fails by itself") {
  if (!has_sshd() || !has_namespaces()) return;
  const Scene scene;
  for (const char* back_end : {"openssh", "auto"}) {
    CAPTURE(back_end);
    const Finished got =
        run_program(scene.words("run", {"--ssh", back_end, "-J", "gw", "db[1-12],gw", "--", "echo", "here"}));
    CAPTURE(got.out, got.err);
    CHECK(got.code == 4);
    std::size_t here = 0;
    for (const std::string& line : lines_of(got.out)) here += contains(line, "here") ? 1 : 0;
    CHECK(here == 12);
    // It is not reached through itself.
    CHECK(contains(got.err, "jumphost loop via "));
  }
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
