// Goal: a context asked to start children does it as well as we would ourselves: up once, lost once with the
// reason, ended when told, nothing left.
// Method: the agent itself, and agents beneath it, as real processes on a real loop.

#include "parent/remote_runner.h"

#include <fcntl.h>
#include <sys/sendfile.h>
#include <sys/stat.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <memory>
#include <optional>
#include <vector>

#include "core/info.h"
#include "core/text.h"
#include "parent/command.h"
#include "tests/support/processes.h"
#include "tests/support/root.h"

using namespace banyan;
using namespace banyan::test;

namespace {

// The local image, but in a file that has no name any more: as where memory may not be executed.
class DeletedFile final : public ImageStore {
 public:
  DeletedFile() {
    const int image = *embedded_images().local_image(ImageKind::kAgent);
    struct stat status {};
    ::fstat(image, &status);
    std::string name = "/tmp/banyan-deleted-XXXXXX";
    {
      const Fd writer(::mkostemp(name.data(), O_CLOEXEC));
      off_t at = 0;
      while (at<status.st_size&& ::sendfile(writer.get(), image, &at, std::size_t(status.st_size))> 0) {
      }
      ::fchmod(writer.get(), 0700);
    }
    file_ = Fd(::open(name.c_str(), O_RDONLY | O_CLOEXEC));
    ::unlink(name.c_str());
  }
  const Image* find(std::string_view, ImageKind) const override { return nullptr; }
  std::vector<std::string_view> architectures() const override { return {}; }
  void obtain(std::string_view, ImageKind, Function<void()> done) override { done(); }
  Result<int> local_image(ImageKind) override { return file_.get(); }

 private:
  Fd file_;
};

// Starts children and keeps what it is told of each apart.
struct Starter : Root {
  using Root::Root;

  ContextId hop(Told& whose) { return beneath(0, whose, "hop"); }
  ContextId beneath(ContextId at, Told& whose, std::string name = "leaf") {
    start(at, local(std::move(name)), note_up(whose), note_loss(whose));
    REQUIRE(run_until(loop, [&] { return whose.up > 0; }));
    INFO(whose.error.text);
    REQUIRE(whose.child.has_value());
    return whose.child->id;
  }
};

bool is_there(const Told& told) {
  return is_running(pid_t(told.child->hello.pid));
}

}  // namespace

TEST_CASE("a context starts a child that is known at the root and usable at once") {
  Starter root;
  Told hop, leaf;
  const ContextId at = root.hop(hop);
  std::optional<ContextInfo> info;

  // Asked in the very callback that says it is up.
  root.remote.start(
      at, Root::local("leaf"),
      [&](const Result<Child>& child) {
        root.note_up(leaf)(child);
        if (!child) return;
        root.router.call(child->id, kInfo, {}, [&](const Reply& reply) {
          if (const Result<ContextInfo> got = ContextInfo::decode(reply.payload)) info = *got;
        });
      },
      root.note_loss(leaf));

  REQUIRE(run_until(root.loop, [&] { return info.has_value() || !leaf.error.text.empty(); }));
  INFO(leaf.error.text);
  REQUIRE(leaf.child.has_value());
  CHECK(info->pid == leaf.child->hello.pid);
  CHECK(leaf.child->name == "leaf");
  CHECK(leaf.child->method == "local");
  const RouteMonitor::Place* place = root.routes.find(leaf.child->id);
  REQUIRE(place != nullptr);
  CHECK(place->parent == at);
  CHECK(place->name == "leaf");
  CHECK(parent_of(pid_t(leaf.child->hello.pid)) == pid_t(hop.child->hello.pid));
}

TEST_CASE("a child of another context is reaped when whoever asked for it is told that it has ended") {
  Starter root;
  Told hop, leaf;
  const ContextId id = root.beneath(root.hop(hop), leaf);
  bool done = false;

  root.remote.shut_down(id, 2 * kSecond, [&] { done = true; });

  REQUIRE(run_until(root.loop, [&] { return done; }));
  CHECK_FALSE(is_there(leaf));
  CHECK(is_there(hop));
  CHECK(root.routes.find(id) == nullptr);
  CHECK(leaf.lost == 0);
  CHECK(root.remote.count() == 0);
}

TEST_CASE("who asked for a child is told once why it was lost") {
  Starter root;
  Told hop, leaf;
  root.beneath(root.hop(hop), leaf);
  const Nanos killed = root.loop.now();

  ::kill(pid_t(leaf.child->hello.pid), SIGKILL);

  REQUIRE(run_until(root.loop, [&] { return leaf.lost > 0; }));
  CHECK(leaf.lost_at - killed < 700 * kMillisecond);
  CHECK(leaf.error.error_class == ErrorClass::kDead);
  CHECK(leaf.error.text == "the agent was killed by signal 9");
  CHECK(leaf.error.context == hop.child->id);
  CHECK(leaf.up == 1);
  CHECK(root.remote.count() == 0);
}

TEST_CASE("a start in another context that is cancelled ends in one word, and leaves no process") {
  Starter root;
  Told hop, leaf;
  const ContextId at = root.hop(hop);
  const auto start = root.remote.start(at, Root::local("leaf"), root.note_up(leaf), root.note_loss(leaf));

  root.remote.cancel(start);

  REQUIRE(run_until(root.loop, [&] { return leaf.up > 0; }));
  CHECK_FALSE(leaf.child.has_value());
  CHECK(leaf.error.error_class == ErrorClass::kCancelled);
  CHECK(root.remote.count() == 0);
}

TEST_CASE("a context that ends takes what is beneath it along, and starts under way there are told") {
  Starter root;
  Told hop, leaf, late;
  const ContextId at = root.hop(hop);
  root.beneath(at, leaf);
  root.remote.start(at, Root::local("late"), root.note_up(late), root.note_loss(late));

  ::kill(pid_t(hop.child->hello.pid), SIGKILL);

  REQUIRE(run_until(root.loop, [&] { return hop.lost > 0 && late.up > 0; }));
  CHECK_FALSE(late.child.has_value());
  CHECK(root.routes.size() == 0);
  CHECK(run_until(
      root.loop, [&] { return !is_there(leaf); }, 2 * kSecond));
  root.remote.lost(at, hop.error);
  CHECK(leaf.lost == 1);
  CHECK(root.remote.count() == 0);
}

TEST_CASE("a context whose own image has no name any more has children all the same") {
  DeletedFile images;
  Starter root(images);
  Told hop, leaf, under;

  const ContextId id = root.beneath(root.hop(hop), leaf);
  root.beneath(id, under);

  CHECK(read_file(cat("/proc/", hop.child->hello.pid, "/maps")).find("(deleted)") != std::string::npos);
  CHECK(root.routes.find(under.child->id)->parent == id);
}

// One is stopped, and the command at the end of the path ignores SIGTERM.
TEST_CASE("a path of five that is told to end is gone in two seconds and a tenth a level, whatever it runs") {
  constexpr int kDepth = 5;
  constexpr Nanos kBound = 2 * kSecond + kDepth * 100 * kMillisecond;
  for (int stopped = -1; stopped < kDepth; ++stopped) {
    CAPTURE(stopped);
    Starter root;
    std::vector<std::unique_ptr<Told>> path;
    path.push_back(std::make_unique<Told>());
    ContextId at = root.hop(*path[0]);
    while (path.size() < kDepth) {
      path.push_back(std::make_unique<Told>());
      at = root.beneath(at, *path.back());
    }
    ExecRequest request;
    request.argv = {"trap '' TERM; echo up; while :; do sleep 1; done"};
    request.shell = true;
    bool runs = false;
    pid_t command = 0;
    Command::Callbacks callbacks;
    callbacks.on_started = [&](const ExecStarted& started) { command = pid_t(started.pid); };
    callbacks.on_output = [&](bool, Bytes, const Charge&) { runs = true; };
    const Command running(root.router, at, std::move(request), std::move(callbacks));
    REQUIRE(run_until(root.loop, [&] { return runs && command != 0; }));
    if (stopped >= 0) ::kill(pid_t(path[std::size_t(stopped)]->child->hello.pid), SIGSTOP);
    bool done = false;
    const Nanos told = root.loop.now();

    root.runner.shut_down(path[0]->child->id, kBound, [&] { done = true; });

    REQUIRE(run_until(root.loop, [&] { return done; }));
    CHECK(root.loop.now() - told < kBound + kSecond / 2);
    CHECK_FALSE(is_running(command));
    for (const auto& context : path) CHECK_FALSE(is_there(*context));
  }
}

TEST_CASE("a context that is told to end answers for no further child") {
  Starter root;
  Told hop, leaf;
  const ContextId at = root.hop(hop);
  bool done = false;
  root.runner.shut_down(at, 2 * kSecond, [&] { done = true; });

  root.remote.start(at, Root::local("leaf"), root.note_up(leaf), root.note_loss(leaf));

  REQUIRE(run_until(root.loop, [&] { return done && leaf.up > 0; }));
  CHECK_FALSE(leaf.child.has_value());
  CHECK(root.routes.size() == 0);
}
