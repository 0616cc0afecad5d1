// Goal: the end of a child is heard once, with its status, and ending one always ends it.
// Method: real children on the epoll loop.
#include "core/reaper.h"

#include <signal.h>
#include <sys/resource.h>
#include <sys/wait.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <memory>

#include "core/spawn.h"
#include "tests/support/processes.h"
#include "tests/support/tree.h"

namespace banyan {
namespace {

pid_t start(const char* line) {
  return SpawnPlan({"/bin/sh", "-c", line}, {}).run({}).pid;
}

TEST_CASE("a child's status is reported once, and the callback may destroy the watcher") {
  EpollLoop loop;
  int told = 0, status = 0;
  std::unique_ptr<ChildProcess> child;
  child = std::make_unique<ChildProcess>(loop, start("exit 3"), false, [&](int with) {
    ++told;
    status = with;
    child.reset();
  });
  REQUIRE(test::run_until(loop, [&] { return told > 0; }));
  loop.run_once(0);
  CHECK(told == 1);
  CHECK(WEXITSTATUS(status) == 3);
}

TEST_CASE("a child that obeys SIGTERM is given the time to") {
  EpollLoop loop;
  auto pipe = make_pipe();
  const SpawnPlan plan({"/bin/sh", "-c", "trap 'exit 5' TERM; echo; while :; do sleep 0.01; done"}, {});
  int status = -2;
  ChildProcess child(loop, plan.run({-1, pipe->second.get(), -1}).pid, false,
                     [&](int with) { status = with; });
  char byte;
  REQUIRE(::read(pipe->first.get(), &byte, 1) == 1);
  child.end();
  REQUIRE(test::run_until(loop, [&] { return status != -2; }));
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 5);
}

TEST_CASE("a child that ignores SIGTERM is killed a second later, a stopped one too") {
  EpollLoop loop;
  auto pipe = make_pipe();
  const SpawnPlan plan({"/bin/sh", "-c", "trap '' TERM; echo; kill -STOP $$; exec sleep 1000"}, {});
  int status = -2;
  ChildProcess child(loop, plan.run({-1, pipe->second.get(), -1}).pid, false,
                     [&](int with) { status = with; });
  char byte;
  REQUIRE(::read(pipe->first.get(), &byte, 1) == 1);
  const Nanos begin = loop.now();
  child.end();
  REQUIRE(test::run_until(loop, [&] { return status != -2; }));
  CHECK(WTERMSIG(status) == SIGKILL);
  CHECK(loop.now() - begin >= kGrace);
  CHECK(loop.now() - begin < kGrace + kSecond);
}

TEST_CASE("destroying the watcher of a running child kills and reaps it") {
  EpollLoop loop;
  const pid_t pid = start("exec sleep 1000");
  {
    ChildProcess child(loop, pid, false, [](int) { FAIL("nobody was to be told"); });
  }
  CHECK(test::stat_field(pid, 0).empty());
}

TEST_CASE("a child that somebody else reaped is not waited for for ever") {
  EpollLoop loop;
  const pid_t pid = start("exit 0");
  int status = -2;
  ChildProcess child(loop, pid, false, [&](int with) { status = with; });
  retry([&] { return ::waitpid(pid, nullptr, 0); });
  REQUIRE(test::run_until(loop, [&] { return status != -2; }));
  CHECK(status == kStatusUnknown);
}

TEST_CASE("the end of a child is heard also when there is no pidfd to be had") {
  EpollLoop loop;
  const pid_t pid = start("exit 3");
  rlimit before = {};
  REQUIRE(::getrlimit(RLIMIT_NOFILE, &before) == 0);
  const rlimit none = {0, before.rlim_max};
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &none) == 0);
  int status = -2;
  ChildProcess child(loop, pid, false, [&](int with) { status = with; });
  REQUIRE(::setrlimit(RLIMIT_NOFILE, &before) == 0);
  REQUIRE(test::run_until(loop, [&] { return status != -2; }));
  CHECK(WEXITSTATUS(status) == 3);
}

}  // namespace
}  // namespace banyan
