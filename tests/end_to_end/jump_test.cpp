// Goal: what a run is told holds for the hosts on the way too, and a person is asked for a jump host's
// password once. Method: two real sshds, the second reached through the first (ProxyJump), a person at a
// terminal.
#include <filesystem>
#include <fstream>

#include "tests/end_to_end/person.h"
#include "tests/end_to_end/questions.h"

using namespace banyan::test;
using banyan::cat;

namespace {

// A target with an encrypted key, behind a host with a password; nothing is known of either yet.
struct Way {
  Sshd gateway{
      {.accounts = {{.name = "ann", .shell = "/bin/sh", .password = kPassword}}, .pam = Sshd::kUsualPam}};
  Sshd target;
  std::string key = target.folder() + "/id_locked", known = target.folder() + "/nobody_known",
              config = target.folder() + "/through", question = cat("Enter passphrase for key '", key, "': ");

  explicit Way(const std::string& for_gateway = "") {
    make_key(target, "locked", "-t ed25519", "open sesame");
    let_in(target, key);
    const std::string to_gateway =
        cat("HostName 127.0.0.1\nPort ", gateway.port(),
            "\nUser ann\nPreferredAuthentications password\nIdentityFile none\nIdentityAgent none\n",
            "GlobalKnownHostsFile /dev/null\nKexAlgorithms curve25519-sha256\n", for_gateway, "\n");
    std::ofstream(config) << "Host gw\n"
                          << to_gateway << "Host inner\nProxyJump gw\n"
                          << to_gateway << "Host db*\nProxyJump gw\nHost web\nProxyJump inner\nHost *\n"
                          << "IdentityFile " << key << "\nUserKnownHostsFile " << known << "\nInclude "
                          << target.client_config() << "\n";
  }
  Words run(const std::string& back_end, const std::string& targets, const Words& rest) const {
    Words words = {"run", "--ssh", back_end, "-F", config, targets};
    words.insert(words.end(), rest.begin(), rest.end());
    return words;
  }
  // As a person who is asked for so many passwords, and then for the key's passphrase.
  void answer(OnTerminal& program, int passwords) const {
    for (int i = 0; i < passwords; ++i) {
      REQUIRE(program.wait_for("ann@127.0.0.1's password: "));
      program.type(cat(kPassword, "\n"));
    }
    REQUIRE(program.wait_for(question));
    program.type("open sesame\n");
    CHECK(program.finish() == 0);
  }
};

}  // namespace

TEST_CASE("--accept-new reaches a jump host, whose password is asked for once for all behind it") {
  if (!has_sshd() || !has_namespaces()) return;
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const Way way;
    OnTerminal program(way.run(back_end, "db[1-4]", {"--accept-new", "--", "echo", "here"}));
    way.answer(program, 1);
    INFO(program.shown());
    CHECK(contains(program.shown(), "4 ok"));
    CHECK(count_of(program.shown(), "'s password: ") == 1);
    CHECK(count_of(program.shown(), way.question) == 1);
    const std::string known = read_file(way.known);
    CHECK(contains(known, way.gateway.host_key()));
    CHECK(contains(known, way.target.host_key()));
    CHECK(contains(program.shown(), cat("Permanently added '[127.0.0.1]:", way.gateway.port(), "'")));
    CHECK(contains(program.shown(), cat("Permanently added '[127.0.0.1]:", way.target.port(), "'")));
  }
}

TEST_CASE("a jump host that is behind a jump host is told the same, and is another one") {
  if (!has_sshd() || !has_namespaces()) return;
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const Way way;
    OnTerminal program(way.run(back_end, "web", {"--accept-new", "--", "echo", "here"}));
    way.answer(program, 2);
    INFO(program.shown());
    CHECK(contains(program.shown(), "here"));
  }
}

TEST_CASE("a jump host's password that was refused is not tried for the other hosts") {
  if (!has_sshd() || !has_namespaces()) return;
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const Way way;
    OnTerminal program(way.run(back_end, "db[1-4]", {"--accept-new", "--", "echo", "here"}));
    REQUIRE(program.wait_for("ann@127.0.0.1's password: "));
    program.type("wrong\n");
    REQUIRE(program.wait_for("ann@127.0.0.1's password: "));
    CHECK(count_of(way.gateway.log(), "Failed password for ann") == 1);
    for (int i = 0; i < 2; ++i) {
      if (i > 0) REQUIRE(program.wait_for("ann@127.0.0.1's password: "));
      program.type("wrong\n");
    }
    CHECK(program.finish() == 4);
    INFO(program.shown());
    CHECK(count_of(program.shown(), "'s password: ") == 3);
    CHECK(count_of(way.gateway.log(), "Failed password for ann") == 3);
  }
}

TEST_CASE("a jump host's unknown key is refused, whatever ssh's configuration would have") {
  if (!has_sshd() || !has_namespaces()) return;
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    for (const char* lax : {"", "StrictHostKeyChecking no", "StrictHostKeyChecking accept-new"}) {
      CAPTURE(lax);
      const Way way(lax);
      const Finished got = run_program(way.run(back_end, "db1", {"--json", "--", "true"}));
      CAPTURE(got.out);
      CHECK(got.code == 255);
      const nlohmann::json fail = the_event(got.out, "fail");
      REQUIRE(fail.is_object());
      CHECK(fail["phase"] == "kex");
      CHECK(fail["class"] == "hostkey");
      CHECK_FALSE(std::filesystem::exists(way.known));
    }
  }
}

TEST_CASE("with --no-ask a jump host asks nobody") {
  if (!has_sshd() || !has_namespaces()) return;
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const Way way;
    const std::string asked = way.target.folder() + "/asked", askpass = way.target.folder() + "/askpass";
    std::ofstream(askpass) << "#!/bin/sh\necho asked >" << asked << "\necho no\n";
    std::filesystem::permissions(askpass, std::filesystem::perms::owner_all);
    const Finished got =
        run_program(way.run(back_end, "db1", {"--no-ask", "--accept-new", "--json", "--", "true"}), {},
                    {"SSH_ASKPASS=" + askpass, "SSH_ASKPASS_REQUIRE=force"});
    CAPTURE(got.out);
    CHECK(the_event(got.out, "fail").value("class", "") == "auth");
    CHECK_FALSE(std::filesystem::exists(asked));
  }
}
