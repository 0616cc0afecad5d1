// Goal: a remote command behaves as it would behind ssh; cut short, nothing of it is left.
// Method: two routers joined by a socketpair, real guards; a mark in their environment finds what hides.
#include "parent/command.h"

#include <fcntl.h>
#include <sched.h>
#include <signal.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <unistd.h>

#include <algorithm>
#include <catch2/catch.hpp>
#include <deque>

#include "tests/support/not_tested.h"
#include "tests/support/processes.h"
#include "tests/support/tree.h"

namespace banyan {
namespace {

using test::processes_marked;
using Kind = ExecOutcome::Kind;
using Ended = ExecOutcome::Ended;

struct Tree {
  EpollLoop loop;
  Router root{loop, test::config_of(0)};
  Router agent{loop, test::config_of(1, {0})};
  std::unique_ptr<ExecService> exec = std::make_unique<ExecService>(loop, agent);
  std::string mark = cat("BANYAN_TEST_MARK=", hex64(loop.random()));

  Tree() { test::join(loop, root, agent); }
  ~Tree() {
    // Guards need a moment to go after their last word.
    CHECK(until([this] { return exec == nullptr || exec->running() == 0; }));
  }

  bool until(const std::function<bool()>& done, Nanos within = 10 * kSecond) {
    return test::run_until(loop, done, within);
  }
  bool is_clean() const { return processes_marked(mark).empty(); }
};

struct Run {
  Tree& tree;
  std::string out, err;
  ExecStarted started;
  bool has_started = false, input_closed = false;
  int done = 0;
  ExecOutcome outcome;
  Error error;  // if it is one
  bool failed = false;
  std::function<void()> on_input_room;
  std::function<void(bool, Bytes, Charge)> on_output;
  std::unique_ptr<Command> command;

  explicit Run(Tree& where) : tree(where) {}
  Run(Tree& where, ExecRequest request) : tree(where) { start(std::move(request)); }

  void start(ExecRequest request) {
    const std::size_t equals = tree.mark.find('=');
    request.environment.emplace_back(tree.mark.substr(0, equals), tree.mark.substr(equals + 1));
    Command::Callbacks callbacks;
    callbacks.on_started = [this](const ExecStarted& with) {
      has_started = true;
      started = with;
    };
    callbacks.on_output = [this](bool is_err, Bytes bytes, Charge charge) {
      if (on_output) return on_output(is_err, bytes, std::move(charge));
      (is_err ? err : out).append(as_text(bytes));
    };
    callbacks.on_input_room = [this] {
      if (on_input_room) on_input_room();
    };
    callbacks.on_input_closed = [this] { input_closed = true; };
    callbacks.on_done = [this](Result<ExecOutcome> result) {
      ++done;
      failed = !result;
      if (result) {
        outcome = *result;
      } else {
        error = result.error();
      }
    };
    command = std::make_unique<Command>(tree.root, 1, std::move(request), std::move(callbacks));
  }
  bool finish(Nanos within = 10 * kSecond) {
    return tree.until([this] { return done > 0; }, within) && done == 1 && !failed;
  }
};

ExecRequest argv(std::vector<std::string> words) {
  ExecRequest request;
  request.argv = std::move(words);
  return request;
}

ExecRequest line(std::string text) {
  ExecRequest request = argv({std::move(text)});
  request.shell = true;
  return request;
}

// --- what comes back ---

TEST_CASE("an exit code is a value") {
  Tree tree;
  Run run(tree, line("exit 42"));
  REQUIRE(run.finish());
  CHECK(run.outcome.kind == Kind::kExited);
  CHECK(run.outcome.code == 42);
  CHECK(run.outcome.ended == Ended::kItself);
  CHECK(run.has_started);
}

TEST_CASE("output that is no single frame is refused as a breach of the rules") {
  Tree tree;
  ExecRequest asked;
  tree.exec.reset();
  tree.agent.add_handler(kExec, Access::ancestors(),
                         [&](Incoming& message) { asked = *ExecRequest::decode(message.payload); });
  std::size_t given = 0;
  Run run(tree);
  run.on_output = [&](bool, Bytes bytes, Charge) { given += bytes.size(); };
  run.start(line("exit 0"));
  REQUIRE(tree.until([&] { return asked.out != 0; }));
  tree.agent.send(0, asked.out, Buffer(1 << 20, '\n'), kFirstFreeStream);
  REQUIRE(tree.until([&] { return run.done > 0; }));
  CHECK(run.failed);
  CHECK(run.error.error_class == ErrorClass::kProtocol);
  CHECK(given == 0);
}

TEST_CASE("a signal is a value") {
  Tree tree;
  Run run(tree, line("kill -SEGV $$"));
  REQUIRE(run.finish());
  CHECK(run.outcome.kind == Kind::kSignalled);
  CHECK(run.outcome.signal == SIGSEGV);
  CHECK(run.outcome.ended == Ended::kItself);
}

TEST_CASE("a command that is not there and one that cannot be executed are told apart, and never started") {
  Tree tree;
  Run missing(tree, argv({"no-such-command-anywhere"})), folder(tree, argv({"/"}));
  REQUIRE(missing.finish());
  CHECK(missing.outcome.kind == Kind::kNotFound);
  CHECK(missing.outcome.code == ENOENT);
  CHECK(missing.outcome.text == "no-such-command-anywhere: No such file or directory");
  CHECK_FALSE(missing.has_started);
  REQUIRE(folder.finish());
  CHECK(folder.outcome.kind == Kind::kNotExecutable);
  CHECK(folder.outcome.code == EACCES);
}

TEST_CASE("a command runs in its directory, and one that is not there is named") {
  Tree tree;
  ExecRequest here = argv({"pwd"});
  here.directory = "/usr/bin";
  Run run(tree, here);
  REQUIRE(run.finish());
  CHECK(run.out == "/usr/bin\n");

  here.directory = "/no/such/folder";
  Run nowhere(tree, here);
  REQUIRE(nowhere.finish());
  CHECK(nowhere.outcome.kind == Kind::kNotStarted);
  CHECK(nowhere.outcome.code == ENOENT);
  CHECK(nowhere.outcome.text == "directory /no/such/folder: No such file or directory");
}

TEST_CASE("a command has the environment of its context and what was added, and no signal is kept from it") {
  Tree tree;
  ExecRequest request =
      line("printf '%s' \"$ADDED\"; test -n \"$PATH\" && grep -E 'Sig(Blk|Ign)' /proc/self/status");
  request.environment = {{"ADDED", "a=b\xff\n"}};
  Run run(tree, request);
  REQUIRE(run.finish());
  CHECK(run.out == "a=b\xff\nSigBlk:\t0000000000000000\nSigIgn:\t0000000000000000\n");
}

TEST_CASE("an argument vector is not seen by a shell, and a shell line gets its parameters") {
  Tree tree;
  Run plain(tree, argv({"printf", "%s|", "$HOME", "a b", "", "*"}));
  ExecRequest with = line("printf '%s|' \"$0\" \"$@\"");
  with.argv.insert(with.argv.end(), {"zero", "one two", "\xfe"});
  Run shell(tree, with);
  REQUIRE(plain.finish());
  CHECK(plain.out == "$HOME|a b||*|");
  REQUIRE(shell.finish());
  CHECK(shell.out == "zero|one two|\xfe|");
}

TEST_CASE("standard output and standard error are kept apart, and any byte passes") {
  Tree tree;
  Run run(tree, line("printf 'out\\000\\377\\n'; printf 'err\\000\\001' >&2"));
  REQUIRE(run.finish());
  CHECK(run.out == std::string("out\0\xff\n", 6));
  CHECK(run.err == std::string("err\0\x01", 5));
}

TEST_CASE("without standard input a command reads its end at once") {
  Tree tree;
  Run run(tree, argv({"cat"}));
  REQUIRE(run.finish());
  CHECK(run.out.empty());
  CHECK(run.outcome.code == 0);
}

// --- streams ---

TEST_CASE("three megabytes through cat come back the same") {
  Tree tree;
  std::string sent;
  for (std::size_t i = 0; sent.size() < 3'000'000; ++i)
    sent.append(hex64(i * 0x9e3779b97f4a7c15)).push_back(char(i));
  std::size_t at = 0;
  Run run(tree);
  run.on_input_room = [&] {
    std::size_t room;
    while (at < sent.size() && (room = run.command->input_room()) > 0) {
      const std::string_view part = std::string_view(sent).substr(at, room);
      run.command->write_input(as_bytes(part));
      at += part.size();
    }
    if (at == sent.size()) run.command->finish_input();
  };
  ExecRequest request = argv({"cat"});
  request.has_stdin = true;
  run.start(request);
  REQUIRE(run.finish());
  CHECK(run.out.size() == sent.size());
  CHECK(run.out == sent);
}

TEST_CASE("standard input may be ended before the command has started") {
  Tree tree;
  ExecRequest request = argv({"wc", "-c"});
  request.has_stdin = true;
  Run run(tree, request);
  run.command->finish_input();
  REQUIRE(run.finish());
  CHECK(run.out == "0\n");
}

TEST_CASE("who writes to a command that has closed its input is told, and the command is not disturbed") {
  Tree tree;
  Run run(tree);
  run.on_input_room = [&] {
    std::size_t room;
    while (!run.input_closed && (room = run.command->input_room()) > 0)
      run.command->write_input(as_bytes(std::string(room, 'x')));
  };
  ExecRequest request = line("exec <&-; echo closed; while ! test -e /proc/$PPID/never; do sleep 0.05; done");
  request.has_stdin = true;
  run.start(request);
  CHECK(tree.until([&] { return run.input_closed && run.out == "closed\n"; }));
  CHECK(run.done == 0);
  run.command->cancel();
  REQUIRE(run.finish());
}

TEST_CASE("fifty megabytes wait for a reader that stops, in bounded memory, and all of them arrive") {
  constexpr std::size_t kTotal = 50'000'000;
  Tree tree;
  Run run(tree);
  std::deque<Charge> unread;
  std::size_t received = 0;
  bool reading = false;
  std::uint64_t sum = 0;
  run.on_output = [&](bool, Bytes bytes, Charge charge) {
    received += bytes.size();
    for (const std::uint8_t byte : bytes) sum += byte;
    if (!reading) unread.push_back(std::move(charge));
  };
  run.start(line("head -c 50000000 /dev/zero | tr '\\0' '\\001'"));

  // Until nothing has moved for a while.
  std::size_t before = 1;
  while (received != before) {
    before = received;
    tree.until([] { return false; }, 200 * kMillisecond);
  }
  CHECK(received > 0);
  const InboxLimits limits;
  CHECK(received <= limits.stream_window);  // never drained, so it never widened
  CHECK(tree.root.link_to(1)->held() <= LinkLimits().window);
  CHECK(tree.agent.parent_link()->queued_bytes() <= limits.stream_window);
  CHECK(run.done == 0);

  reading = true;
  unread.clear();
  REQUIRE(run.finish(60 * kSecond));
  CHECK(received == kTotal);
  CHECK(sum == kTotal);
}

TEST_CASE("what a command wrote arrives after a slow reader, though another holds the pipe open") {
  Tree tree;
  Run run(tree);
  std::deque<Charge> unread;
  std::size_t received = 0;
  bool reading = false;
  run.on_output = [&](bool, Bytes bytes, Charge charge) {
    received += bytes.size();
    if (!reading) unread.push_back(std::move(charge));
  };
  // More than the first window, and less than what the pipe holds beside it: so the command ends, and waits
  // for nobody.
  run.start(line("sleep 1000 & head -c 200000 /dev/zero"));
  REQUIRE(tree.until([&] { return run.has_started; }));
  const pid_t guard = test::parent_of(pid_t(run.started.pid));
  REQUIRE(tree.until([&] { return test::stat_field(guard, 0).empty(); }));
  CHECK(received < 200'000);
  CHECK(run.done == 0);
  reading = true;
  unread.clear();
  REQUIRE(run.finish());
  CHECK(received == 200'000);
  // While it becomes the sleep it has no mark to be known by.
  std::vector<pid_t> left;
  REQUIRE(tree.until([&] { return !(left = processes_marked(tree.mark)).empty(); }));
  for (const pid_t pid : left) test::kill_leftover(pid);
}

TEST_CASE("a command that does not read its input holds its writer back") {
  Tree tree;
  Run run(tree);
  std::size_t written = 0;
  run.on_input_room = [&] {
    std::size_t room;
    while ((room = run.command->input_room()) > 0) {
      run.command->write_input(as_bytes(std::string(room, 'x')));
      written += room;
    }
  };
  ExecRequest request = line("sleep 1000");
  request.has_stdin = true;
  run.start(request);
  REQUIRE(tree.until([&] { return written > 0; }));
  std::size_t before = 0;
  while (written != before && written < 10'000'000) {
    before = written;
    tree.until([] { return false; }, 100 * kMillisecond);
  }
  CHECK(written <= 4 * InboxLimits().stream_window);  // a window, and what the pipe holds
  run.command->cancel();
  REQUIRE(run.finish());
}

TEST_CASE(
    "a background process survives the end of its command, and an output it holds open keeps nobody "
    "waiting") {
  Tree tree;
  const Nanos begin = tree.loop.now();
  Run run(tree, line("sleep 1000 & echo $!"));
  REQUIRE(run.finish());
  CHECK(tree.loop.now() - begin < 5 * kSecond);
  CHECK(run.outcome.code == 0);
  REQUIRE_FALSE(run.out.empty());
  const pid_t left = std::atoi(run.out.c_str());
  REQUIRE(tree.until([&] { return tree.exec->running() == 0; }));
  CHECK(processes_marked(tree.mark) == std::vector<pid_t>{left});
  test::kill_leftover(left);
}

// --- ends ---

// Both ignore SIGTERM; one left the session by a double fork.
const char* const kStubborn =
    "trap '' TERM; (setsid sh -c 'trap \"\" TERM; (while :; do sleep 1000; done) & while :; do sleep 1000; "
    "done' &) ; "
    "echo up; while :; do sleep 1000; done";

TEST_CASE("a command past its time is ended with all it started, though it ignores SIGTERM and hides") {
  Tree tree;
  ExecRequest request = line(kStubborn);
  request.timeout = 300 * kMillisecond;
  Run run(tree, request);
  REQUIRE(tree.until([&] { return processes_marked(tree.mark).size() >= 5; }));
  const Nanos begin = tree.loop.now();
  REQUIRE(run.finish());
  CHECK(tree.loop.now() - begin < 2500 * kMillisecond);
  CHECK(tree.is_clean());
  CHECK(run.outcome.ended == Ended::kTimeout);
  CHECK(run.outcome.kind == Kind::kSignalled);
  CHECK(run.outcome.signal == SIGKILL);
  CHECK(run.out == "up\n");
}

TEST_CASE("a command that obeys SIGTERM has the time to clean up, and its exit code counts") {
  Tree tree;
  ExecRequest request = line("trap 'sleep 0.2; echo cleaned; exit 9' TERM; while :; do sleep 0.01; done");
  request.timeout = 200 * kMillisecond;
  Run run(tree, request);
  REQUIRE(run.finish());
  CHECK(run.out == "cleaned\n");
  CHECK(run.outcome.kind == Kind::kExited);
  CHECK(run.outcome.code == 9);
  CHECK(run.outcome.ended == Ended::kTimeout);
}

TEST_CASE("a stopped command is ended like any other, with its time to clean up") {
  Tree tree;
  // One leads the command's group, and one has left it.
  Run run(tree,
          line("setsid sh -c 'trap \"echo cleaned; exit\" TERM; kill -STOP $$; sleep 1000' & kill -STOP $$"));
  REQUIRE(tree.until([&] {
    int stopped = 0;
    for (const pid_t pid : processes_marked(tree.mark)) stopped += test::stat_field(pid, 0) == "T" ? 1 : 0;
    return run.has_started && stopped == 2;
  }));
  run.command->cancel();
  REQUIRE(run.finish());
  CHECK(run.outcome.ended == Ended::kCancelled);
  CHECK(run.outcome.signal == SIGTERM);
  CHECK(run.out == "cleaned\n");
  CHECK(tree.is_clean());
}

TEST_CASE("a command that forks without end is ended") {
  Tree tree;
  // Each generation starts the next and goes: whoever lists them is always late.
  Run run(tree, line("trap '' TERM; next() { next & }; next; next; next; echo up; sleep 1000"));
  REQUIRE(tree.until([&] { return run.out == "up\n"; }));
  run.command->cancel();
  REQUIRE(run.finish());
  CHECK(tree.is_clean());
}

TEST_CASE("cancel ends a command, and is confirmed when nothing is left of it") {
  Tree tree;
  Run run(tree, line(kStubborn));
  REQUIRE(tree.until([&] { return processes_marked(tree.mark).size() >= 5; }));
  run.command->cancel();
  run.command->cancel();
  REQUIRE(run.finish());
  CHECK(run.outcome.ended == Ended::kCancelled);
  CHECK(tree.is_clean());
}

TEST_CASE("a command cancelled before it has started ends as well") {
  Tree tree;
  Run run(tree, argv({"sleep", "1000"}));
  run.command->cancel();
  REQUIRE(run.finish());
  CHECK(run.outcome.ended == Ended::kCancelled);
  CHECK(tree.is_clean());
}

TEST_CASE("a command nobody waits for any more is ended") {
  Tree tree;
  Run run(tree, line("echo up; sleep 1000"));
  REQUIRE(tree.until([&] { return run.out == "up\n"; }));
  run.command.reset();
  CHECK(tree.until([&] { return tree.exec->running() == 0; }));
  CHECK(tree.is_clean());
  CHECK(run.done == 0);
}

TEST_CASE("a command dies with its guard") {
  Tree tree;
  Run run(tree, line("(trap '' TERM HUP; sleep 1000) & sleep 1000"));
  REQUIRE(tree.until([&] { return run.has_started && processes_marked(tree.mark).size() >= 3; }));
  const pid_t guard = test::parent_of(pid_t(run.started.pid));
  REQUIRE(test::read_file(cat("/proc/", guard, "/comm")) == "banyan-guard\n");
  ::kill(guard, SIGKILL);
  REQUIRE(run.finish());
  CHECK(run.outcome.kind == Kind::kSignalled);
  CHECK(run.outcome.signal == SIGKILL);
  CHECK(tree.until([&] { return tree.is_clean(); }, 2 * kSecond));
}

// A context in a process of its own that runs one command; ready when so many processes of it are up.
pid_t fork_context(const std::string& mark, const char* command, std::size_t processes) {
  auto ends = make_socketpair();
  const pid_t context = ::fork();
  if (context == 0) {
    Tree tree;
    tree.mark = mark;
    Run run(tree, line(command));
    tree.until([&] { return processes_marked(mark).size() >= processes; });
    write_all(ends->second.get(), "up", 2);
    tree.until([] { return false; }, 100 * kSecond);
    ::_exit(0);
  }
  char bytes[2];
  ends->second.reset();
  CHECK(::read(ends->first.get(), bytes, 2) == 2);
  return context;
}

TEST_CASE("commands die with their context, killed as it may be") {
  EpollLoop loop;
  const std::string mark = cat("BANYAN_TEST_MARK=", hex64(loop.random()));
  const pid_t context = fork_context(mark, kStubborn, 5);
  ::kill(context, SIGKILL);
  retry([&] { return ::waitpid(context, nullptr, 0); });
  CHECK(test::run_until(
      loop, [&] { return processes_marked(mark).empty(); }, 2500 * kMillisecond));
}

TEST_CASE("a command dies although its context and its guard are killed at once") {
  EpollLoop loop;
  const std::string mark = cat("BANYAN_TEST_MARK=", hex64(loop.random()));
  const pid_t context = fork_context(mark, "exec sleep 1000", 1);
  std::vector<pid_t> commands;  // looked for again: while the shell becomes the command it has no environment
  REQUIRE(test::run_until(loop, [&] { return (commands = processes_marked(mark)).size() == 1; }));
  const pid_t guard = test::parent_of(commands[0]);
  REQUIRE(guard > 1);
  ::kill(guard, SIGSTOP);
  ::kill(context, SIGKILL);
  ::kill(guard, SIGKILL);
  retry([&] { return ::waitpid(context, nullptr, 0); });
  CHECK(test::run_until(
      loop, [&] { return processes_marked(mark).empty(); }, kSecond));
}

TEST_CASE("without /proc a command is ended all the same, with its process group") {
  const pid_t blind = ::fork();
  if (blind == 0) {
    if (::unshare(CLONE_NEWNS) != 0 || ::mount("none", "/", nullptr, MS_REC | MS_PRIVATE, nullptr) != 0)
      ::_exit(77);
    if (::mount("none", "/proc", "tmpfs", 0, nullptr) != 0) ::_exit(77);
    Tree tree;
    Run run(tree, line("trap '' TERM; (trap '' TERM; echo up; while :; do sleep 1000; done) & while :; do "
                       "sleep 1000; done"));
    bool good = tree.until([&] { return run.out == "up\n"; });
    run.command->cancel();
    good = good && run.finish() && run.outcome.signal == SIGKILL && run.outcome.ended == Ended::kCancelled;
    good = good && tree.until([&] { return tree.exec->running() == 0; });
    ::_exit(good ? 0 : 1);
  }
  int status = -1;
  retry([&] { return ::waitpid(blind, &status, 0); });
  REQUIRE(WIFEXITED(status));
  if (WEXITSTATUS(status) == 77)
    return test::not_tested("mounts", "a mount namespace, which this needs, is only for root");
  CHECK(WEXITSTATUS(status) == 0);
}

TEST_CASE("shutting down ends every command and answers who waits, and new ones are refused") {
  Tree tree;
  Run first(tree, line(kStubborn)), second(tree, line("sleep 1000"));
  REQUIRE(tree.until([&] { return processes_marked(tree.mark).size() >= 7; }));
  bool down = false;
  const Nanos begin = tree.loop.now();
  tree.exec->shut_down([&] { down = true; });
  Run late(tree, line("true"));
  REQUIRE(tree.until([&] { return down; }));
  CHECK(tree.loop.now() - begin < 2 * kSecond);
  CHECK(tree.is_clean());
  REQUIRE(first.finish());
  CHECK(first.outcome.ended == Ended::kEnding);
  REQUIRE(second.finish());
  CHECK(second.outcome.ended == Ended::kEnding);
  REQUIRE(tree.until([&] { return late.done == 1; }));
  CHECK(late.failed);
  CHECK(late.error.error_class == ErrorClass::kDead);
}

TEST_CASE("shutting down does not wait for a reader that has stopped") {
  Tree tree;
  std::deque<Charge> unread;
  Run run(tree);
  run.on_output = [&](bool, Bytes, Charge charge) { unread.push_back(std::move(charge)); };
  run.start(line("head -c 200000 /dev/zero"));
  REQUIRE(tree.until([&] { return run.has_started && !test::is_running(pid_t(run.started.pid)); }));
  bool down = false;
  tree.exec->shut_down([&] { down = true; });
  CHECK(tree.until([&] { return down; }));
  unread.clear();
}

TEST_CASE("a broken link is told once as lost, with whether the command had begun") {
  Tree tree;
  Run begun(tree, line("sleep 1000")), unknown(tree);
  REQUIRE(tree.until([&] { return begun.has_started; }));
  unknown.start(line("sleep 1000"));
  tree.root.drop_child(1, Error{ErrorClass::kLost, Phase::kLink, "cut", {}});
  REQUIRE(tree.until([&] { return begun.done + unknown.done == 2; }));
  CHECK(begun.failed);
  CHECK(begun.error.error_class == ErrorClass::kLost);
  CHECK(begun.error.phase == Phase::kCommand);
  CHECK(begun.error.started == Started::kYes);
  CHECK(unknown.error.started == Started::kUnknown);
  bool down = false;
  tree.exec->shut_down([&] { down = true; });
  REQUIRE(tree.until([&] { return down; }));
  CHECK(begun.done == 1);
  CHECK(unknown.done == 1);
}

TEST_CASE("destroying the service kills what runs, at once") {
  Tree tree;
  Run run(tree, line(kStubborn));
  REQUIRE(tree.until([&] { return processes_marked(tree.mark).size() >= 5; }));
  const Nanos begin = tree.loop.now();
  tree.exec.reset();
  CHECK(tree.loop.now() - begin < kSecond);
  CHECK(tree.is_clean());
}

}  // namespace
}  // namespace banyan
