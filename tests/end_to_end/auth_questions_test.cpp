// Goal: whatever a server wants to know of a person is asked, whoever speaks SSH; once, in the right words,
// and given to nobody else. Method: a real sshd with accounts that have passwords, and a real dropbear; a
// person at a terminal (a pty that is the controlling one), or the program that SSH_ASKPASS names.
#include <fstream>

#include "tests/end_to_end/ssh.h"
#include "tests/end_to_end/terminal.h"

using namespace banyan::test;
using banyan::cat;

namespace {

const std::string kBackEnds[] = {"openssh", "libssh2"};
constexpr const char* kPassword = "correct horse";

Words through(const std::string& back_end, const Sshd& server, const std::string& targets,
              const Words& rest) {
  Words words = {"--ssh", back_end};
  const Words run = over(server, targets, rest);
  words.insert(words.end(), run.begin(), run.end());
  return words;
}

[[maybe_unused]] std::size_t count_of(const std::string& text, std::string_view part) {
  std::size_t count = 0;
  for (std::size_t at = text.find(part); at != text.npos; at = text.find(part, at + 1)) ++count;
  return count;
}

Sshd::Options with_passwords() {
  return {.client_lines = "PreferredAuthentications password\n",
          .accounts = {{.name = "ann", .shell = "/bin/sh", .password = kPassword},
                       {.name = "old", .shell = "/bin/sh", .password = kPassword, .has_expired = true}},
          .pam = Sshd::kUsualPam};
}

}  // namespace

TEST_CASE("a password is asked for by name, does not show, and lets in") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(with_passwords());
  for (const std::string& back_end : kBackEnds) {
    CAPTURE(back_end);
    OnTerminal program(through(back_end, server, "ann@web", {"--", "echo", "here"}));
    INFO(program.shown());
    REQUIRE(program.wait_for("ann@127.0.0.1's password: "));
    CHECK_FALSE(program.echoes());
    program.type(cat(kPassword, "\n"));
    CHECK(program.wait_for("here"));
    CHECK(program.finish() == 0);
    CHECK(program.echoes());
    CHECK_FALSE(contains(program.shown(), kPassword));
  }
}
