// Goal: what people write into ssh's configuration and known_hosts is honoured in the same way, whoever
// speaks SSH. Method: one table of configurations over one real sshd with two accounts, one of which takes
// another key; the command's own words say as whom and where it ran. What must fail is a row too.
#include <sys/stat.h>

#include <fstream>
#include <functional>

#include "tests/end_to_end/ssh.h"
#include "tests/support/key_agent.h"

using namespace banyan::test;
using banyan::cat;

namespace {

struct World {
  World() : server(options()) {
    for (const char* key : {"second", "wrong"})
      REQUIRE(std::system(cat("ssh-keygen -q -t ed25519 -N '' -f '", path(key), "'").c_str()) == 0);
    // Only alice takes the second key.
    std::ofstream(server.outside("/srv/keys/alice")) << read_file(path("second.pub"));
    std::ofstream(server.outside("/srv/keys/guest")) << read_file(path("user_key.pub"));
  }
  static Sshd::Options options() {
    Sshd::Options options;
    options.host_keys = {"ed25519", "ecdsa -b 256"};
    options.accounts = {{"guest", "/bin/sh"}, {"alice", "/bin/sh"}};
    options.server_lines = "AuthorizedKeysFile /srv/keys/%u";
    options.setup = "mkdir /srv/keys\n";
    return options;
  }
  std::string path(std::string_view name) const { return cat(server.folder(), "/", name); }
  std::string here() const { return cat("[127.0.0.1]:", server.port()); }
  // As it may stand in a file of known hosts.
  std::string line(const std::string& names, std::size_t key = 0) const {
    return cat(names, " ", server.host_key(key), "\n");
  }
  std::string file(std::string_view name, const std::string& content) const {
    std::ofstream(path(name)) << content;
    return path(name);
  }

  const Sshd server;
};

std::string hashed(const World& world, std::string_view name, const std::string& lines) {
  const std::string file = world.file(name, lines);
  REQUIRE(std::system(
              cat("ssh-keygen -q -H -f '", file, "' >/dev/null 2>&1 && rm '", file, ".old'").c_str()) == 0);
  REQUIRE_FALSE(contains(read_file(file), "127.0.0.1"));
  return file;
}

}  // namespace

TEST_CASE("ssh's configuration and known_hosts mean the same over ssh and over libssh2") {
  if (!has_sshd() || !has_namespaces()) return;
  const World world;
  const std::string port = cat("Port ", world.server.port(), "\n"), address = "HostName 127.0.0.1\n",
                    key = cat("IdentityFile ", world.path("user_key"), "\n"),
                    second = cat("IdentityFile ", world.path("second"), "\n"),
                    wrong = cat("IdentityFile ", world.path("wrong"), "\n"),
                    known = cat("UserKnownHostsFile ", world.server.known_hosts(), "\n"),
                    guest = "User guest\n";
  // Whatever the machine's own configuration and its user's say.
  const std::string rest =
      "\nHost *\nGlobalKnownHostsFile /dev/null\nKexAlgorithms curve25519-sha256\nIdentityAgent "
      "none\nIdentitiesOnly yes\n";
  const KeyAgentProcess agent(world.server.folder(), {world.path("user_key"), world.path("second")});
  const std::string ask = cat("IdentityAgent ", agent.socket(), "\n");

  const auto knowing = [&](const std::string& file) { return cat("UserKnownHostsFile ", file, "\n"); };
  const std::string included = world.file("included", cat("Host inc\n", address, port, key, known, guest));

  const struct {
    const char* name;
    std::string config;
    const char* target;
    const char* whoami;  // or the class of the failure
    bool works = true;
  } table[] = {
      {"an alias", cat("Host web\n", address, port, key, known, guest), "web", "guest"},
      {"a pattern", cat("Host w*\n", address, port, key, known, guest), "web17", "guest"},
      {"the first that sets something wins",
       cat("Host web\nUser guest\nHost *\nUser alice\n", address, port, key, known), "web", "guest"},
      {"Include", cat("Include ", included, "\n"), "inc", "guest"},
      {"Include inside a Host", cat("Host inc\nInclude ", included, "\n"), "inc", "guest"},
      {"Match host", cat("Match host web\n", address, port, key, known, guest), "web", "guest"},
      {"Match originalhost", cat("Match originalhost web\n", address, port, key, known, guest), "web",
       "guest"},
      {"Match exec",
       cat("Match exec true\n", address, port, key, known, guest, "Match exec false\nUser alice\n"), "web",
       "guest"},
      {"Match user", cat("Match user alice\n", second, "Match all\n", address, port, key, known), "alice@web",
       "alice"},
      {"%h in HostName", cat("Host 1\nHostName 127.0.0.%h\n", port, key, known, guest), "1", "guest"},
      {"a user of the target's wins", cat("Host web\n", address, port, key, second, known, guest),
       "alice@web", "alice"},
      {"a port of the target's wins", cat("Host web\n", address, "Port 1\n", key, known, guest), "web:PORT",
       "guest"},
      {"the second IdentityFile", cat("Host web\n", address, port, wrong, key, known, guest), "web", "guest"},
      {"only the wrong IdentityFile", cat("Host web\n", address, port, wrong, known, guest), "web", "auth",
       false},
      {"IdentityFile that is missing",
       cat("Host web\n", address, port, "IdentityFile /none\n", key, known, guest), "web", "guest"},
      {"IdentityAgent",
       cat("Host web\n", address, port, "IdentityFile /none\nIdentitiesOnly no\n", ask, known, guest), "web",
       "guest"},
      {"IdentitiesOnly keeps the key agent's other keys back",
       cat("Host web\n", address, port, wrong, "IdentitiesOnly yes\n", ask, known, guest), "web", "auth",
       false},
      {"IdentitiesOnly with the key agent's key named",
       cat("Host web\n", address, port, key, "IdentitiesOnly yes\n", ask, known, guest), "web", "guest"},
      {"UserKnownHostsFile, two of them",
       cat("Host web\n", address, port, key, "UserKnownHostsFile /none ", world.server.known_hosts(), "\n",
           guest),
       "web", "guest"},
      {"no file knows it", cat("Host web\n", address, port, key, "UserKnownHostsFile /none\n", guest), "web",
       "hostkey", false},
      {"GlobalKnownHostsFile",
       cat("Host web\n", address, port, key, "UserKnownHostsFile none\nGlobalKnownHostsFile ",
           world.server.known_hosts(), "\n", guest),
       "web", "guest"},
      {"HostKeyAlias",
       cat("Host web\n", address, port, key, knowing(world.file("alias", world.line("the-alias"))),
           "HostKeyAlias the-alias\n", guest),
       "web", "guest"},
      {"HostKeyAlias that is not known",
       cat("Host web\n", address, port, key, known, "HostKeyAlias other\n", guest), "web", "hostkey", false},
      {"hashed names",
       cat("Host web\n", address, port, key, knowing(hashed(world, "hashed", world.line(world.here()))),
           guest),
       "web", "guest"},
      {"a name without a port is believed on any",
       cat("Host web\n", address, port, key, knowing(world.file("port22", world.line("127.0.0.1"))), guest),
       "web", "guest"},
      {"a name with another port is not",
       cat("Host web\n", address, port, key, knowing(world.file("port23", world.line("[127.0.0.1]:23"))),
           guest),
       "web", "hostkey", false},
      {"another key of the name without a port is none of this port's",
       cat("Host web\n", address, port, key,
           knowing(world.file("other22", cat("127.0.0.1 ", read_file(world.path("wrong.pub"))))), guest),
       "web", "hostkey", false},
      {"a pattern of names",
       cat("Host web\n", address, port, key, knowing(world.file("pattern", world.line("[127.0.0.*]:*"))),
           guest),
       "web", "guest"},
      {"a negated name",
       cat("Host web\n", address, port, key,
           knowing(world.file("negated", world.line(cat("[127.*]:*,!", world.here())))), guest),
       "web", "hostkey", false},
      {"one of several keys",
       cat("Host web\n", address, port, key,
           knowing(world.file("several", cat(world.here(), " ", read_file(world.path("wrong.pub")),
                                             world.line(world.here(), 1), world.line(world.here())))),
           guest),
       "web", "guest"},
      {"only the server's second key",
       cat("Host web\n", address, port, key, knowing(world.file("second_key", world.line(world.here(), 1))),
           guest),
       "web", "guest"},
      {"another key",
       cat("Host web\n", address, port, key,
           knowing(world.file("another", cat(world.here(), " ", read_file(world.path("wrong.pub"))))), guest),
       "web", "hostkey", false},
      {"@revoked",
       cat("Host web\n", address, port, key,
           knowing(world.file("revoked",
                              cat("@revoked * ", world.server.host_key(), "\n", world.line(world.here())))),
           guest),
       "web", "hostkey", false},
      {"@revoked, another key",
       cat("Host web\n", address, port, key,
           knowing(world.file("revoked_other", cat("@revoked * ", read_file(world.path("wrong.pub")),
                                                   world.line(world.here())))),
           guest),
       "web", "guest"},
      {"comments and junk in known_hosts",
       cat("Host web\n", address, port, key,
           knowing(world.file(
               "junk", cat("# a comment\n\njunk\n* ssh-ed25519 notbase64\n", world.line(world.here())))),
           guest),
       "web", "guest"},
  };
  int number = 0;
  for (const auto& row : table) {
    const std::string config = world.file(cat("config", ++number), row.config + rest);
    std::string target = row.target;
    if (const std::size_t at = target.find("PORT"); at != target.npos)
      target = target.substr(0, at) + std::to_string(world.server.port());
    for (const char* back_end : kBackEnds) {
      CAPTURE(row.name, back_end);
      const Finished got =
          run_program({"run", "-F", config, "--ssh", back_end, "--json", target, "--", "id", "-un"});
      CAPTURE(got.out, got.err);
      if (row.works) {
        CHECK(got.code == 0);
        const nlohmann::json out = the_event(got.out, "out");
        REQUIRE(out.is_object());
        CHECK(out["data"] == cat(std::string_view(row.whoami), "\n"));
      } else {
        CHECK(got.code == 255);
        const nlohmann::json fail = the_event(got.out, "fail");
        REQUIRE(fail.is_object());
        CHECK(fail["class"] == row.whoami);
        CHECK(fail["remedy"].is_string());
      }
    }
  }
}

TEST_CASE("both back ends connect from BindAddress, and say when they cannot") {
  if (!has_sshd()) return;
  const Sshd here({.client_lines = "BindAddress 127.0.0.2\n"}),
      nowhere({.client_lines = "BindAddress 192.0.2.1\n"});
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished got = run_program(over(here, "web", {"--sh", "echo $SSH_CONNECTION"}, back_end));
    CAPTURE(got.err);
    CHECK(got.out.starts_with("127.0.0.2 "));
    const Finished none = run_program(over(nowhere, "web", {"--json", "--", "true"}, back_end));
    const nlohmann::json fail = the_event(none.out, "fail");
    REQUIRE(fail.is_object());
    CHECK(fail["phase"] == "connect");
    CHECK(fail["class"] == "unreachable");
    if (std::string_view(back_end) == "libssh2") CHECK(contains(fail["error"], "BindAddress 192.0.2.1"));
  }
}
