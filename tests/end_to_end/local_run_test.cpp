// Goal: `banyan run` over local contexts keeps every promise of docs/cli.md, and leaves nothing behind.
// Method: the real program with pipes and terminals for its three descriptors; what it and all it started
// leave is looked for by the test program's main, and by a mark in their environment.
#include <netinet/in.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
#include <sys/stat.h>

#include <algorithm>
#include <fstream>
#include <map>
#include <nlohmann/json.hpp>
#include <set>
#include <sstream>

#include "tests/end_to_end/program.h"

using namespace banyan::test;
using banyan::cat;

namespace {

Words run(const std::string& targets, const Words& rest) {
  Words words = {"run", targets};
  words.insert(words.end(), rest.begin(), rest.end());
  return words;
}

Words shell(const std::string& targets, const std::string& line, const Words& options = {}) {
  Words words = run(targets, options);
  words.insert(words.end(), {"--sh", line});
  return words;
}

}  // namespace

TEST_CASE("one target is transparent: its bytes, its two outputs, its exit code") {
  const Finished got = run_program(shell("local", "printf 'out\\0no newline'; printf 'err\\n' >&2; exit 7"));
  CHECK(got.code == 7);
  CHECK(got.out == std::string("out\0no newline", 14));
  CHECK(got.err == "err\n");
}

TEST_CASE("a command is an argument vector, which no shell reads") {
  CHECK(run_program(run("local", {"--", "printf", "%s|", "a b", "$HOME", "", "*"})).out == "a b|$HOME||*|");
  CHECK(run_program(run("local", {"--sh", "printf '%s|' \"$0\" \"$@\"", "--", "a b", "$HOME"})).out ==
        "sh|a b|$HOME|");
}

TEST_CASE("exit codes of one target are those of the document") {
  struct {
    Words arguments;
    int code;
    const char* said;
  } table[] = {
      {run("local", {"--", "true"}), 0, ""},
      {run("local", {"--", "false"}), 1, ""},
      {shell("local", "exit 255"), 255, ""},
      {shell("local", "kill -KILL $$"), 137, ""},
      {shell("local", "kill -TERM $$"), 143, ""},
      {run("local", {"--", "no-such-command"}), 127, "✗ local  command: no-such-command"},
      {run("local", {"--", "/"}), 126, "✗ local  command: /"},
      {run("local", {"--timeout", "200ms", "--", "sleep", "60"}), 124, "as --timeout says"},
      {run("127.0.0.1:1", {"--", "true"}), 255, "✗ 127.0.0.1:1  connect: "},
      {run("local", {}), 2, "no command"},
      {run("@web", {"--", "true"}), 2, "groups are not known"},
      {{}, 2, "no verb"},
  };
  for (const auto& row : table) {
    std::string line;
    for (const std::string& word : row.arguments) line += word + " ";
    CAPTURE(line);
    const Finished got = run_program(row.arguments);
    CAPTURE(got.err);
    CHECK(got.code == row.code);
    CHECK(got.out == "");
    CHECK(contains(got.err, row.said));
    if (*row.said == '\0') CHECK(got.err == "");
  }
}

TEST_CASE("of many targets the most severe ending decides the exit code") {
  CHECK(run_program(run("local[1-3]", {"--", "true"})).code == 0);
  CHECK(run_program(run("local[1-1]", {"--sh", "exit 9"})).code == 1);
  CHECK(run_program(run("local[1-3]", {"-S", "--sh", "exit 9"})).code == 9);
  CHECK(run_program(run("local[1-2]", {"--timeout", "200ms", "--", "sleep", "60"})).code == 3);
  CHECK(run_program(run("local[1-2],127.0.0.1:1", {"--", "false"})).code == 4);
  CHECK(run_program(run("local[1-2],127.0.0.1:1", {"-S", "--", "false"})).code == 255);
}

TEST_CASE("many targets' lines are whole, carry their target, and keep both outputs apart") {
  const Finished got = run_program(
      shell("local[1-8]",
            "i=0; while [ $i -lt 500 ]; do echo out $i; echo err $i >&2; i=$((i+1)); done; printf last"));
  CHECK(got.code == 0);
  for (const auto& [text, word] : {std::pair{&got.out, "out"}, std::pair{&got.err, "err"}}) {
    std::map<std::string, int> next;
    for (const std::string& line : lines_of(*text)) {
      const std::size_t colon = line.find(": ");
      REQUIRE(colon != std::string::npos);
      const std::string target = line.substr(0, colon);
      int& expected = next[target];
      if (line.substr(colon + 2) == "last") {
        CHECK(expected == 500);
        continue;
      }
      if (line.substr(colon + 2) != cat(std::string_view(word), " ", expected)) FAIL("unexpected: " << line);
      ++expected;
    }
    CHECK(next.size() == 8);
    for (const auto& [target, count] : next) CHECK(count == 500);
  }
  CHECK(got.out.ends_with("\n"));
}

TEST_CASE("what failed is said on standard error, and -q leaves only who was not reached") {
  const Finished got = run_program(run("local1,127.0.0.1:1", {"--sh", "exit 3"}));
  CHECK(contains(got.err, "✗ local1  command: exited with 3\n"));
  CHECK(contains(got.err, "✗ 127.0.0.1:1  connect: "));
  CHECK(contains(got.err, "Connection refused"));
  CHECK(got.out == "");
  const Finished quiet = run_program(run("local1,127.0.0.1:1", {"-q", "--sh", "exit 3"}));
  CHECK_FALSE(contains(quiet.err, "local1"));
  CHECK(contains(quiet.err, "✗ 127.0.0.1:1  connect: "));
  CHECK(contains(run_program(run("local[1-2]", {"--sh", "kill -9 $$"})).err, "killed by SIGKILL"));
}

TEST_CASE("standard input of one target arrives whole, and so does what it makes of it") {
  const std::string bytes = random_bytes(3'000'000);
  const Finished got = run_program(run("local", {"--", "cat"}), bytes);
  CHECK(got.code == 0);
  CHECK((got.out == bytes));
}

TEST_CASE("standard input nobody reads keeps nobody waiting") {
  const Finished got = run_program(run("local", {"--sh", "head -c 5"}), random_bytes(3'000'000));
  CHECK(got.code == 0);
  CHECK(got.out.size() == 5);
  Program open(run("local", {"--", "true"}));
  CHECK(open.wait_for("never said") == true);  // ends although its input stays open
  CHECK(open.finish().code == 0);
}

TEST_CASE("standard input that cannot be read is an error, never its end") {
  const std::string program = cat("exec '", std::string_view(BANYAN_PROGRAM), "' run local ");
  const std::string file = cat(std::string_view(std::getenv("TMPDIR")), "/got");
  const std::string into = cat(" >'", file, "' 2>&1");
  int status = std::system(cat(program, "-- sh -c 'cat; echo all' </", into).c_str());
  CHECK(WEXITSTATUS(status) == 255);
  const std::string said = read_file(file);
  CHECK(contains(said, "✗ local  command: standard input cannot be read: Is a directory"));
  CHECK_FALSE(contains(said, "all"));
  // nohup(1) puts there what can only be written, so that nobody reads.
  status = std::system(cat(program, "-- sh -c 'cat; echo all' 0>/dev/null", into).c_str());
  CHECK(WEXITSTATUS(status) == 0);
  CHECK(read_file(file) == "all\n");
  ::unlink(file.c_str());
}

TEST_CASE("standard input is left alone with -n, and with many targets") {
  for (const Words& arguments : {run("local", {"-n", "--", "cat"}), run("local[1-2]", {"--", "cat"})}) {
    int pipe[2];
    REQUIRE(::pipe2(pipe, O_CLOEXEC) == 0);
    banyan::Fd reading(pipe[0]), writing(pipe[1]);
    REQUIRE(::write(pipe[1], "left alone", 10) == 10);
    const int before = ::dup(0);
    ::dup2(pipe[0], 0);  // the program gets pipes of its own; a shell around it inherits this one
    std::string line = cat("exec '", std::string_view(BANYAN_PROGRAM), "'");
    for (const std::string& word : arguments) line += " '" + word + "'";
    const int code = std::system(line.c_str());
    ::dup2(before, 0);
    ::close(before);
    CHECK(code == 0);
    int waiting = 0;
    REQUIRE(::ioctl(pipe[0], FIONREAD, &waiting) == 0);
    CHECK(waiting == 10);
  }
}

TEST_CASE("events come one a line, in the order of what happened, and nothing else") {
  const Finished got = run_program(
      run("local[1-2],127.0.0.1:1", {"--json", "--sh", "echo caf\xc3\xa9; printf '\\377' >&2; kill -9 $$"}));
  CHECK(got.code == 4);
  CHECK(got.err == "");
  std::map<std::string, std::vector<nlohmann::json>> of;
  for (const std::string& line : lines_of(got.out)) {
    nlohmann::json event = nlohmann::json::parse(line);
    of[event.value("target", "")].push_back(event);
  }
  REQUIRE(of.size() == 4);
  for (const char* target : {"local1", "local2"}) {
    const auto& events = of[target];
    REQUIRE(events.size() == 4);
    CHECK(events[0]["event"] == "start");
    CHECK(events[0]["transport"] == "local");
    CHECK(events[0]["route"] == nlohmann::json::array({target}));
    CHECK(events[0]["context"].is_number_unsigned());
    std::set<std::string> said;
    for (int i : {1, 2}) {
      CHECK(events[i]["event"] == "out");
      said.insert(events[i]["stream"].get<std::string>() + " " + events[i].value("data", "") +
                  events[i].value("base64", ""));
    }
    CHECK(said == std::set<std::string>{"stdout caf\xc3\xa9\n", "stderr /w=="});
    CHECK(events[3]["event"] == "exit");
    CHECK(events[3]["code"].is_null());
    CHECK(events[3]["signal"] == "SIGKILL");
    CHECK(events[3]["seconds"].is_number());
  }
  const auto& failed = of["127.0.0.1:1"];
  REQUIRE(failed.size() == 1);
  CHECK(failed[0]["event"] == "fail");
  CHECK(failed[0]["phase"] == "connect");
  CHECK(failed[0]["class"] == "unreachable");
  CHECK(failed[0]["started"] == "no");
  CHECK(failed[0]["remedy"].is_string());
  const auto& summary = of[""];
  REQUIRE(summary.size() == 1);
  CHECK(summary[0]["event"] == "summary");
  CHECK(summary[0]["failed"] == 2);
  CHECK(summary[0]["unreachable"] == 1);
  CHECK(summary[0]["exit_code"] == 4);
  CHECK(nlohmann::json::parse(lines_of(got.out).back())["event"] == "summary");
}

TEST_CASE("binary output survives events") {
  const Finished got = run_program(run("local", {"--json", "--", "head", "-c", "300000", "/dev/zero"}));
  std::size_t bytes = 0;
  for (const std::string& line : lines_of(got.out)) {
    const nlohmann::json event = nlohmann::json::parse(line);
    if (event["event"] == "out") bytes += event.at("data").get<std::string>().size();
  }
  CHECK(bytes == 300'000);
}

TEST_CASE("--timeout ends a command that ignores SIGTERM and has forked itself out of sight") {
  const std::string mark = fresh_mark();
  const Finished got = run_program(
      shell("local", "trap '' TERM; (setsid sh -c 'trap \"\" TERM; echo up; sleep 300' &); sleep 300",
            {"--timeout", "500ms"}),
      {}, {mark});
  CHECK(got.code == 124);
  CHECK(got.out == "up\n");
  CHECK(got.seconds < 10);
  CHECK(all_gone(mark));
}

TEST_CASE("what a command leaves in the background on purpose lives on, and keeps nobody waiting") {
  const std::string mark = fresh_mark();
  const Finished got = run_program(shell("local", "sleep 300 & echo $!"), {}, {mark});
  CHECK(got.code == 0);
  CHECK(got.seconds < 20);
  const pid_t left = std::atoi(got.out.c_str());
  CHECK(processes_marked(mark) == std::vector<pid_t>{left});
  kill_leftover(left);
}

TEST_CASE("the first Ctrl-C says who is running, the second ends them everywhere") {
  for (const char* targets : {"local", "local[1-3]"}) {
    CAPTURE(targets);
    const std::string mark = fresh_mark();
    Program program(shell(targets, "trap '' INT; (setsid sleep 300 &); echo up; sleep 300"),
                    Program::Shape::kPipes, {mark});
    REQUIRE(program.wait_for("up"));
    program.signal(SIGINT);
    REQUIRE(program.wait_for("still running: local"));
    CHECK_FALSE(processes_marked(mark).empty());
    program.signal(SIGINT);
    const Finished got = program.finish();
    CHECK(got.code == 130);
    CHECK(contains(got.err, "(command "));
    CHECK(contains(got.err, "cancelled"));
    CHECK(processes_marked(mark).empty());
  }
}

TEST_CASE("SIGTERM and SIGHUP end everything at once") {
  for (int signal : {SIGTERM, SIGHUP}) {
    const std::string mark = fresh_mark();
    Program program(shell("local[1-3]", "echo up; sleep 300"), Program::Shape::kPipes, {mark});
    REQUIRE(program.wait_for("local3: up"));
    program.signal(signal);
    CHECK(program.finish().code == 128 + signal);
    CHECK(processes_marked(mark).empty());
  }
}

TEST_CASE("those that wait for their turn are not begun once somebody ends the run") {
  Program program(shell("local[1-50]", "echo up; sleep 300", {"-f", "2", "--json"}));
  REQUIRE(program.wait_for("\"up"));
  program.signal(SIGTERM);
  const Finished got = program.finish();
  const nlohmann::json summary = nlohmann::json::parse(lines_of(got.out).back());
  CHECK(summary["cancelled"] == 50);
  CHECK(summary["exit_code"] == 143);
}

TEST_CASE("each target has its one ending and the summary comes last, also for a reader who comes late") {
  Program program(shell("local[1-3000]", "echo up; sleep 300", {"-f", "2", "--json"}));
  REQUIRE(program.wait_for("\"up"));
  program.signal(SIGTERM);
  REQUIRE(program.wait_for_unread(32'000));  // it is about full
  const Finished got = program.finish();
  CHECK(got.code == 143);
  std::map<std::string, int> endings;
  const std::vector<std::string> lines = lines_of(got.out);
  for (const std::string& line : lines) {
    const nlohmann::json event = nlohmann::json::parse(line);
    if (event["event"] == "fail" || event["event"] == "exit") ++endings[event["target"]];
  }
  CHECK(endings.size() == 3000);
  for (const auto& [target, count] : endings) CHECK(count == 1);
  CHECK(nlohmann::json::parse(lines.back())["event"] == "summary");
}

TEST_CASE("who reads nothing keeps a run that was ended for a moment, not for ever") {
  Program program(run("local[1-3000]", {"-f", "2", "--json", "--", "yes"}));
  REQUIRE(program.wait_for("y\\n"));
  program.signal(SIGTERM);
  CHECK(program.wait_for_exit_unread());
  const Finished got = program.finish();
  CHECK(got.code == 143);
  CHECK(got.seconds < 15);
}

TEST_CASE("a second SIGTERM or SIGHUP changes nothing, as when a terminal closes") {
  const std::string mark = fresh_mark();
  Program program(shell("local", "trap '' TERM HUP; echo up; while :; do sleep 300; done", {"--json"}),
                  Program::Shape::kPipes, {mark});
  REQUIRE(program.wait_for("up\\n"));
  for (int signal : {SIGTERM, SIGHUP}) program.signal(signal);
  const Finished got = program.finish();
  CHECK((got.code == 143 || got.code == 129));
  CHECK(contains(got.out, "\"event\":\"summary\""));
  CHECK(processes_marked(mark).empty());
}

TEST_CASE("a root that is killed takes its commands and contexts with it") {
  const std::string mark = fresh_mark();
  Program program(shell("local[1-3]", "trap '' TERM HUP; (setsid sleep 300 &); echo up; sleep 300"),
                  Program::Shape::kPipes, {mark});
  for (const char* text : {"local1: up", "local2: up", "local3: up"}) REQUIRE(program.wait_for(text));
  program.signal(SIGKILL);
  CHECK(program.finish().code == 1000 + SIGKILL);
  CHECK(all_gone(mark));
}

TEST_CASE("an agent that is killed is told as dead, and its command ends") {
  const std::string mark = fresh_mark();
  Program program(shell("local", "echo $PPID up; sleep 300", {"--json"}), Program::Shape::kPipes, {mark});
  REQUIRE(program.wait_for("up"));
  pid_t agent = -1;
  for (pid_t pid : processes_marked(mark)) {
    if (parent_of(pid) == program.pid()) agent = pid;
  }
  REQUIRE(agent > 0);
  ::kill(agent, SIGKILL);
  const Finished got = program.finish();
  CHECK(got.code == 255);
  CHECK(contains(got.out, "\"class\":\"dead\""));
  CHECK(contains(got.out, "the agent was killed by signal 9"));
  CHECK(all_gone(mark));
}

TEST_CASE("a slow reader slows the command and costs no memory") {
  const std::string mark = fresh_mark();
  constexpr std::size_t kMuch = 50'000'000;
  Program program(run("local", {"--", "head", "-c", std::to_string(kMuch), "/dev/zero"}),
                  Program::Shape::kPipes, {mark});
  // Everything is full when nothing has moved for a while: then the command waits, not the bytes.
  ::poll(nullptr, 0, 1'500);
  if (kMemoryIsOurs) {
    CHECK(peak_kib(program.pid()) < 24 * 1024);
    for (pid_t pid : processes_marked(mark)) CHECK(peak_kib(pid) < 24 * 1024);
  }
  CHECK_FALSE(processes_marked(mark).empty());
  const Finished got = program.finish();
  CHECK(got.code == 0);
  CHECK(got.out.size() == kMuch);
}

TEST_CASE("a reader who goes away ends the run as SIGPIPE would") {
  for (const char* targets : {"local", "local[1-5]"}) {
    CAPTURE(targets);
    const std::string mark = fresh_mark();
    Program program(run(targets, {"--", "yes"}), Program::Shape::kPipes, {mark});
    REQUIRE(program.wait_for("y\n"));
    program.close_output();
    const Finished got = program.finish();
    CHECK(got.code == 141);
    CHECK(got.err == "");
    CHECK(all_gone(mark));
  }
}

TEST_CASE("a full disk ends the run and is named") {
  const std::string err_file = cat(std::string_view(std::getenv("TMPDIR")), "/err");
  const std::string line =
      cat("exec '", std::string_view(BANYAN_PROGRAM), "' run local -- echo x >/dev/full 2>'", err_file, "'");
  // The end of all discards output that is not written yet, and once took the reason with it, every third
  // time.
  for (int i = 0; i < 8; ++i) {
    const int status = std::system(line.c_str());
    CHECK(WEXITSTATUS(status) == 255);
    CHECK(contains(read_file(err_file), "No space left on device"));
  }
  ::unlink(err_file.c_str());
}

TEST_CASE("closed standard descriptors harm nothing") {
  const std::string line =
      cat("exec '", std::string_view(BANYAN_PROGRAM), "' run local -- sh -c 'echo x; exit 5' <&- >&- 2>&-");
  const int status = std::system(line.c_str());
  CHECK(WEXITSTATUS(status) == 5);
}

TEST_CASE("no more than -f targets are begun at once, and all of them in the end") {
  const std::string log = cat(std::string_view(std::getenv("TMPDIR")), "/log");
  const Finished got = run_program(
      shell("local[1-100]", cat("echo b >>'", log, "'; sleep 0.02; echo e >>'", log, "'"), {"-f", "8"}));
  CHECK(got.code == 0);
  int now = 0, most = 0, all = 0;
  for (const std::string& line : lines_of(read_file(log))) {
    now += line == "b" ? 1 : -1;
    all += line == "b";
    most = std::max(most, now);
  }
  CHECK(all == 100);
  CHECK(most <= 8);
  CHECK(most > 1);
  ::unlink(log.c_str());
}

TEST_CASE("a hundred contexts at once answer") {
  const Finished got = run_program(run("local[1-100]", {"-f", "100", "--", "echo", "here"}));
  CHECK(got.code == 0);
  const std::vector<std::string> lines = lines_of(got.out);
  CHECK(std::set<std::string>(lines.begin(), lines.end()).size() == 100);
}

TEST_CASE("a terminal is shown control characters as text, unless --raw") {
  const char* line = "printf 'a\\033]0;title\\007b\\n'";
  {
    Program program(shell("local", line, {"-q"}), Program::Shape::kTerminal);
    const Finished got = program.finish();
    CHECK(got.code == 0);
    CHECK(got.out == "a\\x1b]0;title\\x07b\r\n");
  }
  {
    Program program(shell("local", line, {"--raw", "-q"}), Program::Shape::kTerminal);
    CHECK(program.finish().out ==
          "a\x1b]0;title\x07"
          "b\r\n");
  }
}

TEST_CASE("many targets on a terminal end with a summary, failures in colour or not") {
  {
    Program program(shell("local[1-2],127.0.0.1:1", "exit 3", {"--color", "never"}),
                    Program::Shape::kTerminal);
    const Finished got = program.finish();
    CAPTURE(got.out);
    CHECK(got.code == 4);
    CHECK(contains(got.out, "✗ local[1-2] (2)  command: exited with 3\r\n"));
    CHECK(contains(got.out, "0 ok · 2 failed · 1 unreachable · "));
    CHECK(contains(got.out, "[exit 4]\r\n"));
    CHECK_FALSE(contains(got.out, "\x1b"));
  }
  {
    Program program(shell("local[1-2]", "echo hi"), Program::Shape::kTerminal);
    CHECK(contains(program.finish().out, "\x1b[36mlocal[1-2]\x1b[0m (2)  hi\r\n"));
  }
  {
    Program program(shell("local[1-2]", "echo hi", {"-q"}), Program::Shape::kTerminal, {"NO_COLOR=1"});
    CHECK(program.finish().out == "local[1-2] (2)  hi\r\n");
  }
}

TEST_CASE("-v says what came up, -vv shows the frames that go and come") {
  const Finished quiet = run_program(shell("local", "echo hi"));
  CHECK(quiet.err == "");
  const Finished told = run_program(shell("local", "echo hi", {"-v"}));
  CHECK(contains(told.err, "local: context 1 up after "));
  CHECK_FALSE(contains(told.err, " bytes,"));
  const Finished shown = run_program(shell("local", "echo hi", {"-vv"}));
  CHECK(shown.out == "hi\n");
  CHECK(contains(shown.err, "local > hello, "));
  CHECK(contains(shown.err, "local < identity, "));
  CHECK(contains(shown.err, "local < exec, 0 to 1, authority 0, stream 0, "));
  CHECK(contains(shown.err, "local < shutdown, "));
}

TEST_CASE("what -vv says waits for its reader within bounds, and says what it left out") {
  constexpr std::size_t kMuch = 200 << 20;
  Program program({"-vv", "run", "local", "--", "head", "-c", std::to_string(kMuch), "/dev/zero"});
  CHECK(program.read_only_output(kMuch));
  const Finished run = program.finish();
  CHECK(run.code == 0);
  CHECK(run.out.size() == kMuch);
  CHECK(contains(run.err, " lines are left out here"));
  CHECK(lines_of(run.err).size() < 4'000);
}

TEST_CASE("help and version go to standard output and succeed") {
  const Finished version = run_program({"--version"});
  CHECK(version.code == 0);
  CHECK(version.out.starts_with("banyan "));
  const Finished help = run_program({"run", "--help"});
  CHECK(help.code == 0);
  CHECK(contains(help.out, "--timeout"));
  CHECK(help.err == "");
}

TEST_CASE("a host that takes the connection and says nothing costs --connect-timeout and no more") {
  banyan::Fd listening(::socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0));
  sockaddr_in address = {};
  address.sin_family = AF_INET;
  address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
  socklen_t size = sizeof address;
  REQUIRE(::bind(listening.get(), reinterpret_cast<sockaddr*>(&address), size) == 0);
  REQUIRE(::listen(listening.get(), 5) == 0);
  REQUIRE(::getsockname(listening.get(), reinterpret_cast<sockaddr*>(&address), &size) == 0);
  const std::string target = cat("127.0.0.1:", ntohs(address.sin_port));
  const Finished got = run_program(run(target, {"--json", "--connect-timeout", "300ms", "--", "true"}));
  CHECK(got.code == 255);
  CHECK(contains(got.out, "\"event\":\"fail\""));
  CHECK(contains(got.out, "\"class\":\"timeout\""));
  CHECK(contains(got.out, "\"started\":\"no\""));
  CHECK(got.seconds < 10);
}
