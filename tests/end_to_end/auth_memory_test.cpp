// Goal: what a person typed is not in the connector any more once the command runs: not in memory that was
// given back, nor on a stack, nor in a buffer. Method: a real sshd that wants a key with a passphrase and a
// password, or asks by keyboard-interactive; the memory of the processes is searched as a debugger would.
// What the connector still has, the name of the key's file, has to be found the same way.
#include <cstdio>
#include <fstream>
#include <optional>

#include "core/epoll_loop.h"
#include "tests/end_to_end/person.h"
#include "tests/end_to_end/questions.h"
#include "tests/support/not_tested.h"

using namespace banyan::test;
using banyan::cat;

namespace {

// The mappings in which a process's memory holds the text; nothing: it may not be looked at.
std::optional<std::vector<std::string>> places_of(std::string_view text, pid_t pid) {
  const banyan::Fd memory(::open(cat("/proc/", pid, "/mem").c_str(), O_RDONLY | O_CLOEXEC));
  std::ifstream maps(cat("/proc/", pid, "/maps"));
  if (!memory || !maps) return std::nullopt;
  std::vector<std::string> places;
  std::string piece;
  for (std::string line; std::getline(maps, line);) {
    std::uint64_t from = 0, to = 0;
    char rights[5] = "";
    if (std::sscanf(line.c_str(), "%lx-%lx %4s", &from, &to, rights) != 3 || rights[0] != 'r') continue;
    // Overlapping, since a text may lie across two pieces.
    constexpr std::size_t kPiece = 1024 * 1024;
    for (bool found = false; from < to && !found; from += kPiece) {
      piece.resize(std::min<std::uint64_t>(kPiece + text.size(), to - from));
      const ssize_t got = ::pread(memory.get(), piece.data(), piece.size(), off_t(from));
      if (got <= 0) continue;  // the kernel's own
      found = std::string_view(piece).substr(0, std::size_t(got)).find(text) != std::string_view::npos;
      if (found) places.push_back(line);
    }
  }
  return places;
}

// 0: there is none.
pid_t connector_of(pid_t root) {
  for (const pid_t pid : descendants_of(root)) {
    if (read_file(cat("/proc/", pid, "/comm")).starts_with("banyan-connecto")) return pid;
  }
  return 0;
}

std::string mark() {
  return cat("Canary-", banyan::EpollLoop().random(), "-");
}
std::string repeated(const std::string& text) {
  std::string all;
  for (int i = 0; i < 6; ++i) all += text;
  return all;
}

}  // namespace

// Attack A16.
TEST_CASE("no password, answer or passphrase is in the connector's memory once the command has started") {
  if (!has_sshd() || !has_namespaces()) return;
  // Several times the same, far longer than what the C library writes into memory that was given back; any
  // one that is left is found.
  const std::string password_mark = mark(), passphrase_mark = mark();
  const std::string password = repeated(password_mark), passphrase = repeated(passphrase_mark);
  const struct {
    const char* name;
    const char* client_lines;
    const char* server_lines;
    bool has_key;
  } table[] = {
      {"a key, then a password", "PreferredAuthentications publickey,password\n",
       "AuthenticationMethods publickey,password\n", true},
      {"keyboard-interactive", "PreferredAuthentications keyboard-interactive\n",
       "AuthenticationMethods keyboard-interactive\n", false},
  };
  for (const auto& row : table) {
    CAPTURE(row.name);
    Sshd::Options options = with_passwords(row.client_lines);
    options.accounts[0].password = password;
    options.server_lines = row.server_lines;
    const Sshd server(options);
    const std::string key = make_key(server, "canary", "-t ed25519", passphrase);
    std::ofstream(server.outside("/srv/authorized_keys"), std::ios::app) << read_file(key + ".pub");
    OnTerminal program(over(server, "ann@web",
                            {"--identity", key, "--json", "--", "sh", "-c", "echo begun; exec sleep 60"},
                            "libssh2"));
    INFO(program.shown());
    if (row.has_key) {
      REQUIRE(program.wait_for("Enter passphrase"));
      program.type(passphrase + "\n");
    }
    REQUIRE(program.wait_for("assword: "));
    program.type(password + "\n");
    REQUIRE(program.wait_for("begun"));
    const pid_t connector = connector_of(program.pid());
    REQUIRE(connector > 0);
    const auto of_password = places_of(password_mark, connector),
               of_passphrase = places_of(passphrase_mark, connector);
    if (!of_password || !of_passphrase)
      return not_tested("memory", "the memory of another process may not be read");
    for (const std::string& place : *of_password) FAIL_CHECK("a password in " << place);
    for (const std::string& place : *of_passphrase) FAIL_CHECK("a passphrase in " << place);
    // It is there to be searched, and what is there is found.
    CHECK_FALSE(places_of(key, connector).value().empty());
    CHECK_FALSE(places_of(password_mark, ::getpid()).value().empty());
    ::kill(program.pid(), SIGTERM);
    program.finish();
  }
}
