// Goal: `banyan doctor` finds nothing wrong where all is well, and else names the step that fails, with
// something to do about it; it ends in bounded time and leaves nothing. Method: the real program against this
// machine and real servers with one thing wrong each, over both back ends.
#include <sys/stat.h>

#include <fstream>

#include "tests/end_to_end/ssh.h"
#include "tests/support/fake_server.h"

using namespace banyan::test;
using banyan::cat;

namespace {

const Words kLocalSteps = {"settings", "execute", "hello", "call", "shutdown"};
const Words kSteps = {"settings", "resolve", "connect", "kex",   "auth", "shell",
                      "stage0",   "upload",  "execute", "hello", "call", "shutdown"};

// The object of one target.
nlohmann::json report_of(const Finished& got, const std::string& target) {
  for (const nlohmann::json& line : events_of(got.out))
    if (line.value("target", "") == target && !line.contains("event")) return line;
  return nullptr;
}

nlohmann::json step_of(const nlohmann::json& report, const std::string& name) {
  for (const nlohmann::json& step : report["steps"])
    if (step["step"] == name) return step;
  return nullptr;
}

Words names_of(const nlohmann::json& report) {
  Words names;
  for (const nlohmann::json& step : report["steps"]) names.push_back(step["step"]);
  return names;
}

Finished doctor(const Sshd& server, const std::string& target, const std::string& back_end,
                const Words& rest = {}, const Words& environment = {}) {
  Words words = {"doctor", target, "--ssh", back_end, "-F", server.client_config(), "--json"};
  words.insert(words.end(), rest.begin(), rest.end());
  return run_program(words, {}, environment);
}

// What an account's own shell has started is its own: as with ssh, nobody over there knows that we have gone.
void kill_sleepers(const std::string& mark) {
  for (pid_t pid : processes_marked(mark)) ::kill(pid, SIGKILL);
}

// All before it are well, nothing after it was reached, and there is a word of advice.
void check_fails_at(const Finished& got, const std::string& target, const std::string& name) {
  CAPTURE(name, got.out, got.err);
  CHECK(got.code == 255);
  CHECK(got.err == "");
  const nlohmann::json report = report_of(got, target);
  REQUIRE(report.is_object());
  CHECK(report["well"] == false);
  CHECK(report["failed"] == name);
  CHECK(report["error"].is_string());
  REQUIRE(report["remedy"].is_string());
  CHECK_FALSE(report["remedy"].get<std::string>().empty());
  CHECK_FALSE(contains(got.out, "debug1: "));  // what is told of steps is no complaint
  CHECK(names_of(report) == kSteps);
  bool is_before = true;
  for (const nlohmann::json& step : report["steps"]) {
    CAPTURE(step.dump());
    const bool is_it = step["step"] == name;
    if (is_it) is_before = false;
    CHECK(step["state"] == (is_it ? "failed" : is_before ? "ok" : "not_reached"));
    if (is_it)
      CHECK(step["found"].get<std::string>().starts_with(report["error"].get<std::string>().substr(0, 40)));
  }
  CHECK(the_event(got.out, "summary")["exit_code"] == 255);
}

}  // namespace

TEST_CASE("this machine is well, and its ladder has no steps of the network") {
  const Finished plain = run_program({"doctor", "local"});
  CHECK(plain.code == 0);
  CHECK(plain.err == "");
  CHECK(plain.out.starts_with("local: all is well ("));
  CHECK(contains(plain.out, "\n  shutdown  ok "));

  const Finished got = run_program({"doctor", "local[1-3]", "--json"});
  CHECK(got.code == 0);
  for (const char* name : {"local1", "local2", "local3"}) {
    const nlohmann::json report = report_of(got, name);
    REQUIRE(report.is_object());
    CHECK(report["well"] == true);
    CHECK(report["failed"].is_null());
    CHECK(report["remedy"].is_null());
    CHECK(names_of(report) == kLocalSteps);
    for (const nlohmann::json& step : report["steps"]) CHECK(step["state"] == "ok");
    CHECK(step_of(report, "hello")["facts"]["uid"] == ::getuid());
    CHECK(step_of(report, "call")["facts"]["rtt_us"].get<std::int64_t>() > 0);
  }
  CHECK(the_event(got.out, "summary")["ok"] == 3);
}

TEST_CASE("an ssh host that is well is shown with what each step found, over both back ends") {
  if (!has_sshd()) return;
  const Sshd server;
  for (const char* back_end : kBackEnds) {
    const Finished got = doctor(server, "web", back_end);
    CAPTURE(back_end, got.out, got.err);
    CHECK(got.code == 0);
    const nlohmann::json report = report_of(got, "web");
    REQUIRE(report.is_object());
    CHECK(report["well"] == true);
    CHECK(names_of(report) == kSteps);
    for (const nlohmann::json& step : report["steps"]) {
      CAPTURE(step.dump());
      CHECK(step["state"] == "ok");
    }
    CHECK(step_of(report, "settings")["facts"]["backend"] == back_end);
    CHECK(step_of(report, "settings")["facts"]["port"] == server.port());
    for (const char* timed :
         {"settings", "resolve", "connect", "kex", "auth", "shell", "upload", "hello", "call"}) {
      CAPTURE(timed);
      REQUIRE(step_of(report, timed)["seconds"].is_number());
      CHECK(step_of(report, timed)["seconds"].get<double>() < 20);
    }
    CHECK(step_of(report, "kex")["facts"]["known_host_key_types"] == nlohmann::json({"ssh-ed25519"}));
    CHECK(step_of(report, "stage0")["facts"]["arch"] == step_of(report, "hello")["facts"]["arch"]);
    CHECK(step_of(report, "stage0")["facts"]["receiver"] == "dd in full blocks");
    CHECK(step_of(report, "upload")["facts"]["bytes"].get<std::int64_t>() > 20'000);
    CHECK(step_of(report, "execute")["facts"]["from"] == "memory");
    CHECK(step_of(report, "shutdown")["facts"]["left"] == "");
    CHECK(server.leftovers().empty());
    // What the back end says of itself.
    CHECK(step_of(report, "resolve")["facts"]["address"] == "127.0.0.1");
    CHECK(contains(step_of(report, "connect")["facts"]["server"].get<std::string>(), "OpenSSH"));
    CHECK(step_of(report, "kex")["facts"]["host_key_type"] == "ssh-ed25519");
    CHECK(step_of(report, "kex")["facts"]["host_key_fingerprint"] ==
          fingerprint_of(server.host_key(), server));
    CHECK(step_of(report, "auth")["facts"]["method"] == "publickey");
    CHECK(step_of(report, "auth")["facts"]["key"].get<std::string>().ends_with("/user_key"));
    CHECK(step_of(report, "auth")["facts"]["key_fingerprint"] ==
          fingerprint_of(read_file(server.folder() + "/user_key.pub"), server));
  }
}

TEST_CASE("the password that let in is told as the method, and nothing more of it") {
  if (!has_sshd() || !has_namespaces()) return;
  const std::string password = "Canary-5c1e";
  const Sshd server({.client_lines = "PreferredAuthentications password\n",
                     .accounts = {{.name = "ann", .shell = "/bin/sh", .password = password}},
                     .pam = Sshd::kUsualPam});
  const std::string askpass = server.folder() + "/askpass";
  std::ofstream(askpass) << "#!/bin/sh\necho " << password << "\n";
  ::chmod(askpass.c_str(), 0700);
  for (const char* back_end : kBackEnds) {
    const Finished got =
        doctor(server, "ann@web", back_end, {}, {"SSH_ASKPASS=" + askpass, "SSH_ASKPASS_REQUIRE=force"});
    CAPTURE(back_end, got.out, got.err);
    CHECK(got.code == 0);
    const nlohmann::json step = step_of(report_of(got, "ann@web"), "auth");
    CHECK(step["found"] == "password");
    CHECK(step["facts"]["method"] == "password");
    CHECK_FALSE(step["facts"].contains("key"));
    CHECK_FALSE(contains(got.out, password));
  }
}

TEST_CASE("many targets get a report each, and one that is sick makes the exit code 4") {
  if (!has_sshd()) return;
  const Sshd server;
  const Finished got = doctor(server, "db[1-3],no-such-host.invalid", "openssh");
  CAPTURE(got.out, got.err);
  CHECK(got.code == 4);
  for (const char* name : {"db1", "db2", "db3"}) CHECK(report_of(got, name)["well"] == true);
  CHECK(report_of(got, "no-such-host.invalid")["failed"] == "resolve");
  CHECK(the_event(got.out, "summary")["unreachable"] == 1);
}

TEST_CASE("a wrong port, a host key that is not known and a key that is refused are each the right step") {
  if (!has_sshd()) return;
  const Sshd server, other;
  const std::string empty = server.folder() + "/empty";
  std::ofstream(empty).close();
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    check_fails_at(doctor(server, "no-such-host.invalid", back_end), "no-such-host.invalid", "resolve");
    check_fails_at(doctor(server, "web", back_end, {"--port", "1"}), "web", "connect");
    check_fails_at(doctor(server, "web", back_end, {"--known-hosts", empty}), "web", "kex");
    check_fails_at(doctor(server, "web", back_end, {"-l", "nobody-of-that-name"}), "web", "auth");
    CHECK(server.leftovers().empty());
  }
  for (const char* back_end : kBackEnds) {
    const Finished refused = doctor(server, "web", back_end, {"-l", "nobody-of-that-name"});
    CAPTURE(back_end, refused.out);
    const nlohmann::json step = step_of(report_of(refused, "web"), "auth");
    CHECK(contains(step["facts"]["server_takes"].get<std::string>(), "publickey"));
    CHECK(step["facts"]["offered"].size() == 1);
  }
}

TEST_CASE("settings that the wished back end cannot honour are the first step") {
  if (!has_sshd()) return;
  const Sshd server({.client_lines = "ProxyCommand nc %h %p"});
  check_fails_at(doctor(server, "web", "libssh2"), "web", "settings");
}

TEST_CASE("a shell that ends, one that says nothing and one that is none are the step of the shell") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(
      {.accounts = {{"refuser", "/bin/false"},
                    {"sleeper", "/srv/sleeper/shell"},
                    {"menu", "/srv/menu/shell"}},
       .setup = "chmod 755 /srv/menu/shell /srv/sleeper/shell\n",
       .files = {{"menu", "shell", "#!/bin/sh\necho 'Please choose: 1) backup \033[31m'\nexit 1\n"},
                 {"sleeper", "shell", "#!/bin/sh\nexec sleep 1000\n"}}});
  for (const char* back_end : kBackEnds) {
    CAPTURE(back_end);
    const std::string mark = fresh_mark();
    check_fails_at(doctor(server, "refuser@web", back_end), "refuser@web", "shell");
    const Finished silent = doctor(server, "sleeper@web", back_end, {"--connect-timeout", "4s"}, {mark});
    kill_sleepers(mark);
    check_fails_at(silent, "sleeper@web", "shell");
    CHECK(silent.seconds < 20);
    CHECK(contains(report_of(silent, "sleeper@web")["remedy"].get<std::string>(), "login shell"));
    const Finished menu = doctor(server, "menu@web", back_end);
    check_fails_at(menu, "menu@web", "shell");
    CHECK(contains(step_of(report_of(menu, "menu@web"), "shell")["facts"]["noise"].get<std::string>(),
                   "Please choose"));
    const Finished plain =
        run_program({"doctor", "menu@web", "--ssh", back_end, "-F", server.client_config()});
    CHECK(plain.code == 255);
    CHECK(plain.err == "");
    CHECK(plain.out.starts_with("menu@web: fails at shell ("));
    CHECK(contains(plain.out, "\n  shell     FAILED"));
    CHECK(contains(plain.out, "\n  stage 0   not reached\n"));
    CHECK(contains(plain.out, "\n  -> "));
    CHECK_FALSE(contains(plain.out, "\033"));
  }
}

TEST_CASE("what a login shell prints before our marker is shown escaped and bounded, and is no illness") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server(
      {.accounts = {{"loud", "/usr/bin/bash"}},
       .files = {{"loud", ".bashrc", "printf 'Hello \\033[31m'; head -c 20000 /dev/zero | tr '\\0' x\n"}}});
  for (const char* back_end : kBackEnds) {
    const Finished got = run_program({"doctor", "loud@web", "--ssh", back_end, "-F", server.client_config()});
    CAPTURE(back_end, got.out);
    CHECK(got.code == 0);
    CHECK(contains(got.out, "bytes printed before our marker: \"Hello \\x1b[31mxxx"));
    CHECK_FALSE(contains(got.out, "\033"));
    CHECK(got.out.size() < 3000);
  }
}

TEST_CASE(
    "no directory to write and execute in is stage 0's step, and those that were passed over are named") {
  if (!has_sshd() || !has_namespaces()) return;
  {
    const Sshd server(
        {.accounts = {{"guest", "/bin/sh"}},
         .setup = "mount -o remount,noexec /dev/shm\nmount -o remount,ro /var/tmp\n"
                  "mount --bind /tmp /tmp\nmount -o remount,bind,noexec /tmp\nchmod 555 /srv/guest\n"});
    for (const char* back_end : kBackEnds) {
      const Finished got = doctor(server, "guest@web", back_end);
      check_fails_at(got, "guest@web", "stage0");
      CHECK(contains(report_of(got, "guest@web")["remedy"].get<std::string>(), "noexec"));
      CHECK(step_of(report_of(got, "guest@web"), "stage0")["facts"]["passed_over"].size() >= 4);
    }
  }
  const Sshd server({.accounts = {{"guest", "/bin/sh"}}, .setup = "mount -o remount,noexec /dev/shm\n"});
  for (const char* back_end : kBackEnds) {
    const Finished got = doctor(server, "guest@web", back_end);
    CAPTURE(back_end, got.out);
    CHECK(got.code == 0);
    const nlohmann::json stage0 = step_of(report_of(got, "guest@web"), "stage0");
    CHECK(stage0["facts"]["directory"] == "/tmp");
    CHECK(stage0["facts"]["passed_over"] == nlohmann::json({"/dev/shm: noexec"}));
    CHECK(server.leftovers().empty());
  }
}

TEST_CASE("what was found is told in the order of the targets, of each when those before it are over") {
  if (!has_sshd()) return;
  for (const char* back_end : kBackEnds) {
    const FakeServer silent("", FakeServer::Then::kSilence);
    const std::string host = cat("127.0.0.1:", silent.port());
    Program program({"doctor", cat("local[1-2],", host, ",local[3-4]"), "-F", "none", "--ssh", back_end,
                     "--connect-timeout", "5"});
    REQUIRE(program.wait_for("local2: "));
    CHECK_FALSE(program.has_said(": fails at "));  // nobody waited for it
    const Finished got = program.finish();
    CAPTURE(back_end, got.out, got.err);
    CHECK(got.code == 4);
    Words order;
    for (const std::string& line : lines_of(got.out))
      if (!line.starts_with(' ')) order.push_back(line.substr(0, line.find(": ")));
    CHECK(order == Words{"local1", "local2", host, "local3", "local4"});
  }
}

TEST_CASE("Ctrl-C twice ends a doctor who waits, and what he had found is told") {
  if (!has_sshd() || !has_namespaces()) return;
  const Sshd server({.accounts = {{"sleeper", "/srv/sleeper/shell"}},
                     .setup = "chmod 755 /srv/sleeper/shell\n",
                     .files = {{"sleeper", "shell", "#!/bin/sh\nexec sleep 1000\n"}}});
  const std::string mark = fresh_mark();
  Program program({"doctor", "sleeper@web", "-F", server.client_config()}, Program::Shape::kPipes, {mark});
  const Stopwatch waiting;
  while (marked(mark, "sleep") <= 0 && waiting.seconds() < 20) ::poll(nullptr, 0, 5);
  program.signal(SIGINT);
  REQUIRE(program.wait_for("still running"));
  program.signal(SIGINT);
  const Finished got = program.finish();
  kill_sleepers(mark);
  CAPTURE(got.out, got.err);
  CHECK(got.code == 130);
  CHECK(contains(got.out, "fails at shell"));
}
