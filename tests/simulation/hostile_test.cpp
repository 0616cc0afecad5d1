// Goal: a hostile child costs bounded memory and its own progress, nobody else's.
// Method: a router with an honest child and one whose frames are written by hand; then what the honest one
// tries must work as if it were alone.

#include <catch2/catch.hpp>
#include <memory>

#include "core/router.h"
#include "tests/simulation/sim_loop.h"
#include "tests/support/routers.h"

namespace banyan {
namespace {

using test::config_of;
using test::make_link;

constexpr Handle kSink = 600;
constexpr ContextId kHostile = 1, kHonest = 2;

struct Family {
  SimWorld world;
  SimLoop& loop;
  SimLoop& honest_loop;
  SimLoop& hostile_loop;
  Router root, honest;
  int hostile_fd = -1;
  std::string hostile_ended;
  std::size_t received = 0, messages = 0;  // of the honest child
  std::size_t whole = 0, aborted = 0;      // of the hostile one

  explicit Family(std::uint64_t seed)
      : world(seed),
        loop(world.add_loop()),
        honest_loop(world.add_loop()),
        hostile_loop(world.add_loop()),
        root(loop, config_of(0, {})),
        honest(honest_loop, config_of(kHonest, {0})) {
    const auto [down, up] = world.make_pair(loop, honest_loop);
    root.add_child(make_link(loop, down, root, false), kHonest, {});
    honest.set_parent(make_link(honest_loop, up, honest, true), {});
    const auto [ours, theirs] = world.make_pair(loop, hostile_loop);
    hostile_fd = theirs;
    root.add_child(make_link(loop, ours, root, false), kHostile,
                   [this](const Error& error) { hostile_ended = error.text; });
    root.add_handler(kSink, Access::anyone(), [this](Incoming& message) {
      if (message.header.source == kHostile) {
        aborted += message.header.has(kAborted);
        whole += !message.header.has(kAborted);
        return;
      }
      received += message.payload.size();
      ++messages;
    });
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

  void write(std::uint8_t flags, StreamId stream, const Buffer& payload) {
    Header header;
    header.flags = flags;
    header.stream = stream;
    header.handle = kSink;
    write(header, payload);
  }
  // Begins a message of that length, and sends a hundred bytes of it.
  void begin_message(StreamId stream, std::uint64_t length) {
    Buffer payload(kLengthPrefixBytes + 100);
    store_le(payload.data(), length);
    write(kFirst, stream, payload);
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

TEST_CASE("a long message that ends before its length is thrown away, and so is one that goes beyond it") {
  Family family(1);
  family.begin_message(10, 1'000);
  family.write(kLast, 10, Buffer(100));
  family.begin_message(11, 1'000);
  family.write(kLast, 11, Buffer(901));
  family.begin_message(12, 1'000);
  family.write(0, 12, Buffer(500));
  family.write(kLast, 12, Buffer(400));
  CHECK(family.world.run_until_idle());
  CHECK(family.whole == 1);
  CHECK(family.hostile_ended.empty());
}

TEST_CASE("a message begun and broken off, by an abort or by another, gives its reservation back") {
  Family family(2);
  for (StreamId stream = 10; stream < 20; ++stream) {
    family.begin_message(stream, kMessageMax);
    family.begin_message(stream, kMessageMax);
    family.write(kAborted | kLast, stream, {});
  }
  CHECK(family.world.run_until_idle());
  CHECK(family.aborted == 10);
  // More than a stream's window, so it arrives only if it finds its reservation.
  family.begin_message(30, 200'100);
  for (int i = 0; i < 20; ++i) {
    family.write(i < 19 ? 0 : kLast, 30, Buffer(10'000));
    CHECK(family.world.run_until_idle());
  }
  CHECK(family.whole == 1);
  CHECK(family.hostile_ended.empty());
}

TEST_CASE("when a link breaks, whoever reads a stream from behind it hears that it was cut off") {
  Family family(3);
  family.write(kFirst | kLast, 10, Buffer(100));
  family.write(kFirst | kLast, 11, Buffer(100));
  family.write(kFirst | kLast, 11, {});                    // ended well
  family.write(kFirst | kLast, kCallStream, Buffer(100));  // no stream that could end
  CHECK(family.world.run_until_idle());
  CHECK(family.whole == 4);
  family.world.cut(family.hostile_loop, family.hostile_fd);
  CHECK(family.world.run_until_idle());
  CHECK(family.aborted == 1);
}

}  // namespace
}  // namespace banyan
