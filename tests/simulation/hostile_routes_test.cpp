// Goal: what one child announces, and what it says has ended, costs itself and a bounded amount of work:
// neither its neighbours, nor the link of its parent to those above, nor their time. Method: a router with
// its ids and its route monitor between a parent and two children written by hand; steps and frames are
// counted, never time.

#include <catch2/catch.hpp>
#include <memory>

#include "parent/route_monitor.h"
#include "tests/simulation/raw_peer.h"

namespace banyan {
namespace {

using namespace simulation;

constexpr ContextId kRoot = 0, kUs = 1, kChild = 2, kSibling = 3, kFirstId = 10;
constexpr std::uint8_t kWhole = kFirst | kLast;

struct Nobody final : Link::Owner {
  void on_frame(Link&, const Header&, Bytes) override {}
  void on_sent(Link&, std::uint32_t, const Header&) override {}
  void on_down(Link&, const Error&, FrameQueue) override {}
};

struct Hop {
  SimWorld world;
  SimLoop& loop;
  SimLoop& others;
  Nobody nobody;
  Router router;
  IdSource ids;
  RouteMonitor routes;
  std::unique_ptr<RawPeer> parent, child, sibling;
  ErrorClass child_ended = ErrorClass::kIo, sibling_ended = ErrorClass::kIo, parent_ended = ErrorClass::kIo;

  explicit Hop(std::uint32_t granted)
      : world(1),
        loop(world.add_loop()),
        others(world.add_loop()),
        router(loop,
               RouterConfig{.id = kUs, .sideways = Sideways::kVertical, .ancestors = {kRoot}, .inbox = {}}),
        ids(router, {kChild, 1'000'000}),
        routes(router, ids) {
    const auto up = world.make_pair(loop, others);
    router.set_parent(link(up.first, true), [this](const Error& error) { parent_ended = error.error_class; });
    parent = std::make_unique<RawPeer>(others, up.second);
    child = grow(kChild, child_ended);
    sibling = grow(kSibling, sibling_ended);
    router.grant(kChild, {kFirstId, granted});
    router.grant(kSibling, {kFirstId + granted, 1'000});
    settle();
  }

  std::unique_ptr<Link> link(int fd, bool to_parent) {
    return std::make_unique<Link>(loop, LinkFds{fd, fd}, nobody, LinkLimits{}, router.window_budget(),
                                  to_parent);
  }
  std::unique_ptr<RawPeer> grow(ContextId id, ErrorClass& ended) {
    const auto down = world.make_pair(loop, others);
    router.add_child(link(down.first, false), id, [&ended](const Error& error) { ended = error.error_class; });
    routes.announce(id, "child");
    return std::make_unique<RawPeer>(others, down.second);
  }
  void settle() { CHECK(world.run_until_idle()); }
};

Buffer add_route(ContextId from, ContextId id, ContextId parent, std::string_view name = "x") {
  Header header;
  header.flags = kControl | kWhole;
  header.source = header.authority = from;
  header.destination = kUs;
  header.handle = kAddRoute;
  return encode(header, Packer().array(3).number(id).number(parent).text(name).take());
}

TEST_CASE("a chain of contexts that is longer than a tree may be deep costs who announces it its link") {
  for (const std::size_t levels : {kAncestorsMax - 1, kAncestorsMax}) {  // the child is the first of them
    CAPTURE(levels);
    Hop hop(1'000);

    for (ContextId i = 0; i + 1 < levels; ++i)
      hop.child->send(add_route(kChild, kFirstId + i, i == 0 ? kChild : kFirstId + i - 1));
    hop.settle();

    const bool is_too_deep = levels == kAncestorsMax;
    CHECK(hop.child_ended == (is_too_deep ? ErrorClass::kProtocol : ErrorClass::kIo));
    CHECK(hop.router.height() == (is_too_deep ? 1 : levels));
    CHECK(hop.parent->count(kAddRoute) == 2 + kAncestorsMax - 2);
    CHECK(hop.parent_ended == ErrorClass::kIo);
  }
}

TEST_CASE("levels that are announced stretch the end by a bounded time") {
  Hop hop(1'000);
  CHECK(hop.router.end_deadline() == 2'100 * kMillisecond);
  for (ContextId i = 0; i < 100; ++i) {
    hop.child->send(add_route(kChild, kFirstId + i, i == 0 ? kChild : kFirstId + i - 1));
    hop.settle();
    CHECK(hop.router.end_deadline() <= 5'200 * kMillisecond);
  }
  CHECK(hop.router.height() == 101);
  CHECK(hop.router.end_deadline() == 5'200 * kMillisecond);
}

TEST_CASE(
    "announcements without end for a parent that does not read cost the announcer its link, and no other") {
  Hop hop(30'000);
  hop.parent->set_reading(false);
  const std::string name(60, 'x');  // 120 bytes each

  for (ContextId i = 0; i < 20'000; ++i) hop.child->send(add_route(kChild, kFirstId + i, kChild, name));
  hop.settle();

  CHECK(hop.child_ended == ErrorClass::kProtocol);
  CHECK(hop.parent_ended == ErrorClass::kIo);
  CHECK(hop.router.way_to(kFirstId) == std::nullopt);
  // What the sibling announces has room, and arrives.
  for (ContextId i = 0; i < 100; ++i)
    hop.sibling->send(add_route(kSibling, kFirstId + 30'000 + i, kSibling, name));
  hop.settle();
  hop.parent->set_reading(true);
  hop.settle();
  CHECK(hop.parent_ended == ErrorClass::kIo);
  CHECK(hop.sibling_ended == ErrorClass::kIo);
  CHECK(hop.router.routes() == 101);
  CHECK(hop.parent->count(kAddRoute) > 100);
  CHECK(hop.parent->count(kAddRoute) < 20'000);
}

}  // namespace
}  // namespace banyan
