// Goal: a host whose server does not wait as long as a person needs for the others is reached all the same.
// Method: a real sshd that waits, and one that hangs up after two seconds (LoginGraceTime); a person at a
// terminal who lets that happen before he answers.
#include <fstream>

#include "tests/end_to_end/person.h"
#include "tests/end_to_end/ssh.h"
#include "tests/support/delay_proxy.h"

using namespace banyan::test;
using namespace std::chrono_literals;
using banyan::cat;

namespace {

constexpr const char* kPassword = "correct horse";

Sshd::Options with_password(const std::string& server_lines = "") {
  return {.server_lines = server_lines,
          .accounts = {{.name = "ann", .shell = "/bin/sh", .password = kPassword}},
          .pam = Sshd::kUsualPam};
}

// Both have come, and the server has hung up on them. Its log has no word of that everywhere.
bool wait_until_hung_up(const Sshd& server, const DelayProxy& way) {
  const auto until = std::chrono::steady_clock::now() + kProgramDeadline;
  while (way.connections() < 2 || !descendants_of(server.pid()).empty() ||
         count_of(server.log(), "Connection from ") < 2) {
    if (std::chrono::steady_clock::now() > until) return false;
    ::poll(nullptr, 0, 20);
  }
  return true;
}

}  // namespace

TEST_CASE("a server that hangs up while a person answers others is asked anew, and the person no more") {
  if (!has_sshd() || !has_namespaces()) return;
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    const Sshd patient(with_password()), hasty(with_password("LoginGraceTime 2\n"));
    // So that the patient one asks first.
    const DelayProxy late(DelayProxy::round_trip(hasty.port(), 200ms));
    const std::string config = patient.folder() + "/both", known = patient.folder() + "/both_known";
    std::ofstream(known) << "[127.0.0.1]:" << patient.port() << " " << patient.host_key()
                         << "\n[127.0.0.1]:" << late.port() << " " << hasty.host_key() << "\n";
    std::ofstream(config) << "Host patient\nPort " << patient.port() << "\nHost hasty*\nPort " << late.port()
                          << "\nHost *\nUser ann\nPreferredAuthentications password\nUserKnownHostsFile "
                          << known << "\nInclude " << patient.client_config()
                          << "\nHost *\nHostName 127.0.0.1\nIdentityFile none\nIdentityAgent none\n"
                          << "GlobalKnownHostsFile /dev/null\nKexAlgorithms curve25519-sha256\n";
    OnTerminal program({"run", "--ssh", back_end, "-F", config, "patient,hasty[1-2]", "--", "echo", "here"});
    REQUIRE(program.wait_for("patient: ann@127.0.0.1's password: "));
    REQUIRE(wait_until_hung_up(hasty, late));
    program.type(cat(kPassword, "\n"));
    for (int i = 0; i < 2; ++i) {
      REQUIRE(program.wait_for(": ann@127.0.0.1's password: "));
      program.type(cat(kPassword, "\n"));
    }
    const int code = program.finish();
    INFO(program.shown());
    CHECK(code == 0);
    CHECK(contains(program.shown(), "3 ok"));
    CHECK(count_of(program.shown(), "ann@127.0.0.1's password: ") == 3);
  }
}
