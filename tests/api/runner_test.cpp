// Goal: whoever asks for a context is told exactly once, whatever becomes of it, and nothing of it is left.
// Method: real processes on a real loop: the agent itself, and shell commands that misbehave in its place.

#include "parent/runner.h"

#include <sys/types.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <csignal>

#include "core/text.h"
#include "parent/api/stage0.h"
#include "tests/support/processes.h"
#include "tests/support/root.h"

using namespace banyan;
using namespace banyan::test;

namespace {

Recipe through_shell() {
  Recipe recipe;
  recipe.name = "it";
  recipe.method = "shell";
  recipe.boot = Recipe::Boot::kStage0;
  recipe.nonce = 0xfeed;
  return recipe;
}

// The far end runs `script` where a login shell would run stage 0.
Recipe shell(std::string script) {
  Recipe recipe = through_shell();
  recipe.argv = {"sh", "-c", std::move(script)};
  return recipe;
}

}  // namespace

TEST_CASE("a local child comes up, says what it is, and is gone when it was shut down") {
  Root root;
  root.start(Root::local());
  REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));
  REQUIRE(root.told.child.has_value());
  CHECK(root.told.child->id == 1);
  CHECK(root.told.child->hello.uid == ::getuid());
  CHECK(::kill(pid_t(root.told.child->hello.pid), 0) == 0);
  bool done = false;

  root.runner.shut_down(root.told.child->id, 2 * kSecond, [&] { done = true; });

  REQUIRE(run_until(root.loop, [&] { return done; }));
  CHECK(::kill(pid_t(root.told.child->hello.pid), 0) != 0);
  CHECK(root.told.up == 1);
  CHECK(root.told.lost == 0);
  CHECK(root.runner.count() == 0);
}

TEST_CASE("a runner may be destroyed when a child of its has come up, and when one is lost") {
  for (const bool when_up : {true, false}) {
    CAPTURE(when_up);
    Root root;
    auto runner = std::make_unique<Runner>(root.loop, root.router, embedded_images(), root.ids, root.routes);
    const Recipe recipe = Root::local();
    pid_t pid = 0;
    bool is_lost = false;
    runner->start(
        recipe,
        [&](const Result<Child>& child) {
          REQUIRE(child);
          pid = pid_t(child->hello.pid);
          if (when_up) runner.reset();
        },
        [&](ContextId, const Error&) {
          is_lost = true;
          runner.reset();
        });
    REQUIRE(run_until(root.loop, [&] { return pid != 0; }));
    if (!when_up) ::kill(pid, SIGKILL);

    CHECK(run_until(root.loop, [&] { return runner == nullptr; }));
    CHECK(is_lost == !when_up);
  }
}

TEST_CASE("a child brought up through a shell is the same as a local one") {
  Root root;
  Recipe recipe = through_shell();
  recipe.argv = {"sh", "-c", stage0_command(recipe.nonce, "")};

  root.start(recipe);

  REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));
  INFO(root.told.error.text);
  REQUIRE(root.told.child.has_value());
  CHECK(root.told.child->bytes_sent > 20'000);
}

// The transport's end and the end of its channel are two events that may come in either order; when the
// process was reaped first, nobody was told, and `banyan run` waited for ever.
TEST_CASE("a transport that ends at once is an error told once, in whatever order its ends arrive") {
  for (int i = 0; i < 100; ++i) {
    CAPTURE(i);
    Root root;
    root.start(shell(i % 2 ? "echo nothing here >&2; exit 3" : "exit 0"));

    REQUIRE(root.settle());
    REQUIRE(run_until(
        root.loop, [&] { return root.told.up > 0; }, kSecond));
    CHECK(root.told.up == 1);
    CHECK_FALSE(root.told.child.has_value());
    CHECK(root.told.error.error_class == ErrorClass::kBootstrap);
    if (i % 2) CHECK(root.told.error.text.find("nothing here") != std::string::npos);
  }
}

TEST_CASE("a transport that cannot be started is an error that names it") {
  Root root;
  Recipe recipe = shell("");
  recipe.argv = {"/nonexistent/transport"};

  root.start(recipe);

  REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));
  CHECK(root.told.error.text.find("/nonexistent/transport") != std::string::npos);
}

TEST_CASE("a transport that says nothing is given up at the deadline and killed") {
  Root root;
  Recipe recipe = shell("trap '' TERM; while :; do sleep 1000; done");
  recipe.deadlines.until_ready = 200 * kMillisecond;

  root.start(recipe);

  REQUIRE(root.settle());
  CHECK(root.told.up == 1);
  CHECK(root.told.error.error_class == ErrorClass::kTimeout);
}

TEST_CASE("a start that is cancelled before it ever said hello is killed, reaped and told once") {
  Root root;
  const Runner::StartId start = root.start(shell("sleep 1000"));
  root.loop.run_once(0);

  root.runner.cancel(start);

  REQUIRE(root.settle());
  CHECK(root.told.up == 1);
  CHECK(root.told.error.error_class == ErrorClass::kCancelled);
}

TEST_CASE("a process of another nonce is not taken for the one that was started") {
  Root root;
  Recipe recipe = through_shell();
  // Stage 0 as it should be, and then somebody else's hello.
  const std::string command = stage0_command(recipe.nonce, "");
  const std::size_t last = command.rfind("000000000000feed");
  REQUIRE(last != std::string::npos);
  recipe.argv = {"sh", "-c", std::string(command).replace(last, 16, "000000000000beef")};

  root.start(recipe);

  REQUIRE(root.settle());
  CHECK(root.told.error.text == "it is not the process that was started");
}

TEST_CASE("a child that is killed is dead, said once, and its process reaped") {
  Root root;
  root.start(Root::local());
  REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));

  ::kill(pid_t(root.told.child->hello.pid), SIGKILL);

  REQUIRE(root.settle());
  CHECK(root.told.lost == 1);
  CHECK(root.told.error.error_class == ErrorClass::kDead);
}

TEST_CASE("a hundred local children come up and go, each with an id of its own") {
  Root root;
  std::vector<ContextId> ids;
  for (int i = 0; i < 100; ++i)
    root.runner.start(
        Root::local(), [&](Result<Child> child) { ids.push_back(child ? child->id : 0); },
        [](ContextId, const Error&) {});

  REQUIRE(run_until(
      root.loop, [&] { return ids.size() == 100; }, 60 * kSecond));

  std::sort(ids.begin(), ids.end());
  CHECK(ids.front() > 0);
  CHECK(std::adjacent_find(ids.begin(), ids.end()) == ids.end());
}

TEST_CASE("a symptom counts wherever the transport shows it, and its line is what is told") {
  for (const char* script : {"echo hello; echo it is currently not available. >&2; exit 1",
                             "echo hello; echo it is currently not available.; exit 1"}) {
    CAPTURE(script);
    Root root;
    Recipe recipe = shell(script);
    recipe.symptoms = {{"not available", Phase::kShell, ErrorClass::kRefused, "ask"}};
    root.start(recipe);

    REQUIRE(root.settle());
    REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));
    CHECK(root.told.error.error_class == ErrorClass::kRefused);
    CHECK(root.told.error.phase == Phase::kShell);
    CHECK(root.told.error.text == "it is currently not available.");
    CHECK(root.told.error.remedy == "ask");
  }
}

TEST_CASE(
    "an agent that gave us up while we were stopped is lost, and nobody is sent looking for the memory "
    "killer") {
  Root root;
  LinkLimits limits;
  limits.heartbeat_every = 50 * kMillisecond;
  limits.parent_lost_after = 200 * kMillisecond;
  root.runner.set_limits(limits);
  root.start(Root::local());
  REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));
  REQUIRE(root.told.child.has_value());

  // We do not answer until it has ended.
  siginfo_t info{};
  REQUIRE(::waitid(P_PID, id_t(root.told.child->hello.pid), &info, WEXITED | WNOWAIT) == 0);

  REQUIRE(root.settle());
  CHECK(root.told.lost == 1);
  CHECK(root.told.error.error_class == ErrorClass::kLost);
  CHECK(root.told.error.text.find("heard nothing of us") != std::string::npos);
  CHECK(root.told.error.remedy.find("memory") == std::string::npos);
}

// The deadline that the end of the process had set survived the one of the farewell, and fired into a child
// that was gone: AddressSanitizer sees it.
TEST_CASE("a farewell to a child whose transport's process has ended before leaves no deadline behind") {
  Root root;
  Recipe recipe = through_shell();
  recipe.argv = {"sh", "-c", "exec 3<&0; setsid sh -c \"$0\" <&3 & wait", stage0_command(recipe.nonce, "")};
  root.start(recipe);
  REQUIRE(run_until(root.loop, [&] { return root.told.up > 0; }));
  INFO(root.told.error.text);
  REQUIRE(root.told.child.has_value());
  const pid_t transport = parent_of(pid_t(root.told.child->hello.pid));
  ::kill(transport, SIGKILL);
  REQUIRE(run_until(root.loop, [&] { return stat_field(transport, 0).empty(); }));

  bool done = false;
  root.runner.shut_down(root.told.child->id, 2 * kSecond, [&] { done = true; });
  REQUIRE(run_until(root.loop, [&] { return done; }));
  CHECK(root.told.lost == 0);
  run_until(
      root.loop, [] { return false; }, 1'200 * kMillisecond);  // when it would have fired
}
