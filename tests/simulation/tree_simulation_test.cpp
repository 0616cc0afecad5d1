// Goal: whatever is delayed, split, cut or killed, a call gets exactly one answer, a stream arrives in order
// and whole or not at all, silence is noticed in time and nobody is judged for our own sleep. Method:
// production routers and links over SimLoops; the seed makes the tree, the traffic and the faults, and the
// test keeps its own books.

#include <algorithm>
#include <catch2/catch.hpp>
#include <cstring>
#include <deque>
#include <map>

#include "core/msgpack.h"
#include "core/stream.h"
#include "tests/simulation/sim_loop.h"
#include "tests/support/routers.h"
#include "tests/support/seed.h"

using namespace banyan;
using test::make_link;

namespace {

constexpr Handle kEcho = 500;

// A context of the simulated tree. What is behind its children it is told by the test, as route news would.
struct Node {
  SimLoop& loop;
  Router router;
  Node* parent = nullptr;
  int up = -1, down = -1;   // descriptors of the wire to the parent: ours, and the parent's
  std::string link_ended;   // what we heard of the link to the parent
  std::string child_ended;  // and what it heard of the one to us
  bool alive = true;

  Node(SimLoop& its_loop, ContextId id, std::vector<ContextId> ancestors, const InboxLimits& inbox = {})
      : loop(its_loop),
        router(
            loop,
            RouterConfig{
                .id = id, .sideways = Sideways::kPeers, .ancestors = std::move(ancestors), .inbox = inbox}) {}

  // A context whose parent is gone takes what is beneath it along.
  void end_subtree() {
    std::vector<ContextId> children;
    router.for_each_child([&](ContextId child, Link&) { children.push_back(child); });
    for (const ContextId child : children)
      router.drop_child(child, Error{ErrorClass::kLost, Phase::kLink, "its parent is gone", {}});
  }
};

struct Tree {
  SimWorld world;
  LinkLimits limits;
  std::vector<std::unique_ptr<Node>> nodes;

  explicit Tree(std::uint64_t seed) : world(seed) {
    nodes.push_back(std::make_unique<Node>(world.add_loop(), 0, std::vector<ContextId>{}));
  }

  Node& root() { return *nodes[0]; }
  Node& grow(Node& parent, const SimWire& wire = {}, const InboxLimits& inbox = {}) {
    std::vector<ContextId> ancestors = parent.router.config().ancestors;
    ancestors.insert(ancestors.begin(), parent.router.id());
    nodes.push_back(std::make_unique<Node>(world.add_loop(), ContextId(nodes.size()), ancestors, inbox));
    Node& child = *nodes.back();
    child.parent = &parent;
    std::tie(child.down, child.up) = world.make_pair(parent.loop, child.loop, wire);
    parent.router.add_child(make_link(parent.loop, child.down, parent.router, false, limits),
                            child.router.id(),
                            [&child](const Error& error) { child.child_ended = error.text; });
    child.router.set_parent(make_link(child.loop, child.up, child.router, true, limits),
                            [&child](const Error& error) {
                              child.link_ended = error.text;
                              child.end_subtree();
                            });
    for (Node *below = &parent, *above = parent.parent; above != nullptr;
         below = above, above = above->parent) {
      above->router.grant(below->router.id(), {child.router.id(), 1});
      above->router.add_route(child.router.id(), parent.router.id(), below->router.id());
    }
    return child;
  }
  void cut(Node& node) {
    Link* link = node.router.parent_link();
    if (node.alive && link != nullptr && link->is_open()) world.cut(node.loop, node.up);
  }
  void kill(Node& node) {
    node.alive = false;
    world.kill(node.loop);
  }
};

Buffer pattern(std::size_t bytes, std::uint64_t salt) {
  Buffer out(bytes);
  for (std::size_t i = 0; i < bytes; ++i) out[i] = std::uint8_t((i * 131 + salt * 17 + i / 251) & 0xff);
  return out;
}

}  // namespace

TEST_CASE(
    "a call gets exactly one answer, and the right one, whatever is cut or killed between two neighbours") {
  for (std::uint64_t seed : test::seeds(150)) {
    CAPTURE(seed);
    Tree tree(seed);
    const std::size_t size = 2 + tree.world.below(7);
    while (tree.nodes.size() < size) tree.grow(*tree.nodes[tree.world.below(tree.nodes.size())]);
    for (auto& node : tree.nodes)
      node->router.add_handler(kEcho, Access::anyone(), [&router = node->router](Incoming& message) {
        router.reply(message.header, Buffer(message.payload.begin(), message.payload.end()));
      });
    struct Call {
      Node* caller;
      Buffer sent;
      bool is_neighbour;  // the caller's own link tells it of the callee's end; of others, route news must
      int answers = 0;
      bool wrong = false;
    };
    std::vector<std::unique_ptr<Call>> calls;
    const bool with_faults = !tree.world.one_in(4);
    for (int step = 0; step < 60; ++step) {
      Node& caller = *tree.nodes[tree.world.below(size)];
      const auto callee = ContextId(tree.world.below(size));
      if (caller.alive) {
        const std::size_t bytes = tree.world.one_in(5) ? tree.world.below(400'000) : tree.world.below(2'000);
        const bool is_neighbour =
            caller.parent == tree.nodes[callee].get() || tree.nodes[callee]->parent == &caller;
        auto& call = *calls.emplace_back(
            std::make_unique<Call>(Call{&caller, pattern(bytes, std::uint64_t(step)), is_neighbour}));
        caller.router.call(callee, kEcho, call.sent, [&call](const Reply& reply) {
          ++call.answers;
          call.wrong =
              call.wrong || (reply.dead == nullptr && !std::equal(reply.payload.begin(), reply.payload.end(),
                                                                  call.sent.begin(), call.sent.end()));
        });
      }
      if (with_faults && tree.world.one_in(20)) {
        Node& victim = *tree.nodes[1 + tree.world.below(size - 1)];
        if (tree.world.one_in(2)) {
          tree.kill(victim);
        } else {
          tree.cut(victim);
        }
      }
      tree.world.run_for(Nanos(tree.world.below(3 * kMillisecond)));
    }
    REQUIRE(tree.world.run_until(
        [&] {
          return std::all_of(calls.begin(), calls.end(), [&](const auto& call) {
            return call->answers > 0 || !call->caller->alive || (with_faults && !call->is_neighbour);
          });
        },
        120 * kSecond));
    tree.world.run_for(5 * kSecond);
    for (const auto& call : calls) {
      if (!call->caller->alive) continue;
      if (!with_faults || call->is_neighbour) CHECK(call->answers == 1);
      CHECK(call->answers <= 1);
      CHECK_FALSE(call->wrong);
    }
    if (!with_faults) {
      for (auto& node : tree.nodes) {
        CHECK(node->link_ended.empty());
        node->router.for_each_child([](ContextId, Link& link) { CHECK(link.held() == 0); });
      }
    }
  }
}

TEST_CASE("a stream arrives in order and whole, or ends aborted, or its reader's way is gone") {
  for (std::uint64_t seed : test::seeds(100)) {
    CAPTURE(seed);
    Tree tree(seed);
    Node* last = &tree.root();
    for (std::uint64_t hops = 1 + tree.world.below(3); hops > 0; --hops) last = &tree.grow(*last);
    const std::size_t total = tree.world.below(2'000'000);
    const Buffer expected = pattern(total, seed);
    std::size_t received = 0;
    bool ended = false, aborted = false, wrong = false;
    std::deque<Charge> kept;
    const Handle sink = last->router.add_handler(Access::anyone(), [&](Incoming& message) {
      if (message.header.has(kAborted)) {
        aborted = true;
      } else if (message.payload.empty()) {
        ended = true;
      } else {
        wrong = wrong || ended || received + message.payload.size() > total ||
                std::memcmp(message.payload.data(), expected.data() + received, message.payload.size()) != 0;
        received += message.payload.size();
        // A reader with moods: sometimes it lets things lie.
        kept.push_back(std::move(message.charge));
        if (!tree.world.one_in(3)) kept.clear();
      }
    });
    bool dead = false;
    auto sender = std::make_unique<StreamSender>(tree.root().router, last->router.id(), sink);
    std::size_t sent = 0;
    auto send = [&] {
      for (std::size_t room = sender->room(); room > 0 && sent < total; room = sender->room()) {
        const std::size_t bytes = std::min<std::size_t>({room, total - sent, 1 + tree.world.below(40'000)});
        sender->send(Bytes(expected).subspan(sent, bytes));
        sent += bytes;
      }
      if (sent == total) {
        sender->on_writable = nullptr;
        sender->finish();
      }
    };
    sender->on_writable = send;
    sender->on_dead = [&](const Dead&) { dead = true; };
    send();
    const bool with_cut = tree.world.one_in(2);
    if (with_cut) {
      tree.world.run_for(Nanos(tree.world.below(40 * kMillisecond)));
      Node& victim = *tree.nodes[1 + tree.world.below(tree.nodes.size() - 1)];
      tree.cut(victim);
    }
    auto settled = [&] {
      kept.clear();
      return ended || aborted || !last->link_ended.empty() || (with_cut && dead);
    };
    REQUIRE(tree.world.run_until(settled, 120 * kSecond));
    CHECK_FALSE(wrong);
    if (ended) CHECK(received == total);
    if (!with_cut) CHECK(ended);
    sender.reset();
  }
}

TEST_CASE("two long messages whose reservations do not fit together do not wait for each other") {
  for (std::uint64_t seed : test::seeds(30)) {
    CAPTURE(seed);
    Tree tree(seed);
    InboxLimits small;
    small.assembly_budget = 600'000;
    Node& child = tree.grow(tree.root(), {}, small);
    std::size_t received = 0;
    child.router.add_handler(kEcho, Access::anyone(), [&](Incoming& message) {
      CHECK(message.payload.size() == 500'000);
      ++received;
    });
    // Each on a stream of its own, so that their frames mix.
    for (StreamId stream = 10; stream < 16; ++stream)
      tree.root().router.send(1, kEcho, Buffer(500'000), stream);

    CHECK(tree.world.run_until([&] { return received == 6; }, 60 * kSecond));
  }
}

// Those that waited for their reservation once filled the link's window, and the rest of the one that had it
// could not come through: from thirty-three of them on nothing ever arrived.
TEST_CASE("more long messages at once than fit into a link's window all arrive") {
  Tree tree(9);
  InboxLimits small;
  small.assembly_budget = 16 << 20;  // of which a link has a quarter: one of these messages at a time
  Node& child = tree.grow(tree.root(), {}, small);
  std::size_t received = 0;
  child.router.add_handler(kEcho, Access::anyone(), [&](Incoming&) { ++received; });
  for (StreamId stream = 10; stream < 50; ++stream)
    tree.root().router.send(1, kEcho, Buffer(3 << 20), stream);

  CHECK(tree.world.run_until([&] { return received == 40; }, 600 * kSecond));
}

TEST_CASE("a wire of 50 ms is filled to eight tenths of its rate, also for a reader who takes a moment") {
  for (const Nanos moment : {Nanos(0), kMillisecond}) {
    CAPTURE(moment);
    Tree tree(1);
    const SimWire wire{.latency_min = 25 * kMillisecond,
                       .latency_max = 25 * kMillisecond,
                       .capacity = 4 << 20,
                       .bytes_per_second = 40'000'000,
                       .is_rough = false};
    Node& child = tree.grow(tree.root(), wire);
    std::size_t received = 0;
    std::deque<Charge> unread;
    const Handle sink = child.router.add_handler(Access::anyone(), [&](Incoming& message) {
      received += message.payload.size();
      if (moment == 0) return;
      unread.push_back(std::move(message.charge));
      child.loop.after(moment, [&] { unread.pop_front(); });
    });
    StreamSender sender(tree.root().router, 1, sink);
    const Buffer block(64 * 1024);
    auto send = [&] {
      for (std::size_t room = sender.room(); room > 0; room = sender.room())
        sender.send(Bytes(block).first(std::min(room, block.size())));
    };
    sender.on_writable = send;
    send();
    tree.world.run_for(3 * kSecond);
    const std::size_t before = received;

    tree.world.run_for(5 * kSecond);

    CHECK(double(received - before) / 5 >= 0.8 * 40'000'000);
    sender.on_writable = nullptr;
    tree.world.run_for(kSecond);
    CHECK(unread.empty());
  }
}

TEST_CASE("a silent cut is noticed by the parent after 15 to 18 seconds and by the child after 20 to 23") {
  Tree tree(2);
  Node& child = tree.grow(tree.root());
  tree.world.run_for(kSecond);
  tree.world.cut_silently(child.loop, child.up);
  const Nanos began = tree.world.now();

  REQUIRE(tree.world.run_until([&] { return !child.child_ended.empty(); }, 60 * kSecond));
  const Nanos parent_knew = tree.world.now() - began;
  REQUIRE(tree.world.run_until([&] { return !child.link_ended.empty(); }, 60 * kSecond));
  const Nanos child_knew = tree.world.now() - began;

  CHECK(parent_knew >= 13 * kSecond);
  CHECK(parent_knew <= 18 * kSecond);
  CHECK(child_knew >= 18 * kSecond);
  CHECK(child_knew <= 23 * kSecond);
}

TEST_CASE("an idle link lives for an hour on heartbeats alone") {
  Tree tree(3);
  Node& child = tree.grow(tree.root());

  tree.world.run_for(3600 * kSecond);

  CHECK(child.link_ended.empty());
  CHECK(child.child_ended.empty());
  CHECK(tree.root().router.link_to(1)->round_trip() > 0);
}

TEST_CASE("a parent that was stopped for ten seconds judges nobody when it wakes") {
  Tree tree(4);
  Node& child = tree.grow(tree.root());
  tree.world.run_for(kSecond);

  tree.world.stop(tree.root().loop);
  tree.world.run_for(10 * kSecond);
  tree.world.resume(tree.root().loop);
  tree.world.run_for(60 * kSecond);

  CHECK(child.child_ended.empty());
  CHECK(child.link_ended.empty());
}

TEST_CASE("a child that is stopped is lost, and its siblings are not") {
  Tree tree(5);
  Node& stopped = tree.grow(tree.root());
  Node& other = tree.grow(tree.root());
  tree.world.run_for(kSecond);

  tree.world.stop(stopped.loop);
  tree.world.run_for(20 * kSecond);

  CHECK_FALSE(stopped.child_ended.empty());
  CHECK(other.child_ended.empty());
}

TEST_CASE("a peer that said hold is not judged for its silence, and is again once it has spoken") {
  Tree tree(6);
  Node& child = tree.grow(tree.root());
  Header hold;
  hold.flags = kControl | kFirst | kLast;
  hold.handle = kHold;
  child.router.parent_link()->send_control(hold);
  tree.world.run_for(kSecond);

  tree.world.stop(child.loop);
  tree.world.run_for(300 * kSecond);
  CHECK(child.child_ended.empty());
  tree.world.resume(child.loop);
  tree.world.run_for(10 * kSecond);
  CHECK(child.child_ended.empty());
  tree.world.stop(child.loop);
  tree.world.run_for(20 * kSecond);

  CHECK_FALSE(child.child_ended.empty());
}

TEST_CASE("heartbeats and replies pass while a reader that does not read has stopped all data") {
  Tree tree(7);
  Node& child = tree.grow(tree.root());
  std::deque<Charge> kept;
  const Handle sink = child.router.add_handler(
      Access::anyone(), [&](Incoming& message) { kept.push_back(std::move(message.charge)); });
  child.router.add_handler(kEcho, Access::anyone(),
                           [&](Incoming& message) { child.router.reply(message.header, {}); });
  StreamSender sender(tree.root().router, 1, sink);
  for (std::size_t room = sender.room(); room > 0; room = sender.room()) sender.send(Buffer(room));
  tree.world.run_for(60 * kSecond);
  int answers = 0;

  tree.root().router.call(1, kEcho, {}, [&](const Reply& reply) { answers += reply.dead == nullptr; });
  tree.world.run_for(60 * kSecond);

  CHECK(answers == 1);
  CHECK(child.link_ended.empty());
  CHECK(child.child_ended.empty());
  kept.clear();
}

TEST_CASE("one child that floods a shared link leaves its sibling its share") {
  Tree tree(8);
  const SimWire narrow{.bytes_per_second = 2'000'000};
  Node& hop = tree.grow(tree.root(), narrow);
  Node& loud = tree.grow(hop);
  Node& quiet = tree.grow(hop);
  std::map<ContextId, std::size_t> received;
  const Handle sink = tree.root().router.add_handler(Access::anyone(), [&](Incoming& message) {
    received[message.header.source] += message.payload.size();
  });
  std::vector<std::unique_ptr<StreamSender>> senders;
  auto flood = [&](Node& node, int streams) {
    for (int i = 0; i < streams; ++i) {
      auto& sender = *senders.emplace_back(std::make_unique<StreamSender>(node.router, 0, sink));
      auto send = [&sender] {
        for (std::size_t room = sender.room(); room > 0; room = sender.room())
          sender.send(Buffer(std::min<std::size_t>(room, 20'000)));
      };
      sender.on_writable = send;
      send();
    }
  };
  flood(loud, 20);
  flood(quiet, 1);

  tree.world.run_for(20 * kSecond);

  CHECK(received[quiet.router.id()] > received[loud.router.id()] / 2);
  for (auto& sender : senders) sender->on_writable = nullptr;
}
