// Goal: when contexts end, for whatever reason, the root is told of each that was beneath exactly once, and
// soon; nobody is left.
// Method: agents as real processes beneath each other, and the root in this process, which counts what each
// DEL_ROUTE says before the route monitor, who would hide a second one, hears it.

#include <grp.h>
#include <sys/resource.h>
#include <sys/wait.h>

#include <catch2/catch.hpp>
#include <csignal>
#include <filesystem>
#include <map>
#include <memory>
#include <optional>

#include "core/info.h"
#include "core/msgpack.h"
#include "core/text.h"
#include "tests/support/processes.h"
#include "tests/support/root.h"
#include "tests/support/slack.h"

using namespace banyan;
using namespace banyan::test;

namespace {

// Counts what it is told of ends.
struct Listener : Root {
  std::map<ContextId, int> news;       // in DEL_ROUTE
  std::map<ContextId, int> gone;       // as the root's own map says
  std::vector<std::uint32_t> by_whom;  // neighbours who told

  Listener() {
    auto inner = std::move(router.on_route_control);
    router.on_route_control = [this, inner = std::move(inner)](Link& link, ContextId neighbour,
                                                               const Header& header, Bytes payload) {
      if (header.handle == kDelRoute) {
        Unpacker in(payload);
        for (std::uint32_t left = in.array(); left > 0; --left) ++news[ContextId(in.number())];
        by_whom.push_back(neighbour);
      }
      inner(link, neighbour, header, payload);
    };
    routes.on_change = [this](ContextId id, bool is_there) { gone[id] += !is_there; };
  }
  ~Listener() { end_all(); }  // of whom we hear

  bool answers(ContextId context) {
    std::optional<bool> is_there;
    router.call(context, kInfo, {}, [&](const Reply& reply) { is_there = reply.dead == nullptr; });
    run_until(loop, [&] { return is_there.has_value(); });
    return is_there.value_or(false);
  }
};

pid_t pid_of(const Child& child) {
  return pid_t(child.hello.pid);
}

// So that what waits in the kernel has come.
void settle(Listener& root) {
  const Nanos end = root.loop.now() + 300 * kMillisecond;
  run_until(root.loop, [&] { return root.loop.now() > end; });
}

}  // namespace

TEST_CASE(
    "when a hop with a subtree is killed, each beneath it is said to have ended once, and has, in two "
    "seconds") {
  Listener root;
  const Child top = root.child(0), middle = root.child(top.id), hop = root.child(middle.id);
  std::vector<Child> beneath = {root.child(hop.id), root.child(hop.id), root.child(hop.id)};
  beneath.push_back(root.child(beneath[0].id));
  beneath.push_back(root.child(beneath[3].id));
  const Child sibling = root.child(middle.id);
  const Nanos killed = root.loop.now();

  ::kill(pid_of(hop), SIGKILL);

  REQUIRE(run_until(root.loop, [&] { return root.news[hop.id] > 0; }));
  const double told = double(root.loop.now() - killed) / double(kSecond);
  CHECK(told < (0.5 + 0.1 * 3) * kSmallSlack);
  CHECK(run_until(
      root.loop,
      [&] {
        for (const Child& child : beneath)
          if (is_running(pid_of(child))) return false;
        return true;
      },
      Nanos(2 * kSmallSlack * double(kSecond))));
  settle(root);
  // Through two honest levels, in one word: no hop says of one what its child has said already.
  for (const Child& child : beneath) {
    CHECK(root.news[child.id] == 1);
    CHECK(root.gone[child.id] == 1);
  }
  CHECK(root.news[hop.id] == 1);
  CHECK(root.news.size() == beneath.size() + 1);
  for (const std::uint32_t neighbour : root.by_whom) CHECK(neighbour == top.id);
  CHECK(root.routes.size() == 3);
  CHECK(root.answers(sibling.id));
  CHECK(root.answers(middle.id));
}

TEST_CASE(
    "when a child of the root is killed nobody tells the root what it sees itself, and each ends once") {
  Listener root;
  const Child top = root.child(0), hop = root.child(top.id), leaf = root.child(hop.id), other = root.child(0);

  ::kill(pid_of(top), SIGKILL);

  CHECK(run_until(root.loop, [&] { return root.gone[top.id] > 0; }));
  CHECK(run_until(root.loop, [&] { return !is_running(pid_of(hop)) && !is_running(pid_of(leaf)); }));
  settle(root);
  for (const Child& child : {top, hop, leaf}) CHECK(root.gone[child.id] == 1);
  CHECK(root.news.empty());
  CHECK(root.routes.size() == 1);
  CHECK(root.answers(other.id));
}

TEST_CASE(
    "a context without descriptors left refuses children, starts none by halves, does not spin, and "
    "recovers") {
  Listener root;
  const Child hop = root.child(0), first = root.child(hop.id);
  rlimit before{};
  const pid_t pid = pid_of(hop);
  // As many as are open, and then one more each time: wherever it runs out, it is said.
  int open = 0;
  for (const auto& entry : std::filesystem::directory_iterator(cat("/proc/", pid, "/fd"))) {
    open = std::max(open, std::stoi(entry.path().filename().string()) + 1);
  }
  REQUIRE(::prlimit(pid, RLIMIT_NOFILE, nullptr, &before) == 0);
  int refused = 0;
  for (int more = 0; more < 6; ++more) {
    CAPTURE(more);
    const rlimit limit{rlim_t(open + more), before.rlim_max};
    REQUIRE(::prlimit(pid, RLIMIT_NOFILE, &limit, nullptr) == 0);
    const Result<Child> child = root.try_child(hop.id);
    if (child) break;
    ++refused;
    INFO(child.error().text);
    CHECK(child.error().error_class == ErrorClass::kResource);
    CHECK(child.error().started == Started::kNo);
    CHECK(child.error().context == hop.id);
    CHECK(root.answers(hop.id));
    CHECK(root.answers(first.id));
  }
  CHECK(refused > 1);
  // Ticks of 10 ms that it has used: nothing while nobody asks it anything.
  const auto used = [pid] {
    return std::atoi(stat_field(pid, 11).c_str()) + std::atoi(stat_field(pid, 12).c_str());
  };
  const int used_before = used();
  settle(root);
  CHECK(used() - used_before < 10);
  REQUIRE(::prlimit(pid, RLIMIT_NOFILE, &before, nullptr) == 0);
  const Child last = root.child(hop.id);
  CHECK(root.answers(last.id));
}

namespace {

// The owner of the machine may have as many processes as he likes: so this runs as somebody else.
int without_processes() {
  Listener root;
  const Child hop = root.child(0), first = root.child(hop.id);
  rlimit before{};
  if (::prlimit(pid_of(hop), RLIMIT_NPROC, nullptr, &before) != 0) return 1;
  const rlimit none{1, before.rlim_max};
  if (::prlimit(pid_of(hop), RLIMIT_NPROC, &none, nullptr) != 0) return 2;
  const Result<Child> refused = root.try_child(hop.id);
  if (refused) return 3;
  if (refused.error().error_class != ErrorClass::kResource || refused.error().started != Started::kNo)
    return 4;
  if (refused.error().context != hop.id) return 5;
  if (!root.answers(hop.id) || !root.answers(first.id)) return 6;
  if (::prlimit(pid_of(hop), RLIMIT_NPROC, &before, nullptr) != 0) return 7;
  const Result<Child> last = root.try_child(hop.id);
  return last && root.answers(last->id) ? 0 : 8;
}

}  // namespace

TEST_CASE("a context that may have no more processes refuses children at once, lives on, and recovers") {
  const pid_t pid = ::fork();
  REQUIRE(pid >= 0);
  if (pid == 0) {
    constexpr uid_t kNobody = 65'534;
    if (::getuid() == 0 && (::setgroups(0, nullptr) != 0 || ::setgid(kNobody) != 0 || ::setuid(kNobody) != 0))
      ::_exit(20);
    int code = 21;
    try {
      code = without_processes();
    } catch (...) {  // what REQUIRE throws
    }
    ::_exit(code);
  }
  int status = 0;
  REQUIRE(retry([&] { return ::waitpid(pid, &status, 0); }) == pid);
  REQUIRE(WIFEXITED(status));
  CHECK(WEXITSTATUS(status) == 0);
}
