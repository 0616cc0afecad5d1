// Goal: what one child announces, and what it says has ended, costs itself and a bounded amount of work:
// neither its neighbours, nor the link of its parent to those above, nor their time. Method: a router with
// its ids and its route monitor between a parent and two children written by hand; steps and frames are
// counted, never time.

#include <catch2/catch.hpp>
#include <memory>

#include "parent/route_monitor.h"
#include "tests/simulation/raw_hop.h"

namespace banyan {
namespace {

using namespace simulation;

constexpr ContextId kRoot = 0, kUs = 1, kChild = 2, kSibling = 3, kFirstId = 10;
constexpr std::uint8_t kWhole = kFirst | kLast;

struct Hop : RawHop {
  IdSource ids{router, {kChild, 1'000'000}};
  RouteMonitor routes{router, ids};
  ErrorClass child_ended = ErrorClass::kIo, sibling_ended = ErrorClass::kIo, parent_ended = ErrorClass::kIo;

  explicit Hop(std::uint32_t granted, std::uint64_t seed = 1) : RawHop(seed, test::config_of(kUs, {kRoot})) {
    parent = add_parent([this](const Error& error) { parent_ended = error.error_class; });
    child = grow(kChild, child_ended);
    sibling = grow(kSibling, sibling_ended);
    router.grant(kChild, {kFirstId, granted});
    router.grant(kSibling, {kFirstId + granted, 1'000});
    settle();
  }

  std::unique_ptr<RawPeer> grow(ContextId id, ErrorClass& ended) {
    auto peer = add_child(id, [&ended](const Error& error) { ended = error.error_class; });
    routes.announce(id, "child");
    return peer;
  }
};

Buffer add_route(ContextId from, ContextId id, ContextId parent, std::string_view name = "x") {
  Header header;
  header.flags = kControl | kWhole;
  header.source = header.authority = from;
  header.destination = kUs;
  header.handle = kAddRoute;
  return encode(header, Packer().array(3).number(id).number(parent).text(name).take());
}

Buffer del_route(ContextId from, const std::vector<ContextId>& ids) {
  Header header;
  header.flags = kControl | kWhole;
  header.source = header.authority = from;
  header.destination = kUs;
  header.handle = kDelRoute;
  Packer out;
  out.array(std::uint32_t(ids.size()));
  for (const ContextId id : ids) out.number(id);
  return encode(header, out.take());
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

TEST_CASE("announcements for a parent that does not read wait at who announces, and cost nobody a link") {
  Hop hop(30'000);
  hop.parent->set_reading(false);
  const std::string name(60, 'x');  // 120 bytes each
  constexpr ContextId kCount = 20'000;

  for (ContextId i = 0; i < kCount; ++i) hop.child->send(add_route(kChild, kFirstId + i, kChild, name));
  hop.world.run_for(kSecond);

  CHECK(hop.router.routes() > 2);
  CHECK(hop.router.routes() < kCount / 2);
  // What the sibling announces has room.
  const std::size_t before = hop.router.routes();
  for (ContextId i = 0; i < 100; ++i)
    hop.sibling->send(add_route(kSibling, kFirstId + 30'000 + i, kSibling, name));
  hop.world.run_for(kSecond);
  CHECK(hop.router.routes() == before + 100);

  hop.parent->set_reading(true);
  hop.settle();
  CHECK(hop.child_ended == ErrorClass::kIo);
  CHECK(hop.parent_ended == ErrorClass::kIo);
  CHECK(hop.sibling_ended == ErrorClass::kIo);
  CHECK(hop.router.routes() == 2 + kCount + 100);
  CHECK(hop.parent->count(kAddRoute) == 2 + kCount + 100);
}

TEST_CASE("an id is announced once in its life, however it ended") {
  for (const bool in_one_round : {true, false}) {
    CAPTURE(in_one_round);
    Hop hop(1'000);
    hop.child->send(add_route(kChild, kFirstId, kChild));
    hop.settle();

    hop.child->send(del_route(kChild, {kFirstId}));
    if (!in_one_round) hop.settle();
    hop.child->send(add_route(kChild, kFirstId, kChild));
    hop.settle();

    CHECK(hop.child_ended == ErrorClass::kProtocol);
    CHECK(hop.parent->count(kAddRoute) == 3);
    CHECK(hop.parent->ended == std::vector<ContextId>{kFirstId, kChild});
  }
}

// --- ends ---

// As many contexts beneath the child, of each of whom `frames` frames wait for the parent, which does not
// read and gives no credit.
void announce_and_wait(Hop& hop, ContextId count, int frames) {
  Buffer many;
  const auto add = [&](const Buffer& bytes) { many.insert(many.end(), bytes.begin(), bytes.end()); };
  for (ContextId i = 0; i < count; ++i) add(add_route(kChild, kFirstId + i, kChild));
  hop.child->send(std::exchange(many, {}));
  hop.settle();
  // What the parent has given credit for, and what the wire takes: from here on everything waits.
  hop.parent->set_reading(false);
  Header header = data_header(5, 500);
  header.source = header.authority = kSibling;
  header.destination = kRoot;
  std::size_t used = 0;
  for (; used + 60'040 < (2u << 20); used += 60'040) add(encode(header, Buffer(60'000)));
  hop.sibling->send(std::exchange(many, {}));
  hop.settle();
  for (ContextId i = 0; i < count; ++i)
    for (int frame = 0; frame < frames; ++frame) {
      header.source = header.authority = kFirstId + i;
      add(encode(header, {}));
    }
  hop.child->send(many);
  hop.settle();
}

TEST_CASE("thousands who end together, and all wait to be heard, are one piece of work") {
  constexpr ContextId kCount = 10'000;
  Hop hop(kCount);
  announce_and_wait(hop, kCount, 1);
  CHECK(hop.router.link_to(kRoot)->queued_bytes() >= kCount * kHeaderBytes);
  const std::uint64_t walks = hop.router.counters().walks;
  CHECK(hop.parent->ended.empty());

  hop.child->close();
  hop.settle();
  hop.world.run_for(kSecond);
  hop.parent->set_reading(true);
  hop.world.run_for(kSecond);

  CHECK(hop.parent_ended == ErrorClass::kIo);
  CHECK(hop.parent->ended.size() == kCount + 1);
  CHECK(hop.parent->ended.front() == kChild);  // its own first, and 512 in a frame
  CHECK(hop.parent->count(kDelRoute) == (1 + kCount + 511) / 512);
  CHECK(hop.router.counters().walks - walks <= 12);  // every 20 ms, for a fifth of a second
}
TEST_CASE("ends that are said one by one are looked for together, and passed on together") {
  constexpr ContextId kCount = 5'000;
  Hop hop(kCount);
  for (ContextId i = 0; i < kCount; ++i) hop.child->send(add_route(kChild, kFirstId + i, kChild));
  hop.settle();
  const std::uint64_t walks = hop.router.counters().walks;

  Buffer many;
  for (ContextId i = 0; i < kCount; ++i) {
    const Buffer one = del_route(kChild, {kFirstId + i});
    many.insert(many.end(), one.begin(), one.end());
  }
  hop.child->send(many);
  hop.world.run_for(kSecond);

  CHECK(hop.child_ended == ErrorClass::kIo);
  CHECK(hop.parent->ended.size() == kCount);
  CHECK(hop.router.routes() == 2);
  CHECK(hop.router.counters().walks - walks < 50);
  CHECK(hop.parent->count(kDelRoute) < 50);
}

// So many long messages of the child half-way through us.
void begin_messages(Hop& hop, StreamId count) {
  Header header;
  header.flags = kFirst;
  header.source = header.authority = kChild;
  header.destination = kRoot;
  header.handle = 500;
  Buffer opening(kLengthPrefixBytes + 1), many;
  store_le<std::uint64_t>(opening.data(), 1'000);
  for (StreamId stream = 10; stream < 10 + count; ++stream) {
    header.stream = stream;
    const Buffer one = encode(header, opening);
    many.insert(many.end(), one.begin(), one.end());
  }
  hop.child->send(many);
  hop.settle();
}

TEST_CASE("the more an end has to be looked for, the longer until the next is, but never long") {
  Hop hop(1'000);
  for (ContextId i = 0; i < 400; ++i) hop.child->send(add_route(kChild, kFirstId + i, kChild));
  begin_messages(hop, 20'000);
  const std::uint64_t walks = hop.router.counters().walks;

  for (ContextId i = 0; i < 400; ++i) {
    hop.child->send(del_route(kChild, {kFirstId + i}));
    hop.world.run_for(kMillisecond);
  }

  CHECK(hop.child_ended == ErrorClass::kIo);
  CHECK(hop.router.counters().walks - walks <= 400 / 20 + 2);
  hop.world.run_for(100 * kMillisecond);
  CHECK(hop.parent->ended.size() == 400);
}

TEST_CASE(
    "whatever comes after the news of an end finds that it has ended, though it is not looked for yet") {
  for (std::uint64_t seed = 1; seed <= 20; ++seed) {
    CAPTURE(seed);
    Hop hop(1'000, seed);
    bool ran = false;
    hop.router.add_handler(500, Access::anyone(), [&](Incoming&) { ran = true; });
    constexpr ContextId kEnded = kFirstId, kOther = kFirstId + 1;
    for (const ContextId id : {kEnded, kOther}) hop.child->send(add_route(kChild, id, kChild));
    begin_messages(hop, 20'000);
    hop.child->send(del_route(kChild, {kOther}));  // from now on it is not looked for some time
    // Half-way to it: a message from above.
    Header header = data_header(7, 501);
    header.flags = kFirst;
    header.source = header.authority = kRoot;
    header.destination = kEnded;
    header.reply_to = 5'000;
    Buffer opening(kLengthPrefixBytes + 100);
    store_le<std::uint64_t>(opening.data(), 300);
    hop.parent->send(encode(header, opening));
    hop.settle();
    const std::uint64_t walks = hop.router.counters().walks;
    hop.child->send(del_route(kChild, {kEnded}));
    hop.settle();
    CHECK(hop.router.counters().walks == walks);
    CHECK(dead(*hop.parent, 5'000) == 0);

    header.flags = 0;
    hop.parent->send(encode(header, Buffer(100)));
    header.flags = kLast;
    hop.parent->send(encode(header, Buffer(100)));
    Header late = data_header(8, 500);
    late.source = late.authority = kEnded;
    late.destination = kUs;
    hop.child->send(encode(late, {}));
    Header call = data_header(0, 501);
    call.source = call.authority = kChild;
    call.destination = kEnded;
    call.reply_to = 6'000;
    hop.child->send(encode(call, {}));
    hop.settle();
    CHECK(hop.router.counters().walks == walks);
    CHECK(dead(*hop.parent, 5'000) == 1);
    CHECK(dead(*hop.child, 6'000) == 1);

    hop.world.run_for(200 * kMillisecond);
    CHECK(hop.router.counters().walks == walks + 1);
    CHECK(dead(*hop.parent, 5'000) == 1);
    CHECK(dead(*hop.child, 6'000) == 1);
    CHECK_FALSE(ran);
    CHECK(hop.parent->ended == std::vector<ContextId>{kOther, kEnded});
    CHECK(hop.child_ended == ErrorClass::kIo);
    // And nobody can be said to be beneath it.
    hop.child->send(add_route(kChild, kFirstId + 2, kEnded));
    hop.settle();
    CHECK(hop.child_ended == ErrorClass::kProtocol);
  }
}
}  // namespace
}  // namespace banyan
