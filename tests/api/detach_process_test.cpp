// Goal: a detached context survives whoever started it, with all it has, and leaves nothing behind when it
// ends; its old parent neither waits for it nor ends it. Method: real processes: this program is the root,
// another (tests/api/context) is hop, child and grandchild, and a socket of the child's is the way back to
// it.

#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <cstdlib>
#include <memory>
#include <optional>

#include "core/info.h"
#include "core/text.h"
#include "parent/command.h"
#include "parent/remote_runner.h"
#include "parent/unix_client.h"
#include "tests/support/processes.h"
#include "tests/support/tree.h"

using namespace banyan;
using namespace banyan::test;

namespace {

enum Ask : Handle { kListen = 600, kDetach, kOutcome, kChild, kRun, kComplain, kEnd, kDefy, kStay };

class ProgramImage final : public ImageStore {
 public:
  const Image* find(std::string_view, ImageKind) const override { return nullptr; }
  std::vector<std::string_view> architectures() const override { return {}; }
  void obtain(std::string_view, ImageKind, Function<void()> done) override { done(); }
  Result<int> local_image(ImageKind) override {
    if (!file_) file_ = Fd(::open(BANYAN_CONTEXT_PROGRAM, O_RDONLY | O_CLOEXEC));
    return file_.get();
  }

 private:
  Fd file_;
};

// Asks with a text, is answered with a text; "dead: ..." is none.
std::string ask(EpollLoop& loop, Router& from, ContextId whom, Handle what, std::string_view text = {}) {
  std::optional<std::string> answer;
  from.call(whom, what, Buffer(text.begin(), text.end()), [&](const Reply& reply) {
    answer = reply.dead != nullptr ? cat("dead: ", reply.dead->text) : std::string(as_text(reply.payload));
  });
  REQUIRE(run_until(
      loop, [&] { return answer.has_value(); }, 20 * kSecond));
  return *answer;
}

pid_t process_of(EpollLoop& loop, Router& from, ContextId whom) {
  std::optional<pid_t> pid;
  bool answered = false;
  from.call(whom, kInfo, {}, [&](const Reply& reply) {
    answered = true;
    if (const Result<ContextInfo> info = ContextInfo::decode(reply.payload)) pid = pid_t(info->pid);
  });
  REQUIRE(run_until(loop, [&] { return answered; }));
  REQUIRE(pid);
  return *pid;
}

struct Root {
  EpollLoop loop;
  ProgramImage images;
  Router router{loop, config_of(0)};
  IdSource ids{router, kAllIds};
  RouteMonitor routes{router, ids};
  Runner runner{loop, router, images, ids, routes};
  RemoteRunner remote{router};
  int lost = 0;
  Error why;

  ContextId start() {
    std::optional<ContextId> id;
    std::string failed;
    runner.start(recipe("one"), note(id, failed), on_lost());
    REQUIRE(run_until(
        loop, [&] { return id || !failed.empty(); }, 20 * kSecond));
    INFO(failed);
    REQUIRE(id);
    return *id;
  }
  ContextId start_beneath(ContextId hop) {
    std::optional<ContextId> id;
    std::string failed;
    remote.start(hop, recipe("two"), note(id, failed), on_lost());
    REQUIRE(run_until(loop, [&] { return id || !failed.empty(); }));
    INFO(failed);
    REQUIRE(id);
    return *id;
  }
  static Recipe recipe(std::string name) {
    Recipe recipe;
    recipe.name = std::move(name);
    recipe.method = "local";
    return recipe;
  }
  static Runner::OnUp note(std::optional<ContextId>& id, std::string& failed) {
    return [&](const Result<Child>& child) {
      if (child)
        id = child->id;
      else
        failed = child.error().text;
    };
  }
  Runner::OnLost on_lost() {
    return [this](ContextId, const Error& error) {
      ++lost;
      why = error;
    };
  }
  std::string ask(ContextId whom, Handle what, std::string_view text = {}) {
    return ::ask(loop, router, whom, what, text);
  }
  ContextId child_of(ContextId parent) { return ContextId(std::atoi(ask(parent, kChild).c_str())); }
  pid_t process(ContextId id) { return process_of(loop, router, id); }
  bool is_there(ContextId id) const { return routes.find(id) != nullptr; }
  // How long it took.
  Nanos end_all() {
    const Nanos began = loop.now();
    bool done = false;
    runner.shut_down_all(5 * kSecond, [&] { done = true; });
    CHECK(run_until(loop, [&] { return done; }));
    return loop.now() - began;
  }
  ~Root() { end_all(); }
};

// Somebody who comes through a context's own door.
struct Visitor final : ChildContext::Owner {
  EpollLoop loop;
  ProgramImage images;
  ChildContext context{loop, images, *this, nullptr};
  bool is_up = false;
  std::optional<Error> lost;

  // `above`: of the root, where the host may still have to ask for ids.
  explicit Visitor(const std::string& path, EpollLoop* above = nullptr) {
    const Result<Done> knocked = join(context, path);
    INFO((knocked ? std::string() : knocked.error().text));
    REQUIRE(bool(knocked));
    REQUIRE(run_until(loop, [&] {
      if (above != nullptr) above->run_once(0);
      return is_up;
    }));
  }
  void on_context_up() override { is_up = true; }
  void on_parent_lost(const Error& error) override { lost = error; }
  void on_context_end(const Error*) override {}
  ContextId host() { return context.router().config().ancestors.front(); }
  std::string ask(Handle what, std::string_view text = {}) {
    return ::ask(loop, context.router(), host(), what, text);
  }
  pid_t process(ContextId id) { return process_of(loop, context.router(), id); }
  // It ends, and the folder of its socket with it.
  void end_it(const std::string& path) {
    const pid_t pid = process(host());
    CHECK(ask(kEnd) == "ends");
    CHECK(run_until(loop, [&] { return lost && !is_running(pid); }));
    ::rmdir(path.substr(0, path.find_last_of('/')).c_str());
  }
};

std::string door() {
  return cat(std::string_view(std::getenv("TMPDIR")), "/door/socket");
}

pid_t number(const std::string& text) {
  return pid_t(std::atoi(text.c_str()));
}

constexpr std::string_view kEndless = "while :; do sleep 1; done";

}  // namespace

TEST_CASE("a detached child survives its parent's exit, with its own child, its commands and its ids") {
  std::optional<Root> root(std::in_place);
  const ContextId hop = root->start(), child = root->child_of(hop), leaf = root->child_of(child);
  const pid_t hop_process = root->process(hop), child_process = root->process(child),
              leaf_process = root->process(leaf);
  REQUIRE(root->ask(child, kListen, door()).empty());
  const pid_t own_command = number(root->ask(child, kRun, kEndless)),
              command_of_leaf = number(root->ask(leaf, kRun, kEndless));
  // And one that was ordered from above, and writes nothing.
  ExecRequest request;
  request.argv = {std::string(kEndless)};
  request.shell = true;
  pid_t ordered = 0;
  bool is_told = false;
  Command::Callbacks callbacks;
  callbacks.on_started = [&](const ExecStarted& started) { ordered = pid_t(started.pid); };
  callbacks.on_done = [&](const Result<ExecOutcome>&) { is_told = true; };
  std::optional<Command> command(std::in_place, root->router, child, std::move(request),
                                 std::move(callbacks));
  REQUIRE(run_until(root->loop, [&] { return ordered != 0; }));

  REQUIRE(root->ask(child, kDetach, "1") == "asked");
  REQUIRE(run_until(root->loop, [&] { return !root->is_there(child) && !root->is_there(leaf) && is_told; }));
  CHECK(root->is_there(hop));
  CHECK(root->end_all() < kSecond);  // nobody waits for it
  CHECK_FALSE(is_running(hop_process));
  command.reset();
  root.reset();

  Visitor visitor(door());
  CHECK(visitor.host() == child);
  CHECK(visitor.ask(kOutcome) == "detached");
  CHECK(visitor.process(child) == child_process);
  CHECK(visitor.process(leaf) == leaf_process);
  CHECK(parent_of(child_process) == ::getpid());  // who adopts orphans here
  for (const pid_t pid : {own_command, command_of_leaf, ordered}) {
    CAPTURE(pid);
    CHECK(is_running(pid));
  }
  const pid_t another = number(visitor.ask(kRun, kEndless));
  CHECK(is_running(another));
  const std::string another_child = visitor.ask(kChild);
  CHECK(visitor.process(ContextId(number(another_child))) > 0);
  CHECK(visitor.ask(kComplain).empty());
  visitor.end_it(door());
  for (const pid_t pid : {leaf_process, own_command, command_of_leaf, ordered, another}) {
    CAPTURE(pid);
    CHECK_FALSE(is_running(pid));
  }
}

TEST_CASE("whoever asked for a child hears that it has detached, and that nothing has failed") {
  Root root;
  const ContextId child = root.start();
  REQUIRE(root.ask(child, kListen, door()).empty());
  REQUIRE(root.ask(child, kDetach, "1") == "asked");

  REQUIRE(run_until(root.loop, [&] { return root.lost > 0; }));

  CHECK(root.lost == 1);
  CHECK(root.why.detached);
  CHECK(root.why.error_class == ErrorClass::kLost);
  bool done = false;
  root.runner.shut_down(child, kSecond, [&] { done = true; });
  CHECK(run_until(root.loop, [&] { return done; }));  // it is gone, as far as we are asked
  CHECK(root.runner.count() == 1);                    // there is its process, and it is still our child
  CHECK(root.end_all() < kSecond);
  Visitor visitor(door());
  const pid_t pid = visitor.process(child);
  CHECK(is_running(pid));

  visitor.end_it(door());

  // It ended before us: no zombie is left.
  CHECK(run_until(root.loop, [&] { return root.runner.count() == 0; }));
  CHECK(stat_field(pid, 0).empty());
}

TEST_CASE("who waits for the end of a child that detaches instead is told that it is gone") {
  Root root;
  const ContextId hop = root.start();
  const ContextId child = root.start_beneath(hop);
  REQUIRE(root.ask(child, kListen, door()).empty());
  bool done = false;
  // The order to end is behind the order to detach, on the same way, but for one hop.
  REQUIRE(root.ask(child, kDetach, "1") == "asked");
  root.remote.shut_down(child, 3 * kSecond, [&] { done = true; });

  REQUIRE(run_until(root.loop, [&] { return done; }));
  CHECK(root.remote.count() == 0);
  CHECK(root.lost == 0);
  root.end_all();
  // It may have been told to end first.
  UnixFound found = look_at_socket(door());
  if (found.kind == UnixFound::Kind::kListener) {
    found.socket = Fd();
    Visitor visitor(door());
    visitor.end_it(door());
  }
  ::rmdir(door().substr(0, door().find_last_of('/')).c_str());
}

TEST_CASE("whoever had another context start a child hears from there that it has detached") {
  Root root;
  const ContextId hop = root.start();
  const ContextId child = root.start_beneath(hop);
  REQUIRE(root.ask(child, kListen, door()).empty());
  REQUIRE(root.ask(child, kDetach, "1") == "asked");

  REQUIRE(run_until(root.loop, [&] { return root.lost > 0; }));

  CHECK(root.why.detached);
  CHECK(root.remote.count() == 0);
  root.end_all();
  Visitor visitor(door());
  visitor.end_it(door());
}

TEST_CASE("one who detaches twice is told so, and has detached once") {
  Root root;
  const ContextId child = root.start();
  REQUIRE(root.ask(child, kListen, door()).empty());
  REQUIRE(root.ask(child, kDetach, "2") == "asked");
  REQUIRE(run_until(root.loop, [&] { return root.lost > 0; }));
  Visitor visitor(door());

  CHECK(visitor.ask(kDetach, "1") == "asked");

  CHECK(visitor.ask(kOutcome) == "it detaches already, or has; detached; it detaches already, or has");
  visitor.end_it(door());
}

TEST_CASE("a parent that dies before it has answered takes its child along, and all that child has") {
  Root root;
  const ContextId hop = root.start(), child = root.child_of(hop), leaf = root.child_of(child);
  const pid_t hop_process = root.process(hop), child_process = root.process(child),
              leaf_process = root.process(leaf);
  REQUIRE(root.ask(child, kListen, door()).empty());
  const pid_t command = number(root.ask(child, kRun, kEndless));
  Visitor visitor(door(), &root.loop);
  ::kill(hop_process, SIGSTOP);
  REQUIRE(visitor.ask(kDetach, "1") == "asked");
  REQUIRE(visitor.ask(kOutcome).empty());

  ::kill(hop_process, SIGKILL);

  const auto is_all_gone = [&] {
    return !is_running(child_process) && !is_running(leaf_process) && !is_running(command);
  };
  CHECK(run_until(visitor.loop, [&] { return visitor.lost && is_all_gone(); }));
  ::rmdir(door().substr(0, door().find_last_of('/')).c_str());
}

TEST_CASE("a child that asks to detach and stays is cut off and ended, and has not detached") {
  Root root;
  const ContextId child = root.start();
  const pid_t pid = root.process(child);
  REQUIRE(root.ask(child, kStay).empty());

  CHECK(run_until(
      root.loop, [&] { return root.lost > 0; }, 10 * kSecond));

  CHECK(root.lost == 1);
  CHECK_FALSE(root.why.detached);
  CHECK_FALSE(is_running(pid));
  CHECK(root.runner.count() == 0);
  if (is_running(pid)) ::kill(pid, SIGKILL);
}

TEST_CASE("a child that was told to end is ended, though it asks to detach") {
  Root root;
  const ContextId child = root.start();
  const pid_t pid = root.process(child);
  REQUIRE(root.ask(child, kDefy).empty());
  bool done = false;

  root.runner.shut_down(child, 500 * kMillisecond, [&] { done = true; });

  CHECK(run_until(root.loop, [&] { return done; }));
  CHECK_FALSE(is_running(pid));
  CHECK(root.lost == 0);
  if (is_running(pid)) ::kill(pid, SIGKILL);
}
