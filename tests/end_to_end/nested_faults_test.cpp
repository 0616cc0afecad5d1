// Goal: whatever happens to a context of a path (killed, stopped, told to end, orphaned), whoever waits is
// told soon and with the right class, and nothing is left, commands included.
// Method: the real program over contexts of this machine; each process of the path is found by its mark and
// its ancestry, and gets the signal. Bounds are those of a quiet machine with room for a busy one.
#include <nlohmann/json.hpp>
#include <optional>

#include "tests/end_to_end/program.h"
#include "tests/support/slack.h"

using namespace banyan::test;
using banyan::cat;

namespace {

// A busy machine takes so many times as long.
constexpr double kBusy = kSmallSlack;

using Seconds = std::chrono::duration<double>;

std::string path_of(int depth) {
  std::string path = "local";
  for (int i = 1; i < depth; ++i) path += "/local";
  return path;
}

// A program with a path of contexts, and a command at its end that has said "up".
struct Running {
  std::string mark = fresh_mark();
  Program program;
  std::vector<pid_t> contexts;  // from the root's child on

  explicit Running(int depth, const std::string& line = "echo up; sleep 600", const Words& more = {})
      : program(arguments(depth, line, more), Program::Shape::kPipes, {mark}) {
    REQUIRE(program.wait_for("up"));
    pid_t above = program.pid();
    for (int i = 0; i < depth; ++i) {
      above = agent_beneath(above);
      REQUIRE(above > 0);
      contexts.push_back(above);
    }
  }
  static Words arguments(int depth, const std::string& line, const Words& more) {
    Words words = {"run", path_of(depth), "-n"};
    words.insert(words.end(), more.begin(), more.end());
    words.insert(words.end(), {"--", "sh", "-c", line});
    return words;
  }
  pid_t agent_beneath(pid_t parent) const {
    for (const pid_t pid : processes_marked(mark))
      if (parent_of(pid) == parent && read_file(cat("/proc/", pid, "/cmdline")).starts_with("banyan-agent"))
        return pid;
    return -1;
  }
};

struct Clock {
  std::chrono::steady_clock::time_point began = std::chrono::steady_clock::now();
  double seconds() const { return Seconds(std::chrono::steady_clock::now() - began).count(); }
};

nlohmann::json last_failure(const Finished& got) {
  nlohmann::json failure;
  for (const std::string& line : lines_of(got.out)) {
    const nlohmann::json event = nlohmann::json::parse(line);
    if (event.at("event") == "fail") failure = event;
  }
  return failure;
}

}  // namespace

TEST_CASE("a leaf that is killed is dead to whoever waits, soon, and its command is gone within a second") {
  Running running(3, "echo up; sleep 600", {"--json"});
  const Clock clock;
  ::kill(running.contexts[2], SIGKILL);
  const Finished got = running.program.finish();
  CHECK(got.code == 255);
  const nlohmann::json failure = last_failure(got);
  CHECK(failure.at("class") == "dead");
  CHECK(failure.at("error") == "the agent was killed by signal 9");
  CHECK(failure.at("started") == "yes");
  CHECK(failure.at("route") == nlohmann::json({"local", "local", "local"}));
  CHECK(clock.seconds() < 1 * kBusy);
  CHECK(all_gone(running.mark));
}

TEST_CASE("when an intermediate context is killed its subtree is dead, and says which hop it was") {
  for (const std::size_t which : {0, 1, 2}) {
    CAPTURE(which);
    Running running(5, "echo up; sleep 600", {"--json"});
    const Clock clock;
    ::kill(running.contexts[which], SIGKILL);
    const Finished got = running.program.finish();
    CHECK(clock.seconds() < (0.5 + 0.1 * 5) * kBusy);
    CHECK(got.code == 255);
    const nlohmann::json failure = last_failure(got);
    CHECK(failure.at("class") == "dead");
    CHECK(failure.at("error") == cat("hop ", path_of(int(which) + 1), ": the agent was killed by signal 9"));
    CHECK(all_gone(running.mark, std::chrono::seconds(int(2 * kBusy))));
  }
}

TEST_CASE("when the root is killed nothing is left of a path of five, at once and whatever it runs") {
  for (const char* line : {"echo up; sleep 600", "trap '' TERM HUP; echo up; while :; do sleep 1; done"}) {
    CAPTURE(line);
    Running running(5, line);
    const Clock clock;
    running.program.signal(SIGKILL);
    CHECK(all_gone(running.mark));
    // A command that ignores SIGTERM has its second.
    CHECK(clock.seconds() < (1 + 1) * kBusy);
    CHECK(running.program.finish().code == 1000 + SIGKILL);
  }
}

TEST_CASE("a leaf or an intermediate that was stopped and goes on has lost nothing") {
  for (const std::size_t which : {1, 3}) {
    CAPTURE(which);
    Running running(4, "echo up; sleep 3; echo end");
    ::kill(running.contexts[which], SIGSTOP);
    ::poll(nullptr, 0, 2000);
    ::kill(running.contexts[which], SIGCONT);
    const Finished got = running.program.finish();
    CHECK(got.code == 0);
    CHECK(got.out == "up\nend\n");
    CHECK(got.err == "");
    CHECK(all_gone(running.mark));
  }
}

TEST_CASE("a root that was stopped for ten seconds judges nobody") {
  Running running(3, "echo up; sleep 12; echo end");
  running.program.signal(SIGSTOP);
  ::poll(nullptr, 0, 10'000);
  running.program.signal(SIGCONT);
  const Finished got = running.program.finish();
  CHECK(got.code == 0);
  CHECK(got.out == "up\nend\n");
  CHECK(got.err == "");
}

TEST_CASE(
    "a context that stays stopped is lost after its silence, with all beneath it, and nothing is left") {
  for (const std::size_t which : {0, 1, 2}) {
    CAPTURE(which);
    Running running(3, "echo up; sleep 600", {"--json"});
    const Clock clock;
    ::kill(running.contexts[which], SIGSTOP);
    const Finished got = running.program.finish();
    CHECK(got.code == 255);
    CHECK(clock.seconds() > 10);
    CHECK(clock.seconds() < 20 * kBusy);
    CHECK(last_failure(got).at("class") == "lost");
    CHECK(all_gone(running.mark));
  }
}

TEST_CASE("a path of five whose command ignores SIGTERM ends within two seconds and a tenth a level") {
  Running running(5, "trap '' TERM; echo up; while :; do sleep 1; done");
  const Clock clock;
  running.program.signal(SIGTERM);
  const Finished got = running.program.finish();
  CHECK(got.code == 128 + SIGTERM);
  CHECK(clock.seconds() < (2 + 0.1 * 5) * kBusy);
  CHECK(all_gone(running.mark, std::chrono::seconds(1)));
}

TEST_CASE("contexts of a path that are stopped hold up its end no longer than the others") {
  for (const std::size_t which : {0, 2, 4}) {
    CAPTURE(which);
    Running running(5, "echo up; sleep 600");
    ::kill(running.contexts[which], SIGSTOP);
    const Clock clock;
    running.program.signal(SIGTERM);
    const Finished got = running.program.finish();
    CHECK(got.code == 128 + SIGTERM);
    CHECK(all_gone(running.mark, std::chrono::seconds(1)));
    // The command was cancelled first, and had three seconds in which to say that it has ended.
    CHECK(clock.seconds() < (3 + 2 + 0.1 * 5) * kBusy);
  }
}

TEST_CASE("a context that gets SIGTERM takes its subtree with it, and whoever waited hears of a dead hop") {
  Running running(4, "echo up; sleep 600", {"--json"});
  const Clock clock;
  ::kill(running.contexts[1], SIGTERM);
  const Finished got = running.program.finish();
  CHECK(got.code == 255);
  CHECK(clock.seconds() < (2 + 0.1 * 4 + 0.5) * kBusy);
  CHECK(all_gone(running.mark, std::chrono::seconds(1)));
}

TEST_CASE("what a command left in the background on purpose lives on when its path ends") {
  const std::string mark = fresh_mark();
  const Finished got =
      run_program({"run", path_of(3), "--", "sh", "-c", "sleep 600 >/dev/null 2>&1 & echo $!"}, {}, {mark});
  CHECK(got.code == 0);
  const pid_t left = std::atoi(got.out.c_str());
  REQUIRE(left > 0);
  CHECK(is_running(left));
  kill_leftover(left);
}

TEST_CASE("more contexts than there are descriptors for are refused or come later, and nobody crashes") {
  const std::string mark = fresh_mark();
  rlimit before{};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  std::optional<Program> program;
  program.emplace(Words{"run", "local/local[1-1000]", "-f", "1000", "--json", "--", "true"},
                  Program::Shape::kPipes, Words{mark});
  // The hop and all beneath it have fewer than they need; the root has what it asked for.
  pid_t hop = -1;
  const Clock clock;
  while (hop < 0 && clock.seconds() < 20)
    for (const pid_t pid : processes_marked(mark))
      if (parent_of(pid) == program->pid()) hop = pid;
  REQUIRE(hop > 0);
  const rlimit few{200, before.rlim_max};
  REQUIRE(::prlimit(hop, RLIMIT_NOFILE, &few, nullptr) == 0);
  const Finished got = program->finish();
  CHECK(got.code < 128);  // whatever came of them, it ended by itself
  int ok = 0, refused = 0, ended = 0;
  for (const std::string& line : lines_of(got.out)) {
    const nlohmann::json event = nlohmann::json::parse(line);
    if (event.at("event") == "exit") ++ok;
    if (event.at("event") == "fail") ++refused;
    ended += event.at("event") == "exit" || event.at("event") == "fail";
    if (event.at("event") != "fail") continue;
    INFO(line);
    CHECK(event.at("class") == "resource");
    CHECK(event.at("started") == "no");
  }
  CHECK(ended == 1'000);
  CHECK(ok > 30);
  CHECK(refused > 0);
  CHECK(all_gone(mark));
}
