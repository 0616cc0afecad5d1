// Goal: what one context takes of its hop's link leaves something for its siblings, and never costs the hop
// its link. Method: a simulated tree: the root, a hop, and beneath it one that takes all it can get and
// another that wants a little; the greedy one's frames are written by hand onto its link.

#include <catch2/catch.hpp>
#include <list>

#include "core/stream.h"
#include "tests/simulation/sim_tree.h"

namespace banyan {
namespace {

using namespace simulation;

constexpr Handle kEcho = 500, kSink = 501;

struct Family {
  SimTree tree;
  SimNode &hop, &greedy, &modest;
  std::list<Charge> kept;                 // what comes from the greedy one is never read
  std::size_t received = 0, cut_off = 0;  // of the modest one's stream; of the greedy one's
  int lost_links = 0;

  static SimTreeOptions options(const SimWire& wire) {
    SimTreeOptions options;
    options.wire = wire;
    return options;
  }
  explicit Family(const SimWire& wire = {})
      : tree(31, options(wire)), hop((serve(), grow(tree.root()))), greedy(grow(hop)), modest(grow(hop)) {}

  void serve() {
    tree.on_link_down = [this](SimNode&, bool, const Error&) { ++lost_links; };
    tree.on_up = [this](SimNode& node) { serve(node); };
    serve(tree.root());
  }
  void serve(SimNode& node) {
    node.router.add_handler(kEcho, Access::anyone(),
                            [&node](Incoming& call) { node.router.reply(call.header, {}); });
    node.router.add_handler(kSink, Access::anyone(), [this](Incoming& message) {
      if (message.header.has(kAborted)) ++cut_off;
      if (message.header.source == greedy.id) return kept.push_back(std::move(message.charge));
      received += message.payload.size();
    });
  }
  SimNode& grow(SimNode& parent) {
    SimNode& child = tree.grow(parent);
    CHECK(tree.world().run_until([&] { return child.is_up; }, 60 * kSecond));
    return child;
  }

  void say(SimNode& from, std::uint8_t flags, StreamId stream, Handle handle, const Buffer& payload,
           Handle reply_to = kNoReply) {
    Header header;
    header.flags = flags;
    header.length = std::uint32_t(payload.size());
    header.source = header.authority = from.id;
    header.stream = stream;
    header.handle = handle;
    header.reply_to = reply_to;
    from.router.parent_link()->send(0, header, payload);
  }
  // Begins a message as long as may be, and does not go on.
  void announce(SimNode& from, StreamId stream) {
    Buffer payload(kLengthPrefixBytes + 100);
    store_le<std::uint64_t>(payload.data(), kMessageMax);
    say(from, kFirst, stream, kSink, payload);
  }
  bool calls_get_through(std::size_t bytes, Nanos within) {
    bool is_over = false, is_reply = false;
    modest.router.call(0, kEcho, Buffer(bytes), [&](const Reply& reply) {
      is_over = true;
      is_reply = reply.dead == nullptr;
    });
    CHECK(tree.world().run_until([&] { return is_over; }, within));
    return is_reply;
  }
  bool streams_get_through(SimNode& from, SimNode& to, std::size_t bytes, Nanos within) {
    StreamSender sender(from.router, to.id, kSink);
    const std::size_t before = received;
    std::size_t left = bytes;
    const auto write = [&] {
      for (std::size_t room = sender.room(); room > 0 && left > 0; room = sender.room()) {
        const std::size_t now = std::min(room, left);
        sender.send(Buffer(now));
        left -= now;
      }
    };
    sender.on_writable = write;
    write();
    return tree.world().run_until([&] { return received - before == bytes; }, within);
  }
};

TEST_CASE("a long message that is announced and does not come stops those of its siblings for seconds only") {
  Family family;
  for (StreamId stream = 10; stream < 110; ++stream) family.announce(family.greedy, stream);
  family.tree.run_for(kSecond);

  for (int i = 0; i < 4; ++i) CHECK(family.calls_get_through(1 << 20, 40 * kSecond));

  CHECK(family.cut_off > 0);
  CHECK(family.lost_links == 0);
}

TEST_CASE("a long message that does not come waits as long as it likes where nobody waits for its place") {
  Family family;
  family.announce(family.greedy, 10);

  family.tree.run_for(300 * kSecond);

  CHECK(family.cut_off == 0);
  CHECK(family.calls_get_through(1'000, kSecond));
}

TEST_CASE("one who opens all the streams he can leaves some to his siblings, and calls pass in any case") {
  Family family;
  for (int stream = 0; stream < 10'000; ++stream)
    family.say(family.greedy, kFirst | kLast, StreamId(10 + stream), kSink, Buffer(1));
  family.tree.run_for(kSecond);
  CHECK(family.kept.size() > 1'000);

  CHECK(family.streams_get_through(family.modest, family.tree.root(), 200'000, 10 * kSecond));
  CHECK(family.streams_get_through(family.hop, family.tree.root(), 200'000, 10 * kSecond));
  CHECK(family.calls_get_through(1'000, kSecond));
  CHECK(family.lost_links == 0);
}

TEST_CASE("where streams are used up altogether, calls pass still") {
  SimTreeOptions options;
  options.router.inbox.streams_max = 0;
  SimTree tree(32, options);
  tree.root().router.add_handler(kEcho, Access::anyone(),
                                 [&](Incoming& call) { tree.root().router.reply(call.header, {}); });
  SimNode& child = tree.grow(tree.root());
  CHECK(tree.world().run_until([&] { return child.is_up; }, 60 * kSecond));
  int replies = 0;
  child.router.call(0, kEcho, {}, [&](const Reply& reply) { replies += reply.dead == nullptr; });
  CHECK(tree.world().run_until([&] { return replies == 1; }, kSecond));
}

TEST_CASE("a stream to one who speaks with his parent's authority gets as wide a window as any other") {
  constexpr std::size_t kBytes = 16 << 20;
  Nanos took[2] = {};
  for (const bool is_lent : {false, true}) {
    Family family({.latency_max = 40 * kMillisecond});
    if (is_lent) family.hop.router.lend_authority(family.modest.id);
    family.kept.clear();
    const Nanos began = family.tree.world().now();
    REQUIRE(family.streams_get_through(family.tree.root(), family.modest, kBytes, 600 * kSecond));
    took[is_lent] = family.tree.world().now() - began;
  }
  CHECK(took[true] < 2 * took[false]);
}

}  // namespace
}  // namespace banyan
