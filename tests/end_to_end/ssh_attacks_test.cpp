// Goal: who stands between us and a host, or chooses a host's name, gains nothing (attacks A21 and A22 of
// docs/testing.md): a host's key is compared and shown, what is offered to a server has no weak prefix, and
// no name becomes an option or a command. Method: the real program against a real sshd with files of known
// hosts that do not fit; a port of ours that keeps what libssh2 offers; names from every place a name comes
// from, with an `ssh` in PATH that would tell.
#include <sys/stat.h>

#include <filesystem>
#include <fstream>

#include "tests/end_to_end/ssh.h"
#include "tests/support/fake_server.h"

using namespace banyan::test;
using banyan::cat;

namespace {

// The name lists of a KEXINIT packet, in its order: key exchange, host keys, ciphers to and fro, MACs to and
// fro, ...
std::vector<std::string> offered(const std::string& sent) {
  std::vector<std::string> lists;
  const std::size_t line = sent.find("\r\n");
  if (line == sent.npos) return lists;
  std::size_t at = line + 2 + 4 + 1 + 1 + 16;  // length, padding, kind, cookie
  const auto number = [&](std::size_t where) {
    std::uint32_t value = 0;
    for (std::size_t i = 0; i < 4; ++i) value = value << 8 | std::uint8_t(sent[where + i]);
    return std::size_t(value);
  };
  while (lists.size() < 10 && at + 4 <= sent.size()) {
    const std::size_t bytes = number(at);
    if (at + 4 + bytes > sent.size()) break;
    lists.push_back(sent.substr(at + 4, bytes));
    at += 4 + bytes;
  }
  return lists;
}

}  // namespace

TEST_CASE(
    "a host key that is not known or has changed ends the connection before anything of ours is shown") {
  if (!has_sshd()) return;
  const Sshd server, other;
  const std::string here = cat("[127.0.0.1]:", server.port(), " "), empty = server.folder() + "/empty",
                    swapped = server.folder() + "/swapped";
  std::ofstream(empty) << "";
  std::ofstream(swapped) << "# the first line is none\n" << here << other.host_key() << "\n";
  const std::string shown = fingerprint_of(server.host_key(), server),
                    known = fingerprint_of(other.host_key(), server);
  const struct {
    const std::string& file;
    const char* back_end;
    std::vector<std::string> says;
  } table[] = {
      {empty, "libssh2", {"is not known", shown}},
      {swapped, "libssh2", {"has changed", shown, known, swapped + ":2"}},
      {empty, "openssh", {"No ED25519 host key is known"}},
      {swapped, "openssh", {"has changed"}},
  };
  for (const auto& row : table) {
    CAPTURE(row.file, row.back_end);
    const Finished got =
        run_program(over(server, "web", {"--json", "--known-hosts", row.file, "--", "true"}, row.back_end));
    CAPTURE(got.out);
    CHECK(got.code == 255);
    const nlohmann::json fail = the_event(got.out, "fail");
    REQUIRE(fail.is_object());
    CHECK(fail["phase"] == "kex");
    CHECK(fail["class"] == "hostkey");
    CHECK(fail["started"] == "no");
    CHECK(fail["remedy"].is_string());
    for (const std::string& text : row.says) CHECK(contains(fail["error"], text));
  }
  // No key was offered, and the user was not named.
  CHECK_FALSE(contains(server.log(), "publickey"));
  CHECK_FALSE(contains(server.log(), "Accepted"));
}

TEST_CASE(
    "libssh2 offers nothing that a cut prefix could turn against us: neither chacha20 nor MACs over the "
    "cipher") {
  const FakeServer fake("SSH-2.0-x\r\n", FakeServer::Then::kSilence);
  const std::string folder = std::getenv("TMPDIR"), config = folder + "/offer_config";
  std::ofstream(config) << "Host web\nHostName 127.0.0.1\nPort " << fake.port()
                        << "\nUserKnownHostsFile /dev/null\nIdentityAgent none\nIdentityFile /none\n";
  const Finished got =
      run_program({"run", "-F", config, "--ssh", "libssh2", "--connect-timeout", "1s", "web", "--", "true"});
  CAPTURE(got.err);
  CHECK(got.code == 255);
  const std::vector<std::string> lists = offered(fake.received());
  REQUIRE(lists.size() == 10);
  CHECK(contains(lists[0], "curve25519-sha256"));
  CHECK(lists[1] == "ssh-ed25519,ecdsa-sha2-nistp256,ecdsa-sha2-nistp384,ecdsa-sha2-nistp521");
  for (const std::size_t ciphers : {2, 3}) {
    CHECK(contains(lists[ciphers], "aes128-ctr"));
    CHECK_FALSE(contains(lists[ciphers], "chacha20"));
  }
  for (const std::size_t macs : {4, 5}) {
    CHECK(contains(lists[macs], "hmac-sha2-256"));
    CHECK_FALSE(contains(lists[macs], "-etm"));
  }
  std::filesystem::remove(config);
}

TEST_CASE(
    "a name that would be an option or a command is refused before anything is started, wherever it comes "
    "from") {
  const std::string folder = cat(std::string_view(std::getenv("TMPDIR")), "/names"),
                    touched = folder + "/touched";
  std::filesystem::create_directory(folder);
  {
    std::ofstream(folder + "/ssh") << "#!/bin/sh\ntouch '" << touched << "'\nexit 255\n";
    ::chmod((folder + "/ssh").c_str(), 0755);
  }
  const std::string path = cat("PATH=", folder, ":", std::string_view(std::getenv("PATH")));
  const std::string run = cat("touch ", touched);
  const std::string names[] = {
      cat("-oProxyCommand=", run),
      cat("root@-oProxyCommand=", run),
      cat("web,-oProxyCommand=", run),
      cat("$(", run, ")@web"),
      cat("`", run, "`@web"),
      cat("user\n", run, "\n@web"),
      cat("web\n-oProxyCommand=", run),
      cat("web$(", run, ")"),
      cat("web`", run, "`"),
      cat("web;", run),
      cat("web|", run),
      cat("web&", run),
      "-lroot@web",
      "web:22 -oProxyCommand=x",
      "a b@web",
      "'web'",
      "web\\",
      "%h@web",
  };
  for (const std::string& name : names) {
    for (const char* back_end : {"openssh", "libssh2", "auto"}) {
      std::ofstream(folder + "/list") << name << "\n";
      const Words ways[] = {
          {"run", "--ssh", back_end, "-w", name, "--", "true"},
          {"run", "--ssh", back_end, "-H", name, "--", "true"},
          {"run", "--ssh", back_end, "web", "-x", name, "--", "true"},
          {"run", "--ssh", back_end, cat("^", folder, "/list"), "--", "true"},
          {"run", "--ssh", back_end, "-w", "-", "--", "true"},
          {"plan", "--ssh", back_end, "-w", name},
          {"tree", "--ssh", back_end, "-w", name},
      };
      for (const Words& words : ways) {
        CAPTURE(name, words);
        const Finished got = run_program(words, name + "\n", {path});
        CAPTURE(got.err);
        CHECK(got.code == 2);
        CHECK(got.out == "");
        CHECK_FALSE(got.err.empty());
        CHECK_FALSE(std::filesystem::exists(touched));
      }
    }
  }
  for (const std::string user : {"$(x)", "`x`", "a\nb", "-oProxyCommand=x", "a b"}) {
    CAPTURE(user);
    const Finished got = run_program({"run", "-l", user, "web", "--", "true"}, {}, {path});
    CHECK(got.code == 2);
    CHECK_FALSE(std::filesystem::exists(touched));
  }
  std::filesystem::remove_all(folder);
}
