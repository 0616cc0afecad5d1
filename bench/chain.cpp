#include "bench/chain.h"

#include <unistd.h>

#include "bench/measure.h"
#include "bench/system_calls.h"

namespace banyan::bench {

namespace {

// Links are made with any owner: the router takes its place.
struct Nobody final : Link::Owner {
  void on_frame(Link&, const Header&, Bytes) override {}
  void on_sent(Link&, std::uint32_t, const Header&) override {}
  void on_down(Link&, const Error&, FrameQueue) override {}
};

std::unique_ptr<Link> make_link(Loop& loop, Router& router, int fd, bool to_parent) {
  static Nobody nobody;
  return std::make_unique<Link>(loop, LinkFds{fd, fd}, nobody, LinkLimits{}, router.window_budget(),
                                to_parent);
}

RouterConfig config_of(ContextId id) {
  std::vector<ContextId> ancestors;
  for (ContextId above = id; above-- > 0;) ancestors.push_back(above);
  return RouterConfig{.id = id, .sideways = Sideways::kVertical, .ancestors = ancestors, .inbox = {}};
}

void add_child(Loop& loop, Router& router, int fd, ContextId child, ContextId last) {
  router.add_child(make_link(loop, router, fd, false), child, {});
  if (last > child) router.grant(child, {child + 1, last - child});
  for (ContextId behind = child + 1; behind <= last; ++behind) router.add_route(behind, behind - 1, child);
}

// What a context beneath us does until its parent goes.
void serve(ContextId id, ContextId last, int up, int down) {
  EpollLoop loop;
  Router router(loop, config_of(id));
  router.set_parent(make_link(loop, router, up, true), [&](const Error&) { loop.stop(); });
  if (down >= 0) add_child(loop, router, down, id + 1, last);

  router.add_handler(kEcho, Access::anyone(), [&](Incoming& message) {
    router.reply(message.header, Buffer(message.payload.begin(), message.payload.end()));
  });
  router.add_handler(kTake, Access::anyone(), [&](Incoming& message) { router.reply(message.header, {}); });

  std::uint64_t taken = 0, awaited = 0;
  Header asker;
  auto answer = [&] {
    if (awaited == 0 || taken < awaited) return;
    taken -= std::exchange(awaited, 0);
    router.reply(asker, {});
  };
  router.add_handler(kSink, Access::anyone(), [&](Incoming& message) {
    taken += message.payload.size();
    answer();
  });
  router.add_handler(kTaken, Access::anyone(), [&](Incoming& message) {
    asker = message.header;
    awaited = load_le<std::uint64_t>(message.payload.data());
    answer();
  });
  loop.run();
}

}  // namespace

Chain::Chain(ContextId length) : counters_(length + 1), router_(loop_, config_of(0)) {
  // Each link is made before the processes at its ends, and what is not a process's own is closed in it.
  Fd ours;
  Fd up;
  for (ContextId id = 1; id <= length; ++id) {
    if (id == 1) {
      Result<FdPair> link = make_socketpair();
      if (!link) die("no socketpair");
      ours = std::move(link->first);
      up = std::move(link->second);
    }
    FdPair next;
    if (id < length) {
      Result<FdPair> link = make_socketpair();
      if (!link) die("no socketpair");
      next = std::move(*link);
    }
    children_.start([&] {
      ours.reset();
      next.second.reset();
      count_system_calls_in(counters_.at(id));
      serve(id, length, up.release(), next.first.release());
    });
    up = std::move(next.second);
  }
  count_system_calls_in(counters_.at(0));
  add_child(loop_, router_, ours.release(), 1, length);
}

Chain::~Chain() {
  count_system_calls_in(nullptr);
}

void Chain::place(const std::vector<int>& processors) {
  place_all(children_, processors);
}

double Chain::processor_time_us() const {
  double sum = cpu_us(kOurselves);
  for (std::size_t i = 0; i < children_.count(); ++i) sum += cpu_us(children_.pid(i));
  return sum;
}

std::uint64_t Chain::calls_of_system() const {
  return counters_.sum();
}

}  // namespace banyan::bench
