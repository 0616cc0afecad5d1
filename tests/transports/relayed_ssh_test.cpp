// Goal: a hop's ssh is told all that counts, reads nothing of the hop's, and what it says is put in words
// that help whoever is here. Method: argument vectors of settings as ssh -G prints them; errors as a hop
// reports them.
#include "transports/relayed_ssh.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <cerrno>

#include "core/text.h"
#include "parent/back_channel.h"

using namespace banyan;

namespace {

SshSettings settings_of(std::string_view more) {
  LocalUser local;
  local.home = "/home/ann";
  local.variable = [](const std::string&) -> std::optional<std::string> { return std::nullopt; };
  local.home_of = [](const std::string&) -> std::optional<std::string> { return std::nullopt; };
  auto settings = parse_ssh_settings(cat("hostname 10.0.0.7\nuser ann\nport 2222\naddressfamily any\n", more),
                                     "db1", local);
  REQUIRE(settings);
  return *settings;
}

bool has_option(const std::vector<std::string>& argv, std::string_view option) {
  for (std::size_t i = 1; i < argv.size(); ++i)
    if (argv[i - 1] == "-o" && argv[i] == option) return true;
  return false;
}

}  // namespace

TEST_CASE("a hop's ssh reads no configuration, knows the keys it is sent, and has no key but ours") {
  const SshSettings settings = settings_of("identityfile ~/.ssh/id_ed25519\n");
  const std::vector<std::string> argv = relayed_ssh_argv(settings, nullptr, "true");
  CHECK(argv[0] == "ssh");
  CHECK(argv[1] == "-F");
  CHECK(argv[2] == "none");
  for (const char* option :
       {"StrictHostKeyChecking=yes", "HostKeyAlias=db1", "UserKnownHostsFile=@banyan:file@",
        "GlobalKnownHostsFile=/dev/null", "IdentityFile=none", "BatchMode=yes", "ForwardAgent=no",
        "ControlPath=none", "PreferredAuthentications=publickey", "ClearAllForwardings=yes"}) {
    CAPTURE(option);
    CHECK(has_option(argv, option));
  }
  const std::vector<std::string> end = {"-l", "ann", "-p", "2222", "--", "10.0.0.7", "true"};
  CHECK(std::equal(end.rbegin(), end.rend(), argv.rbegin()));
  for (const std::string& word : argv) CHECK(word.find("id_ed25519") == std::string::npos);
}

TEST_CASE("a hop's ssh is told which algorithms somebody has set, and not those that ours has by itself") {
  const SshSettings defaults = settings_of("ciphers a,b\nmacs m\n");
  CHECK_FALSE(
      has_option(relayed_ssh_argv(settings_of("ciphers a,b\nmacs m\n"), &defaults, "x"), "Ciphers=a,b"));
  const auto argv = relayed_ssh_argv(settings_of("ciphers b\nmacs m\n"), &defaults, "x");
  CHECK(has_option(argv, "Ciphers=b"));
  CHECK_FALSE(has_option(argv, "MACs=m"));
  // Not known what ours has: better too much than what somebody has forbidden.
  CHECK(has_option(relayed_ssh_argv(settings_of("ciphers b\n"), nullptr, "x"), "Ciphers=b"));
}

TEST_CASE("what was set of getting there counts, but for the way and for addresses of this machine") {
  const auto argv = relayed_ssh_argv(
      settings_of("connecttimeout 30\nconnectionattempts 99\ncompression yes\nproxyjump gw\nproxycommand nc\n"
                  "bindaddress 192.0.2.1\nsetenv A=1\n"),
      nullptr, "x");
  CHECK(has_option(argv, "ConnectTimeout=30"));
  CHECK(has_option(argv, "ConnectionAttempts=10"));
  CHECK(has_option(argv, "Compression=yes"));
  CHECK(has_option(argv, "SetEnv=\"A=1\""));
  for (const std::string& word : argv) {
    CHECK(word.find("Proxy") == std::string::npos);
    CHECK(word.find("192.0.2.1") == std::string::npos);
  }
}

TEST_CASE("the recipe carries what is known of the host, and where keys are asked for") {
  const SshSettings settings = settings_of("connecttimeout 30\n");
  const Recipe recipe = relayed_ssh({"db1", settings, nullptr, "db1 ssh-ed25519 AAAA\n"}, 7, "", 5 * kSecond);
  CHECK(recipe.method == "ssh");
  CHECK(recipe.extra().file == "db1 ssh-ed25519 AAAA\n");
  REQUIRE(recipe.environment.size() == 1);
  CHECK(recipe.environment[0].first == "SSH_AUTH_SOCK");
  CHECK(recipe.environment[0].second == kSocketPlace);
  CHECK(recipe.deadlines.total == 5 * kSecond);
  CHECK(recipe.deadlines.until_ready == Deadlines{}.until_ready + 20 * kSecond);
}

TEST_CASE("errors of a hop's ssh come with what can be done from here") {
  Error missing{ErrorClass::kBootstrap, Phase::kConnect, "starting ssh: No such file or directory", {}};
  missing.system_error = ENOENT;
  const Error without = error_of_relayed_ssh(missing, "gw", "ssh -J gw db1 true", "");
  CHECK(without.text == "there is no ssh on gw");
  CHECK(without.remedy.find("install one there") != std::string::npos);
  CHECK(lacks_ssh(without));
  CHECK_FALSE(lacks_ssh(Error{ErrorClass::kRefused, Phase::kConnect, "no", ""}));

  const Error denied{ErrorClass::kAuth, Phase::kAuth, "ann@10.0.0.7: Permission denied (publickey).", "x"};
  CHECK(error_of_relayed_ssh(denied, "gw", "ssh -J gw db1 true", "").text == denied.text);
  CHECK(error_of_relayed_ssh(denied, "gw", "ssh -J gw db1 true", "").remedy.find("ssh -J gw db1") !=
        std::string::npos);
  const Error refused =
      error_of_relayed_ssh(denied, "gw", "ssh -J gw db1 true", "it asked to log in as another user");
  CHECK(refused.text == "no signature from here: it asked to log in as another user");

  const Error lost{ErrorClass::kLost, Phase::kLink, "gone", ""};
  CHECK(error_of_relayed_ssh(lost, "gw", "ssh -J gw db1 true", "it asked to log in as another user").text ==
        "gone");
}

TEST_CASE("certificates of hosts are not asked for, and other types as they were set") {
  const SshSettings defaults = settings_of("hostkeyalgorithms a-cert-v01@openssh.com,a,b\n");
  CHECK(has_option(relayed_ssh_argv(defaults, &defaults, "x"), "HostKeyAlgorithms=-*-cert-v01@openssh.com"));
  CHECK(has_option(
      relayed_ssh_argv(settings_of("hostkeyalgorithms b-cert-v01@openssh.com,b,a\n"), &defaults, "x"),
      "HostKeyAlgorithms=b,a"));
}

TEST_CASE("a variable's value goes over in one piece, whatever is in it") {
  const auto argv = relayed_ssh_argv(settings_of("setenv A=one two\n"), nullptr, "x");
  CHECK(has_option(argv, "SetEnv=\"A=one two\""));
}

TEST_CASE("what cannot be followed beneath a hop is refused before the hop is asked") {
  const std::string key = "db1 ssh-ed25519 AAAA\n";
  const auto why = [&](std::string_view more, const std::string& known) {
    const auto cannot = cannot_relay(settings_of(more), known, "db1", "ssh -J gw db1 true");
    return cannot ? cannot->text : std::string();
  };
  CHECK(why("", key) == "");
  CHECK(why("", "@revoked db1 ssh-rsa AAAA\n" + key) == "");
  CHECK(why("", "") == "no key of db1 is known here, and the hop is not asked");
  CHECK(why("", "@revoked db1 ssh-rsa AAAA\n").find("no key of db1") == 0);
  CHECK(why("", "@cert-authority db1 ssh-ed25519 AAAA\n").find("only who certifies") != std::string::npos);
  CHECK(why("revokedhostkeys /etc/revoked\n", key).find("RevokedHostKeys") == 0);
  CHECK(why("pubkeyauthentication false\n", key).find("PubkeyAuthentication no") == 0);
}
