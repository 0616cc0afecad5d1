// Goal: whatever breaks on the way to an SSH host or while a command runs there, the run ends in bounded
// time, with the right exit code and class, and nothing is left on either side. Method: the real program
// against a real server; one of the processes between the two is killed. A mark in the environment, which ssh
// and the server pass on, finds all that belongs to a run.
#include <fstream>

#include "tests/end_to_end/ssh.h"
#include "tests/support/slack.h"

using namespace banyan::test;
using banyan::cat;

namespace {

// Ignores what it can, has a child of its own session that does, and says when both are there.
constexpr const char* kStubborn =
    "trap '' TERM HUP INT; (setsid sh -c 'trap \"\" TERM HUP INT; echo up; sleep 300; sleep 300' &); "
    "sleep 300; sleep 300";

// A stubborn command that runs on an SSH host.
struct Running {
  explicit Running(const std::string& back_end)
      : program(over(server, "web", {"--json", "--sh", kStubborn}, back_end), Program::Shape::kPipes,
                {mark}) {
    REQUIRE(program.wait_for("up\\n"));
    REQUIRE(processes_marked(mark).size() >= 6);  // us, ssh or a connector, the agent, a guard, two shells
  }
  // Kills it; then the run must say this class and be over, and all processes gone, within so many seconds.
  void kill_and_check(pid_t pid, std::string_view error_class, std::string_view said, double seconds) {
    REQUIRE(pid > 1);
    const Stopwatch since;
    REQUIRE(::kill(pid, SIGKILL) == 0);
    const Finished got = program.finish();
    CAPTURE(got.out, got.err);
    CHECK(since.seconds() < seconds + kSmallSlack);
    CHECK(got.code == 255);
    CHECK(got.err == "");
    const nlohmann::json fail = the_event(got.out, "fail");
    REQUIRE(fail.is_object());
    CHECK(fail["class"] == error_class);
    CHECK(fail["phase"] == "link");
    CHECK(fail["started"] == "yes");
    CHECK(contains(fail["error"].get<std::string>(), said));
    CHECK(all_gone(mark));
    CHECK(since.seconds() < seconds + 2 + kSmallSlack);
    CHECK(the_event(got.out, "summary").value("unreachable", 0) == 1);
  }

  const Sshd server;
  const std::string mark = fresh_mark();
  Program program;
};

}  // namespace

TEST_CASE("--timeout ends a command on an SSH host that ignores SIGTERM and has forked itself out of sight") {
  if (!has_sshd()) return;
  const Sshd server;
  const std::string mark = fresh_mark();
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const Finished got = run_program(
        over(server, "web", {"--json", "--timeout", "500ms", "--sh", kStubborn}, back_end), {}, {mark});
    CAPTURE(got.out);
    CHECK(processes_marked(mark).empty());
    CHECK(got.code == 124);
    CHECK(got.seconds < 0.5 + 3 + kSmallSlack);
    const nlohmann::json fail = the_event(got.out, "fail");
    REQUIRE(fail.is_object());
    CHECK(fail["phase"] == "command");
    CHECK(fail["class"] == "timeout");
    CHECK(fail["started"] == "yes");
    CHECK(fail["seconds"].get<double>() > 0.5);
    CHECK(fail["seconds"].get<double>() < 0.5 + 3);
    CHECK(the_event(got.out, "summary").value("timeout", 0) == 1);
  }
}

TEST_CASE("a root that is killed takes what it started on an SSH host with it") {
  if (!has_sshd()) return;
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    Running running(back_end);
    const Stopwatch since;
    running.program.signal(SIGKILL);
    CHECK(running.program.finish().code == 1000 + SIGKILL);
    CHECK(all_gone(running.mark));
    CHECK(since.seconds() < 2 + kSmallSlack);
  }
}

TEST_CASE("an agent on an SSH host that is killed is told as dead, and its command ends") {
  if (!has_sshd()) return;
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    Running running(back_end);
    running.kill_and_check(marked(running.mark, "banyan-agent"), "dead", "the agent over there ended", 1);
  }
}

TEST_CASE("an ssh that is killed is told as lost, and the command on the host ends") {
  if (!has_sshd()) return;
  Running running("openssh");
  running.kill_and_check(marked(running.mark, "ssh"), "lost", "ssh was killed by signal 9", 1);
}

TEST_CASE("a connector that is killed is told as lost, and the command on the host ends") {
  if (!has_sshd()) return;
  Running running("libssh2");
  running.kill_and_check(marked(running.mark, "banyan-connecto"), "lost", "was killed by signal 9", 1);
}

TEST_CASE("a server's session that is killed is told as lost, and the command on the host ends") {
  if (!has_sshd()) return;
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    Running running(back_end);
    const bool is_ssh = std::string_view(back_end) == "openssh";
    running.kill_and_check(parent_of(marked(running.mark, "banyan-agent")), "lost",
                           is_ssh ? "closed by remote host" : "broke", 1);
  }
}

TEST_CASE("who cannot be reached is told in one line with the phase, the class and a remedy") {
  if (!has_sshd()) return;
  const Sshd server, other;
  const std::string config = server.client_config(), empty = server.folder() + "/empty",
                    swapped = server.folder() + "/swapped", jump = server.folder() + "/jump";
  std::ofstream(empty).close();
  std::ofstream(jump) << "Host web\nProxyJump 127.0.0.1:1\nInclude " << config << "\n";
  std::ofstream(swapped) << "[127.0.0.1]:" << server.port() << " " << other.host_key() << "\n";
  struct {
    Words arguments;
    const char *phase, *error_class, *said;  // said: by ssh
  } table[] = {
      {{"web", "-F", config, "--known-hosts", swapped}, "kex", "hostkey", "has changed"},
      {{"web", "-F", config, "--known-hosts", empty}, "kex", "hostkey", "host key is known for"},
      {{"127.0.0.1", "-F", "none", "--port", std::to_string(server.port()), "--known-hosts",
        server.known_hosts(), "--identity", other.folder() + "/user_key"},
       "auth",
       "auth",
       "Permission denied"},
      {{"web", "-F", config, "--port", "1"}, "connect", "unreachable", "Connection refused"},
      {{"web", "-F", jump}, "connect", "unreachable", "ssh: connect to host 127.0.0.1 port 1: "},
      {{"no-such-host.invalid", "-F", config}, "resolve", "unreachable", "Could not resolve hostname"},
  };
  for (const auto& row : table) {
    Words arguments = {"run"};
    arguments.insert(arguments.end(), row.arguments.begin(), row.arguments.end());
    arguments.insert(arguments.end(), {"--", "true"});
    std::string line;
    for (const std::string& word : arguments) line += word + " ";
    CAPTURE(line);
    arguments.insert(arguments.begin() + 1, {"--ssh", "openssh"});
    for (const char* back_end : {"openssh", "auto"}) {
      arguments[2] = back_end;
      const Finished plain = run_program(arguments);
      CAPTURE(back_end, plain.err);
      CHECK(plain.code == 255);
      CHECK(plain.out == "");
      CHECK(lines_of(plain.err).size() == 1);
      CHECK(plain.err.starts_with("✗ "));
      if (std::string_view(back_end) == "openssh") CHECK(contains(plain.err, row.said));
      CHECK(plain.seconds < 20);
      Words with_json = arguments;
      with_json.insert(with_json.begin() + 1, "--json");
      const Finished json = run_program(with_json);
      CHECK(json.code == 255);
      const nlohmann::json fail = the_event(json.out, "fail");
      REQUIRE(fail.is_object());
      CHECK(fail["phase"] == row.phase);
      CHECK(fail["class"] == row.error_class);
      CHECK(fail["started"] == "no");
      CHECK(fail["remedy"].is_string());
    }
  }
}

TEST_CASE("a key that was believed is said, also when nobody was let in then") {
  if (!has_sshd()) return;
  const Sshd server, other;
  for (const char* back_end : kBackEnds) {
    const std::string known = cat(server.folder(), "/new_", back_end);
    std::ofstream(known).close();
    const Finished got = run_program({"run", "--ssh", back_end, "-F", "none", "--port",
                                      std::to_string(server.port()), "--known-hosts", known, "--accept-new",
                                      "--identity", other.folder() + "/user_key", "127.0.0.1", "--", "true"});
    CAPTURE(back_end, got.err);
    CHECK(got.code == 255);
    CHECK(contains(read_file(known), server.host_key()));
    const std::string said = cat("Warning: Permanently added '[127.0.0.1]:", server.port(), "'");
    const std::size_t at = got.err.find(said);
    REQUIRE(at != got.err.npos);
    CHECK(got.err.find(said, at + 1) == got.err.npos);
  }
}

TEST_CASE("of a key that is not known is said how to check it, and how to believe it then") {
  if (!has_sshd()) return;
  const Sshd server;
  const std::string empty = server.folder() + "/none_known";
  std::ofstream(empty).close();
  for (const char* back_end : kBackEnds) {
    const Finished got = run_program({"run", "--ssh", back_end, "-F", server.client_config(), "--known-hosts",
                                      empty, "--json", "web", "--", "true"});
    CAPTURE(back_end, got.out);
    const std::string remedy = the_event(got.out, "fail").value("remedy", "");
    CHECK(contains(remedy, "ssh-keygen -lf"));
    CHECK(contains(remedy, "--accept-new"));
  }
}

TEST_CASE("a host behind a jump that fails is told with the way there") {
  if (!has_sshd()) return;
  const Sshd server;
  const std::string jump = server.folder() + "/jump";
  std::ofstream(jump) << "Host web\nProxyJump 127.0.0.1:1\nInclude " << server.client_config() << "\n";
  const Finished plain = run_program({"run", "web", "-F", jump, "--", "true"});
  CHECK(contains(plain.err, ", by way of 127.0.0.1 ("));
  const Finished json = run_program({"run", "--json", "web", "-F", jump, "--", "true"});
  CHECK(the_event(json.out, "fail")["route"] == nlohmann::json({"127.0.0.1", "web"}));
}

TEST_CASE("an account whose login shell runs nothing is told in one line") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server({.accounts = {{"refuser", "/bin/false"},
                                  {"leaver", "/bin/true"},
                                  {"nobody-home", "/usr/sbin/nologin"},
                                  {"shell-less", "/no/such/shell"}}});
  struct {
    const char *account, *phase, *error_class, *said;
  } table[] = {
      {"refuser", "shell", "bootstrap", "the connection ended before the shell was ready"},
      {"leaver", "shell", "bootstrap", "the connection ended before the shell was ready"},
      {"nobody-home", "shell", "refused", "This account is currently not available"},
      {"shell-less", "auth", "auth", "ermission denied"},
  };
  for (const char* back_end : kBackEnds) {
    for (const auto& row : table) {
      const Finished got = run_program(
          over(server, cat(std::string_view(row.account), "@web"), {"--json", "--", "true"}, back_end));
      CAPTURE(row.account, back_end, got.out);
      CHECK(got.code == 255);
      CHECK(got.seconds < 10);
      const nlohmann::json fail = the_event(got.out, "fail");
      REQUIRE(fail.is_object());
      CHECK(fail["phase"] == row.phase);
      CHECK(fail["class"] == row.error_class);
      CHECK(fail["started"] == "no");
      CHECK(contains(fail["error"].get<std::string>(), row.said));
      CHECK(fail["remedy"].is_string());
    }
  }
}
