// Goal: a question on the terminal stands there alone, survives what happens to a job on a terminal (Ctrl-Z,
// fg, a signal), leaves the terminal as it was, and is answered for nobody but who asked. Method: a real sshd
// with accounts that have passwords; a person at a terminal; somebody else of the same user.
#include <fstream>

#include "tests/end_to_end/person.h"
#include "tests/end_to_end/ssh.h"
#include "tests/end_to_end/terminal.h"

using namespace banyan::test;
using banyan::cat;

namespace {

constexpr const char* kPassword = "correct horse";
constexpr const char* kOther = "battery staple";
constexpr const char* kAsked = "'s password: ";

Sshd::Options with_passwords() {
  return {.client_lines = "PreferredAuthentications publickey,password\n",
          .accounts = {{.name = "ann", .shell = "/bin/sh", .password = kPassword},
                       {.name = "bob", .shell = "/bin/sh", .password = kOther}},
          .pam = Sshd::kUsualPam};
}

// Their keys let nobody in: it takes a password.
Sshd::Options with_passwords_only() {
  Sshd::Options options = with_passwords();
  options.server_lines = "AuthenticationMethods password\n";
  return options;
}

// The value in the environment of whichever descendant has one; empty: none has.
std::string variable_below(pid_t ancestor, const std::string& name) {
  for (const pid_t pid : descendants_of(ancestor)) {
    const std::string environment = '\0' + read_file(cat("/proc/", pid, "/environ"));
    const std::string start = '\0' + name + '=';
    const std::size_t at = environment.find(start);
    if (at == environment.npos) continue;
    const std::size_t from = at + start.size();
    return environment.substr(from, environment.find('\0', from) - from);
  }
  return "";
}

}  // namespace

TEST_CASE("Ctrl-Z at a password question gives the terminal back as it was, and fg asks again") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(with_passwords_only());
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    Terminal terminal(over(server, "ann@web", {"--", "echo", "here"}, back_end),
                      {.environment = {"SSH_ASKPASS=", "SSH_ASKPASS_REQUIRE="}});
    REQUIRE(terminal.wait_for(kAsked));
    CHECK_FALSE(terminal.echoes());
    // Twice: the second stop finds what the first one left.
    for (int i = 0; i < 2; ++i) {
      terminal.type("half of it");
      terminal.type("\x1a");
      REQUIRE(terminal.wait_stopped());
      CHECK(terminal.echoes());
      terminal.foreground();
      REQUIRE(terminal.wait_for(kAsked));
      CHECK_FALSE(terminal.echoes());
    }
    terminal.type(cat(std::string_view(kPassword), "\n"));
    REQUIRE(terminal.wait_for("here"));
    CHECK(terminal.echoes());
    const Finished got = terminal.finish();
    CAPTURE(got.out, server.log());
    CHECK(got.code == 0);
    CHECK(count_of(got.out, kAsked) == 3);
    CHECK_FALSE(contains(got.out, "half of it"));
  }
  CHECK(count_of(server.log(), "Failed password") == 0);
}

TEST_CASE("after Ctrl-Z and bg at a question, what is typed elsewhere stops nothing, and fg asks again") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(with_passwords_only());
  const std::string flag = server.folder() + "/flag";
  Terminal terminal(over(server, "ann@web,local",
                         {"--no-fold", "--", "sh", "-c",
                          cat("while test -d ", server.folder(), " && ! test -e ", flag,
                              "; do sleep 0.1; done; echo went on")}),
                    {.environment = {"SSH_ASKPASS=", "SSH_ASKPASS_REQUIRE="}});
  REQUIRE(terminal.wait_for(kAsked));
  terminal.type("\x1a");
  REQUIRE(terminal.wait_stopped());
  terminal.background();
  REQUIRE(terminal.wait_for("waits until it is in the foreground"));
  // For the shell. Who reads it from behind is stopped, and shows nothing any more.
  terminal.type("ls\n");
  std::ofstream(flag) << "go";
  const bool goes_on = terminal.wait_for("went on");
  INFO(terminal.shown());
  REQUIRE(goes_on);
  terminal.foreground();
  REQUIRE(terminal.wait_for(kAsked));
  terminal.type(cat(std::string_view(kPassword), "\n"));
  const Finished got = terminal.finish();
  CAPTURE(got.out, server.log());
  CHECK(count_of(server.log(), "Failed password") == 0);
}

TEST_CASE("SIGTERM and SIGHUP at a question end the run, and the terminal echoes again") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(with_passwords_only());
  for (const std::string back_end : kBackEnds) {
    for (const int signal : {SIGTERM, SIGHUP}) {
      CAPTURE(back_end, signal);
      OnTerminal program(over(server, "ann@web", {"--", "true"}, back_end));
      REQUIRE(program.wait_for(kAsked));
      CHECK_FALSE(program.echoes());
      ::kill(program.pid(), signal);
      CHECK(program.finish() == 128 + signal);
      CHECK(program.echoes());
    }
  }
}

TEST_CASE("questions of two hosts are put one after the other, and each answer goes to who asked") {
  if (!has_sshd() || !has_namespaces()) return;
  Sshd::Options options = with_passwords_only();
  options.server_lines += "LogLevel DEBUG1\n";
  const Sshd server(options);
  for (const std::string back_end : kBackEnds) {
    CAPTURE(back_end);
    const std::size_t before = server.log().size();
    const auto has_both = [&] {
      const std::string log = server.log().substr(before);
      return contains(log, "for user ann ") && contains(log, "for user bob ");
    };
    OnTerminal program(over(server, "ann@web,bob@db1", {"--", "echo", "here"}, back_end));
    REQUIRE(program.wait_for(kAsked));
    while (!has_both()) ::poll(nullptr, 0, 5);
    // The second has its question by now, or in a moment; it must not be seen.
    CHECK_FALSE(program.wait_for(kAsked, std::chrono::milliseconds(500)));
    INFO(program.shown());
    const bool ann_is_first = contains(program.shown(), "ann@127.0.0.1's password: ");
    program.type(cat(std::string_view(ann_is_first ? kPassword : kOther), "\n"));
    REQUIRE(program.wait_for(ann_is_first ? "bob@127.0.0.1's password: " : "ann@127.0.0.1's password: "));
    CHECK_FALSE(program.echoes());
    program.type(cat(std::string_view(ann_is_first ? kOther : kPassword), "\n"));
    CHECK(program.finish() == 0);
    CHECK(program.echoes());
    CHECK(count_of(program.shown(), kAsked) == 2);
  }
  CHECK(count_of(server.log(), "Failed password") == 0);
}

// Attack A16: through the socket that ssh's questions come by.
TEST_CASE("who asks as if it were our ssh, and is none that we started, gets no secret and no question") {
  if (!has_sshd() || !has_namespaces()) return;
  const std::string passphrase = "open sesame";
  Sshd::Options options = with_passwords();
  options.server_lines = "AuthenticationMethods publickey,password\n";
  const Sshd server(options);
  const std::string key = server.folder() + "/id";
  REQUIRE(std::system(
              cat("exec ssh-keygen -q -a 2 -t ed25519 -C '' -N '", passphrase, "' -f ", key).c_str()) == 0);
  std::ofstream(server.outside("/srv/authorized_keys"), std::ios::app) << read_file(key + ".pub");
  OnTerminal program(over(server, "ann@web", {"--identity", key, "--", "echo", "here"}, "openssh"));
  const std::string question = cat("Enter passphrase for key '", key, "': ");
  REQUIRE(program.wait_for(question));
  program.type(passphrase + "\n");
  REQUIRE(program.wait_for(kAsked));

  const std::string socket = variable_below(program.pid(), "BANYAN_ASKPASS");
  REQUIRE_FALSE(socket.empty());
  for (const std::string& asked : {question, std::string("ann@127.0.0.1's password: ")}) {
    const Finished stranger = run_program({asked}, {}, {"BANYAN_ASKPASS=" + socket});
    CHECK(stranger.code == 1);
    CHECK(stranger.out.empty());
  }

  program.type(cat(std::string_view(kPassword), "\n"));
  CHECK(program.finish() == 0);
  INFO(program.shown());
  CHECK(count_of(program.shown(), kAsked) == 1);
  CHECK(count_of(program.shown(), question) == 1);
  CHECK(contains(program.shown(), "here"));
}
