// Goal: 14 no amplification: whatever a hostile child sends, it costs no link more than the frame's own size
// and 256 bytes, and a dead message is never answered. Method: a router with its ids and its route monitor
// between a parent and two children written by hand; the seed makes frames of every kind, and after each
// what came out is weighed.

#include <catch2/catch.hpp>
#include <memory>

#include "parent/route_monitor.h"
#include "tests/simulation/raw_hop.h"
#include "tests/support/seed.h"

namespace banyan {
namespace {

using namespace simulation;

constexpr ContextId kRoot = 0, kUs = 1, kChild = 40, kSibling = 60;
constexpr std::size_t kExtra = 256;

struct Hop : RawHop {
  IdSource ids{router, {1'000, 10'000}};
  RouteMonitor routes{router, ids};
  bool is_over = false;

  explicit Hop(std::uint64_t seed)
      : RawHop(seed,
               RouterConfig{.id = kUs, .sideways = Sideways(seed % 3), .ancestors = {kRoot}, .inbox = {}}) {
    parent = add_parent([this](const Error&) { is_over = true; });
    child = grow(kChild);
    sibling = grow(kSibling);
    router.add_handler(500, Access::anyone(), [this](Incoming& in) { router.reply(in.header, {}); });
    settle();
  }

  std::unique_ptr<RawPeer> grow(ContextId id) {
    auto peer = add_child(id, [this](const Error&) { is_over = true; });
    router.own({id, 11});
    router.grant(id, {id + 1, 10});
    routes.announce(id, "child");
    return peer;
  }
};

// Without what a link gives back for what it took long ago.
std::size_t weight(const RawPeer& peer) {
  std::size_t bytes = 0;
  for (const Header& header : peer.frames)
    if (!header.has(kControl) || (header.handle != kLinkCredit && header.handle != kHeartbeat))
      bytes += header.wire_bytes();
  return bytes;
}

std::uint64_t any_number(SimWorld& world) {
  static constexpr std::uint64_t kNumbers[] = {0,          1,        2,      16,         kChild,
                                               kChild + 1, kSibling, 65'536, UINT32_MAX, UINT64_MAX};
  return kNumbers[world.below(10)];
}

Buffer any_payload(SimWorld& world, const Header& header) {
  Packer out;
  if (header.is_dead()) return Packer().array(2).number(world.below(12)).text("a lie").take();
  const std::size_t count = world.one_in(10) ? 500 : 1 + world.below(3);
  out.array(std::uint32_t(count));
  for (std::size_t i = 0; i < count; ++i) out.number(any_number(world));
  if (!header.has(kControl) && !header.has(kLast)) {
    Buffer opening(kLengthPrefixBytes + world.below(500));
    store_le<std::uint64_t>(opening.data(), any_number(world));
    return opening;
  }
  return out.take();
}

TEST_CASE("14 no amplification: a hostile frame costs no link more than its size and 256 bytes") {
  std::size_t weighed = 0;
  for (const std::uint64_t seed : test::seeds(150)) {
    CAPTURE(seed);
    Hop hop(seed);
    SimWorld& world = hop.world;
    for (int i = 0; i < 40 && !hop.is_over; ++i) {
      Header header;
      static constexpr std::uint8_t kFlags[] = {kControl | kFirst | kLast, kFirst | kLast, kFirst, 0, kLast,
                                                kLast | kAborted};
      header.flags = kFlags[world.below(6)];
      header.source = kChild + ContextId(world.one_in(8) ? world.below(12) : 0);
      header.authority = ContextId(any_number(world));
      static constexpr ContextId kDestinations[] = {kRoot,    kUs,          kChild, kChild + 1,
                                                    kSibling, kSibling + 1, 9'000,  UINT32_MAX};
      header.destination = kDestinations[world.below(8)];
      header.handle = world.one_in(4) ? 500 : 1 + world.below(19);
      header.stream = header.has(kControl) ? 0 : StreamId(world.below(4));
      header.reply_to = world.one_in(3) ? kNoReply : world.one_in(3) ? kIsDead : 1'000 + world.below(100);
      const Buffer frame = encode(header, header.has(kAborted) ? Buffer() : any_payload(world, header));
      CAPTURE(describe(header), frame.size());
      RawPeer* const peers[] = {hop.parent.get(), hop.child.get(), hop.sibling.get()};
      std::size_t before[3];
      for (int which = 0; which < 3; ++which) before[which] = weight(*peers[which]);

      hop.child->send(frame);
      hop.settle();

      if (hop.is_over) break;  // it was cut off, and the others are told
      ++weighed;
      for (int which = 0; which < 3; ++which) {
        CAPTURE(which);
        CHECK(weight(*peers[which]) - before[which] <= frame.size() + kExtra);
      }
      if (header.is_dead() && header.has(kControl)) CHECK(weight(*hop.child) == before[1]);
    }
  }
  CHECK(weighed > 500);
}

}  // namespace
}  // namespace banyan
