// Goal: a hostile child costs bounded memory and its own progress, nobody else's.
// Method: a router with an honest child and one whose frames are written by hand; then what the honest one
// tries must work as if it were alone.

#include <catch2/catch.hpp>
#include <memory>

#include "core/router.h"
#include "tests/simulation/sim_loop.h"

namespace banyan {
namespace {

constexpr Handle kSink = 600;
constexpr ContextId kHostile = 1, kHonest = 2;

struct Nobody final : Link::Owner {
  void on_frame(Link&, const Header&, Bytes) override {}
  void on_sent(Link&, std::uint32_t, const Header&) override {}
  void on_down(Link&, const Error&, std::deque<QueuedFrame>) override {}
};

RouterConfig config_of(ContextId id, std::vector<ContextId> ancestors) {
  return RouterConfig{
      .id = id, .sideways = Sideways::kVertical, .ancestors = std::move(ancestors), .inbox = {}};
}

struct Family {
  SimWorld world;
  SimLoop& loop;
  SimLoop& honest_loop;
  SimLoop& hostile_loop;
  Nobody nobody;
  Router root, honest;
  int hostile_fd = -1;
  std::string hostile_ended;
  std::size_t received = 0, messages = 0;

  explicit Family(std::uint64_t seed)
      : world(seed),
        loop(world.add_loop()),
        honest_loop(world.add_loop()),
        hostile_loop(world.add_loop()),
        root(loop, config_of(0, {})),
        honest(honest_loop, config_of(kHonest, {0})) {
    const auto [down, up] = world.make_pair(loop, honest_loop);
    root.add_child(link(loop, down, root, false), kHonest, {});
    honest.set_parent(link(honest_loop, up, honest, true), {});
    const auto [ours, theirs] = world.make_pair(loop, hostile_loop);
    hostile_fd = theirs;
    root.add_child(link(loop, ours, root, false), kHostile,
                   [this](const Error& error) { hostile_ended = error.text; });
    root.add_handler(kSink, Access::anyone(), [this](Incoming& message) {
      if (message.header.source != kHonest) return;
      received += message.payload.size();
      ++messages;
    });
  }

  std::unique_ptr<Link> link(Loop& its_loop, int fd, Router& router, bool to_parent) {
    return std::make_unique<Link>(its_loop, LinkFds{fd, fd}, nobody, LinkLimits{}, router.window_budget(),
                                  to_parent);
  }

  // One frame of the hostile child's.
  void write(Header header, const Buffer& payload) {
    header.source = kHostile;
    header.length = std::uint32_t(payload.size());
    Buffer bytes(kHeaderBytes);
    encode_header(header, bytes.data());
    bytes.insert(bytes.end(), payload.begin(), payload.end());
    for (std::size_t at = 0; at < bytes.size();) {
      const iovec part = {bytes.data() + at, bytes.size() - at};
      const IoResult result = hostile_loop.write(hostile_fd, &part, 1);
      REQUIRE(result.status != IoResult::Status::kError);
      at += result.bytes;
      if (result.status == IoResult::Status::kWouldBlock) world.run_for(kMillisecond);
    }
  }

  // Begins a message of that length, and sends a few bytes of it.
  void begin_message(StreamId stream, std::uint64_t length) {
    Header header;
    header.flags = kFirst;
    header.stream = stream;
    header.handle = kSink;
    Buffer payload(kLengthPrefixBytes + 100);
    store_le(payload.data(), length);
    write(header, payload);
  }
};

TEST_CASE("a child that begins long messages and ends none does not hold up its sibling's") {
  for (std::uint64_t seed = 0; seed < 5; ++seed) {
    CAPTURE(seed);
    Family family(seed);
    for (StreamId stream = 10; stream < 50; ++stream) family.begin_message(stream, kMessageMax);
    family.world.run_for(kSecond);

    for (int i = 0; i < 3; ++i) family.honest.send(0, kSink, Buffer(3'000'000));

    CHECK(family.world.run_until([&] { return family.messages == 3; }, 10 * kSecond));
    CHECK(family.received == 9'000'000);
    CHECK(family.hostile_ended.empty());  // it broke no rule, it is only slow
  }
}

}  // namespace
}  // namespace banyan
