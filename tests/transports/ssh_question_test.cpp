// Goal: ssh is asked without blocking, within bounds of time, number and size; equal questions once.
// Method: small scripts in ssh's place, on a real loop; and the real one, where there is one.
#include "transports/ssh_question.h"

#include <sys/stat.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <cstdlib>
#include <filesystem>
#include <fstream>

#include "core/text.h"
#include "tests/support/processes.h"
#include "tests/support/tree.h"

using namespace banyan;
using banyan::test::run_until;

namespace {

// A script in a folder of its own, gone with us.
class Script {
 public:
  explicit Script(const std::string& lines) {
    const char* base = std::getenv("TMPDIR");
    folder_ = cat(base == nullptr ? "/tmp" : base, "/question.XXXXXX");
    REQUIRE(::mkdtemp(folder_.data()) != nullptr);
    std::ofstream(path()) << "#!/bin/sh\n" << lines;
    REQUIRE(::chmod(path().c_str(), 0700) == 0);
  }
  ~Script() {
    for (const std::string& file : {path(), log()}) ::unlink(file.c_str());
    ::rmdir(folder_.c_str());
  }
  std::string path() const { return folder_ + "/ssh"; }
  std::string log() const { return folder_ + "/log"; }

 private:
  std::string folder_;
};

constexpr const char* kAnswer =
    "for host; do :; done\n"  // the last word
    "echo hostname $host.example.com; echo user ann; echo port 22\n";

SshTarget target(const std::string& host) {
  return {host, "", host, 0};
}

// Asks one and waits.
SshQuestions::Answer ask(EpollLoop& loop, SshQuestions& questions, const std::string& host) {
  std::optional<SshQuestions::Answer> got;
  questions.ask(target(host), {}, [&](const SshQuestions::Answer& answer) { got = answer; });
  REQUIRE_FALSE(got);
  REQUIRE(run_until(
      loop, [&] { return got.has_value(); }, 30 * kSecond));
  return *got;
}

}  // namespace

TEST_CASE("the question has all that settings follow from, and nothing else") {
  SshOptions options;
  options.config_file = "/my config";
  options.user = "everyone";
  options.port = 22;
  options.identity = "/k/id";
  options.known_hosts = "/k/known";
  options.family = AddressFamily::kIpv6;
  options.accept_new = true;
  options.jumps = "gw";
  const std::vector<std::string> argv = ssh_question_argv("ssh", {"web", "ann", "web", 2222}, options);
  const std::vector<std::string> expected = {"ssh",        "-G",
                                             "-T",         "-F",
                                             "/my config", "-J",
                                             "gw",         "-6",
                                             "-l",         "ann",
                                             "-p",         "2222",
                                             "-o",         "ControlPath=none",
                                             "-o",         "IdentityFile=/k/id",
                                             "-o",         "IdentitiesOnly=yes",
                                             "-o",         "UserKnownHostsFile=/k/known",
                                             "-o",         "GlobalKnownHostsFile=/dev/null",
                                             "--",         "web"};
  CHECK(argv == expected);
}

TEST_CASE("equal questions are asked once, whether the answer is there or on its way") {
  const Script script(cat("echo >> \"${0%/*}/log\"\n", kAnswer));
  EpollLoop loop;
  SshQuestions questions(loop, local_user(), script.path());
  int told = 0;
  for (const char* host : {"web", "web", "db", "web"}) {
    questions.ask(target(host), {}, [&, host](const SshQuestions::Answer& answer) {
      REQUIRE(answer);
      CHECK((*answer)->hostname == cat(host, ".example.com"));
      ++told;
    });
  }
  CHECK(told == 0);
  REQUIRE(run_until(loop, [&] { return told == 4; }));
  CHECK((*ask(loop, questions, "web"))->hostname == "web.example.com");
  CHECK(questions.asked() == 2);
  CHECK(test::read_file(script.log()) == "\n\n");
}

TEST_CASE("many questions wait their turn, and all are answered") {
  const Script script(kAnswer);
  EpollLoop loop;
  SshQuestions questions(loop, local_user(), script.path());
  int told = 0;
  for (int i = 0; i < 40; ++i) {
    questions.ask(target(cat("web", i)), {}, [&](const SshQuestions::Answer& answer) {
      CHECK(answer);
      ++told;
    });
    CHECK(questions.asked() <= kSshQuestionsMax);
  }
  CHECK(questions.asked() == kSshQuestionsMax);
  REQUIRE(run_until(
      loop, [&] { return told == 40; }, 30 * kSecond));
  CHECK(questions.asked() == 40);
}

TEST_CASE("one who is told may ask on, and may end it all") {
  const Script script(kAnswer);
  EpollLoop loop;
  auto questions = std::make_unique<SshQuestions>(loop, local_user(), script.path());
  bool ended = false;
  questions->ask(target("web"), {}, [&](const SshQuestions::Answer&) {
    questions->ask(target("db"), {}, [&](const SshQuestions::Answer& answer) {
      CHECK(answer);
      questions.reset();
      ended = true;
    });
  });
  REQUIRE(run_until(loop, [&] { return ended; }));
  loop.run_once(0);
}

TEST_CASE("what is still asked at the end is killed, and nobody is told") {
  const std::string mark = cat("BANYAN_TEST_MARK=", ::getpid(), "-question.");
  const Script script(cat("export ", mark, "\nexec sleep 1000\n"));
  EpollLoop loop;
  {
    SshQuestions questions(loop, local_user(), script.path());
    questions.ask(target("web"), {}, [](const SshQuestions::Answer&) { FAIL("told"); });
    REQUIRE(run_until(loop, [&] { return test::processes_marked(mark).size() == 1; }));
  }
  loop.run_once(0);
  CHECK(test::processes_marked(mark).empty());
}

TEST_CASE("every way to fail has a phase, a class and a sentence") {
  struct {
    const char* script;
    ErrorClass error_class;
    const char* text;
  } table[] = {
      {"exit 255\n", ErrorClass::kIo, "ssh -G failed"},
      {"echo 'cfg: line 2: Bad configuration option: frob' >&2\necho 'cfg: terminating' >&2\nexit 255\n",
       ErrorClass::kIo, "cfg: line 2: Bad configuration option: frob"},
      {"echo one >&2; echo two >&2; exit 1\n", ErrorClass::kIo, "two"},
      {"kill -9 $$\n", ErrorClass::kIo, "signal 9"},
      {"echo hello\n", ErrorClass::kProtocol, "neither host nor user"},
      {"exec head -c 10000000 /dev/zero\n", ErrorClass::kProtocol, "said more than"},
  };
  for (const auto& row : table) {
    CAPTURE(row.script);
    const Script script(row.script);
    EpollLoop loop;
    SshQuestions questions(loop, local_user(), script.path());
    const SshQuestions::Answer answer = ask(loop, questions, "web");
    REQUIRE_FALSE(answer);
    CAPTURE(answer.error().text);
    CHECK(answer.error().phase == Phase::kResolve);
    CHECK(answer.error().error_class == row.error_class);
    CHECK(answer.error().text.find(row.text) != std::string::npos);
    CHECK(answer.error().started == Started::kNo);
  }
}

TEST_CASE("a program that is not there is an error that says so") {
  EpollLoop loop;
  SshQuestions questions(loop, local_user(), "/nonexistent/ssh");
  const SshQuestions::Answer answer = ask(loop, questions, "web");
  REQUIRE_FALSE(answer);
  CHECK(answer.error().text.find("starting /nonexistent/ssh: No such file") != std::string::npos);
  CHECK_FALSE(answer.error().remedy.empty());
}

TEST_CASE("one that never answers is ended at its deadline, with what it started") {
  const std::string mark = cat("BANYAN_TEST_MARK=", ::getpid(), "-silent.");
  const Script script(cat("export ", mark, "\nsleep 1000 & sleep 1000\n"));
  EpollLoop loop;
  SshQuestions questions(loop, local_user(), script.path());
  const SshQuestions::Answer answer = ask(loop, questions, "web");
  REQUIRE_FALSE(answer);
  CHECK(answer.error().error_class == ErrorClass::kTimeout);
  CHECK(run_until(loop, [&] { return test::processes_marked(mark).empty(); }));
}

TEST_CASE("an answer counts when ssh has ended, whoever still holds its output open") {
  const std::string mark = cat("BANYAN_TEST_MARK=", ::getpid(), "-holder.");
  const Script script(
      cat("export ", mark,
          "\ncd \"${0%/*}\"; mkfifo log\nsetsid sh -c 'echo > log; exec sleep 1000' &\nread ready < log\n",
          kAnswer));
  EpollLoop loop;
  SshQuestions questions(loop, local_user(), script.path());
  const Nanos began = loop.now();
  CHECK(ask(loop, questions, "web"));
  CHECK(loop.now() - began < kSshQuestionDeadline);
  REQUIRE(run_until(loop, [&] { return test::processes_marked(mark).size() == 1; }));
  for (pid_t pid : test::processes_marked(mark)) test::kill_leftover(pid);
}

TEST_CASE("the system's ssh is understood") {
  if (::access("/usr/bin/ssh", X_OK) != 0) return;
  EpollLoop loop;
  SshQuestions questions(loop, local_user());
  SshOptions options;
  options.config_file = "none";
  std::optional<SshQuestions::Answer> got;
  questions.ask({"web", "ann", "web", 2222}, options,
                [&](const SshQuestions::Answer& answer) { got = answer; });
  REQUIRE(run_until(loop, [&] { return got.has_value(); }));
  REQUIRE(*got);
  const SshSettings& settings = ***got;
  CHECK(settings.hostname == "web");
  CHECK(settings.user == "ann");
  CHECK(settings.port == 2222);
  CHECK_FALSE(settings.identity_files.empty());
  for (const std::string& path : settings.identity_files) CHECK(path.starts_with('/'));
  CHECK_FALSE(settings.user_known_hosts.empty());
  CHECK_FALSE(settings.kex_algorithms.empty());
  CHECK(settings.unclear.empty());
}

TEST_CASE("an answer of an earlier run is used without asking, until the configuration changes") {
  const Script script(cat("echo >> \"${0%/*}/log\"\n",
                          "echo debug1: Reading configuration data \"${0%/*}/config\" >&2\n", kAnswer));
  const std::string folder = script.path().substr(0, script.path().rfind('/'));
  const std::string config = folder + "/config";
  std::ofstream(config) << "Host web\n";
  SshOptions options;
  options.config_file = config;
  auto ask_anew = [&] {
    EpollLoop loop;
    SshAnswers answers(folder + "/cache", local_user());
    SshQuestions questions(loop, local_user(), script.path(), &answers);
    std::optional<SshQuestions::Answer> got;
    questions.ask(target("web"), options, [&](const SshQuestions::Answer& answer) { got = answer; });
    CHECK_FALSE(got);
    REQUIRE(run_until(loop, [&] { return got.has_value(); }));
    REQUIRE(*got);
    CHECK((**got)->hostname == "web.example.com");
    answers.save();
    return questions.asked();
  };
  CHECK(ask_anew() == 1);
  // What has just been made might change again unseen: nothing is kept until it has settled.
  EpollLoop clock;
  REQUIRE(run_until(clock, [&] { return ask_anew() == 0; }));
  CHECK(ask_anew() == 0);
  std::ofstream(config) << "Host web\n  Port 23\n";
  CHECK(ask_anew() == 1);
  for (const char* name : {"/cache/ssh_settings", "/cache/ssh_settings.lock", "/config"})
    ::unlink((folder + name).c_str());
  ::rmdir((folder + "/cache").c_str());
}

TEST_CASE("the real ssh tells what its answer depends on, included files too") {
  if (::access("/usr/bin/ssh", X_OK) != 0) return;
  const Script place("");
  const std::string folder = place.path().substr(0, place.path().rfind('/'));
  REQUIRE(::mkdir((folder + "/conf.d").c_str(), 0700) == 0);
  const std::string config = folder + "/config", included = folder + "/conf.d/a.conf";
  std::ofstream(config) << "Include " << folder << "/conf.d/*.conf\nInclude " << folder
                        << "/none.d/*\nHost web\n";
  std::ofstream(included) << "Host web\n  Port 23\n";
  SshOptions options;
  options.config_file = config;
  std::uint16_t port = 0;
  auto ask_anew = [&] {
    EpollLoop loop;
    SshAnswers answers(folder + "/cache", local_user());
    SshQuestions questions(loop, local_user(), "ssh", &answers);
    std::optional<SshQuestions::Answer> got;
    questions.ask(target("web"), options, [&](const SshQuestions::Answer& answer) { got = answer; });
    REQUIRE(run_until(loop, [&] { return got.has_value(); }));
    REQUIRE(*got);
    port = (**got)->port;
    answers.save();
    return questions.asked();
  };
  EpollLoop clock;
  REQUIRE(run_until(clock, [&] { return ask_anew() == 0; }));
  CHECK(port == 23);
  std::ofstream(included) << "Host web\n  Port 24\n";
  CHECK(ask_anew() == 1);
  CHECK(port == 24);
  REQUIRE(run_until(clock, [&] { return ask_anew() == 0; }));
  // One more that the pattern matches, before the other; and one where nothing was before.
  std::ofstream(folder + "/conf.d/0.conf") << "Host web\n  Port 25\n";
  CHECK(ask_anew() == 1);
  CHECK(port == 25);
  REQUIRE(run_until(clock, [&] { return ask_anew() == 0; }));
  REQUIRE(::mkdir((folder + "/none.d").c_str(), 0700) == 0);
  CHECK(ask_anew() == 1);
  std::filesystem::remove_all(folder + "/cache");
  for (const char* name : {"/conf.d", "/none.d", "/config"}) std::filesystem::remove_all(folder + name);
}
