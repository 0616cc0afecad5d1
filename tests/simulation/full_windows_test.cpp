// Goal: when nobody reads and every window is used up, nothing is stuck but the streams themselves: calls,
// replies, cancels, ids, routes and heartbeats pass. Method: a simulated tree of four levels in which every
// node keeps what it is sent; so many streams go up and down that no link has credit for another; then the
// tree is used, and in the end everybody reads.

#include <catch2/catch.hpp>
#include <deque>
#include <list>
#include <map>

#include "core/stream.h"
#include "tests/simulation/sim_tree.h"

namespace banyan {
namespace {

using namespace simulation;

constexpr Handle kEcho = 500, kSink = 501, kNever = 502;
constexpr std::size_t kStreams = 80;           // 64 KiB each: more than two links' windows
constexpr std::size_t kStreamBytes = 200'000;  // each

struct FullTree {
  SimTree tree;
  SimNode &hop, &middle, &leaf, &sibling;
  std::deque<Charge> kept;
  bool reads = false;
  std::map<FlowKey, std::size_t> received;
  std::size_t ended = 0;
  int lost_links = 0;
  struct Writer {
    StreamSender sender;
    std::size_t left = kStreamBytes;
    Writer(SimNode& from, ContextId to) : sender(from.router, to, kSink) {
      sender.on_writable = [this] { write(); };
      write();
    }
    void write() {
      for (std::size_t room = sender.room(); room > 0 && left > 0; room = sender.room()) {
        const std::size_t bytes = std::min(room, left);
        sender.send(Buffer(bytes));
        left -= bytes;
      }
      if (left > 0) return;
      sender.on_writable = nullptr;
      sender.finish();
    }
  };
  std::list<Writer> writers;

  static SimTreeOptions options(const SimWire& wire) {
    SimTreeOptions options;
    options.wire = wire;
    return options;
  }
  FullTree(std::uint64_t seed, const SimWire& wire)
      : tree(seed, options(wire)),
        hop((serve(), grow(tree.root()))),
        middle(grow(hop)),
        leaf(grow(middle)),
        sibling(grow(hop)) {}

  void serve() {
    tree.on_up = [this](SimNode& node) { serve(node); };
    tree.on_link_down = [this](SimNode&, bool, const Error&) { ++lost_links; };
    serve(tree.root());
  }
  void serve(SimNode& node) {
    node.router.add_handler(kEcho, Access::anyone(),
                            [&node](Incoming& call) { node.router.reply(call.header, {}); });
    node.router.add_handler(kNever, Access::anyone(), [&node](Incoming& call) {
      node.router.on_cancel(call.header, [&node, header = call.header] { node.router.reply(header, {}); });
    });
    node.router.add_handler(kSink, Access::anyone(), [this](Incoming& message) {
      if (message.payload.empty()) ++ended;
      received[flow_of(message.header)] += message.payload.size();
      if (!reads) kept.push_back(std::move(message.charge));
    });
  }
  SimNode& grow(SimNode& parent) {
    SimNode& child = tree.grow(parent);
    CHECK(tree.world().run_until([&] { return child.is_up; }, 60 * kSecond));
    return child;
  }

  // Until nothing moves: from everybody to everybody above and beneath.
  void fill() {
    SimNode* const path[] = {&tree.root(), &hop, &middle, &leaf};
    for (std::size_t i = 0; i < kStreams; ++i)
      for (SimNode* from : path)
        for (SimNode* to : path)
          if (from != to && (i < kStreams / 4 || from == &leaf || to == &leaf))
            writers.emplace_back(*from, to->id);
    for (std::size_t i = 0; i < kStreams / 4; ++i) writers.emplace_back(sibling, 0);
    tree.run_for(60 * kSecond);
  }
  bool is_answered(SimNode& from, ContextId to) {
    bool is_over = false, is_reply = false;
    from.router.call(to, kEcho, Buffer(1'000), [&](const Reply& reply) {
      is_over = true;
      is_reply = reply.dead == nullptr;
    });
    CHECK(tree.world().run_until([&] { return is_over; }, 30 * kSecond));
    return is_reply;
  }
};

bool every_link_is_full(FullTree& full) {
  for (SimNode* node : {&full.hop, &full.middle, &full.leaf}) {
    if (node->router.parent_link()->queued_bytes() == 0) return false;
    if (node->parent->router.link_to(node->id)->queued_bytes() == 0) return false;
  }
  return true;
}

TEST_CASE("calls, cancels, new contexts and their ids get through where no stream has any window left") {
  FullTree full(21, {});
  full.fill();
  REQUIRE(every_link_is_full(full));

  CHECK(full.is_answered(full.tree.root(), full.leaf.id));
  CHECK(full.is_answered(full.leaf, 0));
  CHECK(full.is_answered(full.sibling, 0));
  CHECK(full.is_answered(full.middle, full.hop.id));

  bool is_acknowledged = false;
  int answers = 0;
  const Router::CallId call =
      full.tree.root().router.call(full.leaf.id, kNever, {}, [&](const Reply&) { ++answers; });
  full.tree.root().router.cancel(call, [&](const Reply&) { is_acknowledged = true; });
  CHECK(full.tree.world().run_until([&] { return is_acknowledged; }, 30 * kSecond));
  CHECK(answers == 1);

  // More than its first range has, so ids have to come from above.
  for (int i = 0; i < 3; ++i) {
    SimNode& child = full.grow(full.leaf);
    CHECK(full.is_answered(child, 0));
    CHECK(full.is_answered(full.tree.root(), child.id));  // who has heard of it by now
  }
  CHECK(every_link_is_full(full));
  CHECK(full.lost_links == 0);
}

TEST_CASE("streams that nobody read for a minute arrive whole, all of them, once somebody does") {
  FullTree full(22, {});
  full.fill();
  REQUIRE(full.ended == 0);

  full.reads = true;
  full.kept.clear();

  CHECK(full.tree.world().run_until([&] { return full.ended == full.writers.size(); }, 600 * kSecond));
  CHECK(full.received.size() == full.writers.size());
  bool are_whole = true;
  for (const auto& [flow, bytes] : full.received) are_whole = are_whole && bytes == kStreamBytes;
  CHECK(are_whole);
  CHECK(full.lost_links == 0);
}

TEST_CASE("links that are full for minutes, on a slow wire, are not taken for lost") {
  FullTree full(23, {.latency_max = 100 * kMillisecond, .capacity = 16 << 10, .bytes_per_second = 50'000});
  full.reads = true;
  for (int i = 0; i < 40; ++i) {
    full.writers.emplace_back(full.tree.root(), full.leaf.id);
    full.writers.emplace_back(full.leaf, 0);
  }
  full.tree.run_for(120 * kSecond);

  CHECK(full.ended < full.writers.size());
  CHECK(full.leaf.router.parent_link()->queued_bytes() > 0);
  CHECK(full.lost_links == 0);
  CHECK(full.is_answered(full.tree.root(), full.leaf.id));
}

}  // namespace
}  // namespace banyan
