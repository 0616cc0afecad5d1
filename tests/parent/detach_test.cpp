// Goal: a context that detaches is gone for its tree and lives on with its own, and whoever waited for
// somebody across that cut is answered once. Method: routers, ids and route monitors of one process, joined
// by real sockets as production joins them: root, hop, the one that leaves, its child, and a neighbour.

#include "parent/detach.h"

#include <catch2/catch.hpp>
#include <memory>
#include <optional>
#include <utility>

#include "core/msgpack.h"
#include "core/stream.h"
#include "core/text.h"
#include "tests/support/tree.h"

using namespace banyan;
using namespace banyan::test;

namespace {

constexpr Handle kEcho = 500, kNever = 501, kSink = 502;
constexpr ContextId kRoot = 0, kHop = 1, kLeaver = 20, kLeaf = 40, kNeighbour = 60;

// A context: what a process has of one.
struct Context {
  EpollLoop& loop;
  Router router;
  std::optional<IdSource> ids;
  std::optional<RouteMonitor> routes;
  int ended_by_parent = 0, told_to_end = 0, cancelled = 0, served = 0;
  std::size_t sunk = 0;

  Context(EpollLoop& its_loop, RouterConfig config, IdRange range)
      : loop(its_loop), router(loop, std::move(config)) {
    ids.emplace(router, range);
    routes.emplace(router, *ids);
    router.on_shutdown = [this](Nanos) { ++told_to_end; };
    router.add_handler(kEcho, Access::anyone(), [this](Incoming& message) {
      router.reply(message.header, Buffer(message.payload.begin(), message.payload.end()));
    });
    router.add_handler(kNever, Access::anyone(), [this](Incoming& message) {
      ++served;
      router.on_cancel(message.header, [this] { ++cancelled; });
    });
    router.add_handler(kSink, Access::anyone(),
                       [this](Incoming& message) { sunk += message.payload.size(); });
  }
  void have(Context& child, IdRange granted) {
    join(
        loop, router, child.router, [](const Error&) {}, [&child](const Error&) { ++child.ended_by_parent; });
    router.grant(child.router.id(), granted);
    routes->announce(child.router.id(), cat("context ", child.router.id()));
  }
};

// What became of one call.
struct Outcome {
  int answers = 0;
  std::optional<DeadReason> dead;
  std::string text;
  OnReply listener() {
    return [this](const Reply& reply) {
      ++answers;
      if (reply.dead != nullptr) dead = reply.dead->reason;
      text = reply.dead != nullptr ? reply.dead->text : std::string(as_text(reply.payload));
    };
  }
};

struct Family {
  static constexpr std::size_t kMoreThanHalfALinksShare =
      12'000'000;  // of a receiver's memory for long messages
  EpollLoop loop;
  Context root, hop, leaver, leaf, neighbour;
  std::vector<Charge> held;
  std::optional<Detach> detach;
  int done = 0;
  std::optional<Error> failed;

  static RouterConfig config(ContextId id, std::vector<ContextId> ancestors, Sideways sideways) {
    RouterConfig made = config_of(id, std::move(ancestors));
    made.sideways = sideways;
    return made;
  }
  explicit Family(Sideways sideways = Sideways::kVertical, std::uint32_t contacts_max = 65'536)
      : root(loop, config(kRoot, {}, sideways), {1'000, 100'000}),
        hop(loop, config(kHop, {kRoot}, sideways), {2, 100}),
        leaver(loop, with(config(kLeaver, {kHop, kRoot}, sideways), contacts_max), {21, 30}),
        leaf(loop, config(kLeaf, {kLeaver, kHop, kRoot}, sideways), {41, 5}),
        neighbour(loop, config(kNeighbour, {kHop, kRoot}, sideways), {61, 5}) {
    // What its children have been given a context has not to give any more.
    hop.ids->take(64, [](const IdRange*, const Dead&) {});
    leaver.ids->take(25, [](const IdRange*, const Dead&) {});
    root.have(hop, {2, 100});
    hop.have(leaver, {21, 30});
    leaver.have(leaf, {41, 5});
    hop.have(neighbour, {61, 5});
    REQUIRE(run_until(loop, [this] { return root.router.routes() == 4; }));
  }
  static RouterConfig with(RouterConfig config, std::uint32_t contacts_max) {
    config.contacts_max = contacts_max;
    return config;
  }
  void begin() {
    detach.emplace(leaver.router, *leaver.ids, *leaver.routes);
    detach->begin([this](const Result<Done>& result) {
      ++done;
      if (!result) failed = result.error();
    });
  }
  // The leaver has something to say to the hop that cannot leave: the hop never lets go of what came before.
  void keep_busy() {
    hop.router.remove_handler(kSink);
    hop.router.add_handler(kSink, Access::anyone(),
                           [this](Incoming& message) { held.push_back(std::move(message.charge)); });
    for (int i = 0; i < 2; ++i) leaver.router.send(kHop, kSink, Buffer(kMoreThanHalfALinksShare));
    REQUIRE(run_until(loop, [this] { return held.size() == 1; }));
  }
  bool leave() {
    begin();
    return run_until(loop, [this] { return done > 0; }) && !failed;
  }
  // Nothing is on its way any more: an echo has gone around after it.
  bool settle() {
    for (Context* from : {&root, &leaver}) {
      Outcome outcome;
      from->router.call(from == &root ? kHop : kLeaf, kEcho, {}, outcome.listener());
      if (!run_until(loop, [&] { return outcome.answers > 0; })) return false;
    }
    for (int i = 0; i < 20; ++i) loop.run_once(0);
    return true;
  }
};

}  // namespace

TEST_CASE("a context that has detached is gone for its tree, and its own is still its own") {
  Family family;
  REQUIRE(family.leave());
  REQUIRE(family.settle());

  CHECK(family.done == 1);
  CHECK(family.leaver.router.parent_link() == nullptr);
  CHECK(family.leaver.router.config().ancestors.empty());
  CHECK(family.leaver.ended_by_parent == 0);
  for (Context* above : {&family.root, &family.hop}) {
    CHECK_FALSE(above->router.way_to(kLeaver));
    CHECK_FALSE(above->router.way_to(kLeaf));
    CHECK(above->router.way_to(kNeighbour));
  }
  CHECK(family.root.routes->find(kLeaf) == nullptr);
  Outcome down, up, across;
  family.leaver.router.call(kLeaf, kEcho, {}, down.listener());
  family.leaf.router.call(kLeaver, kEcho, {}, up.listener());
  family.leaf.router.call(kRoot, kEcho, {}, across.listener());
  REQUIRE(run_until(family.loop, [&] { return down.answers + up.answers + across.answers == 3; }));
  CHECK_FALSE(down.dead);
  CHECK_FALSE(up.dead);
  CHECK(across.dead == DeadReason::kNoRoute);
  REQUIRE(family.leaver.routes->find(kLeaf) != nullptr);
  CHECK(family.leaver.routes->find(kLeaf)->parent == kLeaver);
}

TEST_CASE("whoever waits for somebody across a parting is answered dead, once, whichever side he is on") {
  Family family;
  Context* const contexts[] = {&family.root, &family.hop, &family.leaver, &family.leaf};
  Outcome outcomes[4][4];
  int calls = 0;
  for (int from = 0; from < 4; ++from)
    for (int to = 0; to < 4; ++to) {
      if ((from < 2) == (to < 2)) continue;
      contexts[from]->router.call(contexts[to]->router.id(), kNever, {}, outcomes[from][to].listener());
      ++calls;
    }
  const auto served = [&] {
    int all = 0;
    for (const Context* context : contexts) all += context->served;
    return all;
  };
  REQUIRE(run_until(family.loop, [&] { return served() == calls; }));

  REQUIRE(family.leave());
  REQUIRE(family.settle());

  for (int from = 0; from < 4; ++from)
    for (int to = 0; to < 4; ++to) {
      CAPTURE(from, to);
      const Outcome& outcome = outcomes[from][to];
      CHECK(outcome.answers == ((from < 2) == (to < 2) ? 0 : 1));
      if (outcome.answers > 0) CHECK(outcome.dead == DeadReason::kGone);
    }
  // The parent knows why.
  CHECK(outcomes[1][2].text.find("it has detached") != std::string::npos);
  CHECK(outcomes[1][3].text.find("it has detached") != std::string::npos);
}

TEST_CASE("what one that leaves does for those above goes on; beneath it, it is cancelled as at any end") {
  Family family;
  Outcome of_leaver, of_leaf, of_own;
  family.root.router.call(kLeaver, kNever, {}, of_leaver.listener());
  family.root.router.call(kLeaf, kNever, {}, of_leaf.listener());
  family.leaver.router.call(kLeaf, kNever, {}, of_own.listener());
  REQUIRE(run_until(family.loop, [&] { return family.leaver.served == 1 && family.leaf.served == 2; }));

  REQUIRE(family.leave());
  REQUIRE(family.settle());

  CHECK(family.leaver.cancelled == 0);
  CHECK(family.leaf.cancelled == 1);  // the root's, and not its parent's
  CHECK(of_own.answers == 0);
}

// A command's output, for one: closed, and not taken for a caller who is gone.
TEST_CASE("a stream to somebody above ends as if he had stopped listening, and one to a child goes on") {
  Family family;
  std::optional<DeadReason> up, down;
  StreamSender to_root(family.leaver.router, kRoot, kSink), to_leaf(family.leaver.router, kLeaf, kSink);
  to_root.on_dead = [&](const Dead& dead) { up = dead.reason; };
  to_leaf.on_dead = [&](const Dead& dead) { down = dead.reason; };

  REQUIRE(family.leave());
  REQUIRE(family.settle());

  CHECK(up == DeadReason::kNoHandle);
  CHECK_FALSE(down);
  const Buffer bytes(100);
  to_leaf.send(bytes);
  CHECK(run_until(family.loop, [&] { return family.leaf.sunk == 100; }));
}

TEST_CASE("what a context had to say before it detached arrives, however long it is") {
  Family family;
  constexpr std::size_t kBytes = 5'000'000;  // beyond every first window
  family.leaver.router.send(kRoot, kSink, Buffer(kBytes));
  family.leaf.router.send(kRoot, kSink, Buffer(kBytes));

  REQUIRE(family.leave());

  CHECK(run_until(family.loop, [&] { return family.root.sunk >= kBytes; }));
}

TEST_CASE("one who waits to be heard for longer than a second leaves all the same") {
  Family family;
  family.keep_busy();
  const Nanos began = family.loop.now();

  REQUIRE(family.leave());

  CHECK(family.loop.now() - began >= kSecond);
  CHECK(family.loop.now() - began < 4 * kSecond);
}

TEST_CASE("a parent that ends before it has answered has not let go") {
  Family family;
  family.begin();
  family.hop.router.drop_child(kLeaver, Error{ErrorClass::kLost, Phase::kLink, "gone", {}});

  REQUIRE(run_until(family.loop, [&] { return family.done > 0 && family.leaver.ended_by_parent > 0; }));

  CHECK(family.done == 1);
  REQUIRE(family.failed);
  CHECK(family.failed->error_class == ErrorClass::kLost);
  CHECK(family.leaver.ended_by_parent == 1);
}

TEST_CASE("a parent that ends once it has let go ends nothing, and neither does its farewell") {
  for (const bool tells : {false, true}) {
    CAPTURE(tells);
    Family family;
    Outcome of_leaver;
    family.keep_busy();
    family.root.router.call(kLeaver, kNever, {}, of_leaver.listener());
    REQUIRE(run_until(family.loop, [&] { return family.leaver.served == 1; }));
    family.begin();
    REQUIRE(run_until(family.loop, [&] { return !family.leaver.router.on_shutdown; }));  // it was let go

    if (tells)
      family.hop.router.shut_down_children(kSecond);
    else
      family.hop.router.drop_child(kLeaver, Error{ErrorClass::kLost, Phase::kLink, "gone", {}});

    REQUIRE(run_until(family.loop, [&] { return family.done > 0; }));
    REQUIRE(family.settle());
    CHECK_FALSE(family.failed);
    CHECK(family.leaver.ended_by_parent == 0);
    CHECK(family.leaver.told_to_end == 0);
    CHECK(family.leaver.cancelled == 0);
  }
}

TEST_CASE("one that has left gives away the ids it has, and there are no others") {
  Family family;
  REQUIRE(family.leave());
  REQUIRE(family.settle());
  const std::uint64_t left = family.leaver.ids->left();
  REQUIRE(left > 0);
  std::optional<IdRange> given;
  std::optional<DeadReason> refused;

  family.leaver.ids->take(std::uint32_t(left), [&](const IdRange* ids, const Dead&) {
    if (ids != nullptr) given = *ids;
  });
  family.leaver.ids->take(1, [&](const IdRange* ids, const Dead& dead) {
    if (ids == nullptr) refused = dead.reason;
  });

  REQUIRE(run_until(family.loop, [&] { return given && refused; }));
  CHECK(refused == DeadReason::kQuota);
  CHECK(family.hop.router.granted(kLeaver) == 0);  // forgotten with its link; nobody else has them
  std::optional<IdRange> others;
  family.hop.ids->take(1, [&](const IdRange* ids, const Dead&) {
    if (ids != nullptr) others = *ids;
  });
  REQUIRE(others);
  CHECK_FALSE((others->first >= given->first && others->first < given->first + given->count));
}

TEST_CASE("where talk goes sideways, strangers on both sides of a parting hear of each other's end") {
  Family family(Sideways::kPeers);
  Outcome outward, inward;
  family.leaf.router.call(kNeighbour, kNever, {}, outward.listener());
  family.neighbour.router.call(kLeaf, kNever, {}, inward.listener());
  REQUIRE(run_until(family.loop, [&] { return family.leaf.served == 1 && family.neighbour.served == 1; }));

  REQUIRE(family.leave());

  REQUIRE(run_until(family.loop, [&] { return outward.answers + inward.answers == 2; }));
  CHECK(outward.dead == DeadReason::kGone);
  CHECK(inward.dead == DeadReason::kGone);
  CHECK(
      run_until(family.loop, [&] { return family.leaf.cancelled == 1 && family.neighbour.cancelled == 1; }));
}

TEST_CASE("who cannot tell his children of all the strangers they know does not leave") {
  Family family(Sideways::kPeers, 0);
  Outcome stranger;
  family.leaf.router.call(kNeighbour, kEcho, {}, stranger.listener());
  REQUIRE(run_until(family.loop, [&] { return stranger.answers == 1; }));

  family.begin();

  REQUIRE(run_until(family.loop, [&] { return family.done > 0; }));
  REQUIRE(family.failed);
  CHECK(family.failed->error_class == ErrorClass::kResource);
  CHECK(family.hop.router.way_to(kLeaver));
}

TEST_CASE("the root has nobody to detach from") {
  EpollLoop loop;
  Context root(loop, config_of(kRoot), kAllIds);
  Detach detach(root.router, *root.ids, *root.routes);
  std::optional<Error> failed;

  detach.begin([&](const Result<Done>& result) {
    if (!result) failed = result.error();
  });

  REQUIRE(run_until(loop, [&] { return failed.has_value(); }));
  CHECK(failed->error_class == ErrorClass::kRefused);
}

TEST_CASE("nobody detaches a context but itself: not its child, and not its parent") {
  Family family;
  family.leaf.router.send_control(kHop, kDetaching, {});  // is passed on by nobody
  REQUIRE(family.settle());
  CHECK(family.root.router.way_to(kLeaf));

  family.hop.router.send_control(kLeaver, kDetaching, {});
  REQUIRE(run_until(family.loop, [&] { return family.leaver.ended_by_parent > 0; }));
}
