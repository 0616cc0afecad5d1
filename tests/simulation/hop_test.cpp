// Goal: what passes through a context, or stops in it, is accounted for: every window is given back, every
// caller is answered once, and neither a child nor a parent can say what is not its to say. Method: a router
// between a parent and two children whose frames are all written by hand.

#include <catch2/catch.hpp>
#include <memory>

#include "tests/simulation/raw_hop.h"

namespace banyan {
namespace {

using namespace simulation;

constexpr ContextId kRoot = 0, kUs = 1, kChild = 2, kSibling = 3, kBeneathChild = 4, kStranger = 99;

struct Hop : RawHop {
  ErrorClass child_ended = ErrorClass::kIo, parent_ended = ErrorClass::kIo;

  static RouterConfig config() {
    return RouterConfig{.id = kUs, .sideways = Sideways::kPeers, .ancestors = {kRoot}, .inbox = {}};
  }

  explicit Hop(const RouterConfig& its_config = config()) : RawHop(1, its_config) {
    parent = add_parent([this](const Error& error) { parent_ended = error.error_class; });
    child = add_child(kChild, [this](const Error& error) { child_ended = error.error_class; });
    router.own({kChild, 3});  // and the sibling
    router.grant(kChild, {kBeneathChild, 1});
    router.add_route(kBeneathChild, kChild, kChild);
    sibling = add_child(kSibling, {});
  }
};

Header header_of(std::uint8_t flags, ContextId source, ContextId destination, StreamId stream, Handle handle,
                 Handle reply_to = kNoReply) {
  Header header;
  header.flags = flags;
  header.source = header.authority = source;
  header.destination = destination;
  header.stream = stream;
  header.handle = handle;
  header.reply_to = reply_to;
  return header;
}

// A first frame that announces `length` bytes and holds some of them.
Buffer opening(std::uint64_t length, std::size_t bytes) {
  Buffer payload(kLengthPrefixBytes + bytes);
  store_le(payload.data(), length);
  return payload;
}

constexpr std::uint8_t kWhole = kFirst | kLast;

TEST_CASE("a long message to nobody is answered dead once, at its first frame") {
  for (const ContextId nobody :
       {kStranger, kChild}) {  // from the parent: unknown; the child's own: the way back
    CAPTURE(nobody);
    Hop hop;
    RawPeer& from = nobody == kStranger ? *hop.parent : *hop.child;
    const ContextId source = nobody == kStranger ? kRoot : kBeneathChild;
    from.send(encode(header_of(kFirst, source, nobody, 7, 500, 5'000), opening(300, 100)));
    from.send(encode(header_of(0, source, nobody, 7, 500, 5'000), Buffer(100)));
    from.send(encode(header_of(kLast, source, nobody, 7, 500, 5'000), Buffer(100)));
    hop.settle();
    CHECK(dead(from, 5'000) == 1);
  }
}

TEST_CASE("messages to nobody cost their sender no window") {
  Hop hop;
  std::uint64_t sent = 0;
  while (sent < 6 << 20) {
    const Buffer frame = encode(header_of(kWhole, kRoot, kStranger, 7, 500), Buffer(10'000));
    REQUIRE(sent + frame.size() <= (2 << 20) + hop.parent->credit);
    hop.parent->send(frame);
    sent += frame.size();
    hop.settle();
  }
  CHECK(hop.parent_ended == ErrorClass::kIo);
}

TEST_CASE("a dead message is never answered, be it data or control, known or unknown where it goes") {
  Hop hop;
  for (const ContextId destination : {kUs, kStranger}) {
    hop.parent->send(encode(header_of(kWhole, kRoot, destination, 7, 500, kIsDead), Buffer(10)));
    hop.parent->send(encode(header_of(kControl | kWhole, kRoot, destination, 0, 500, kIsDead), Buffer(10)));
  }
  hop.settle();
  CHECK(dead(*hop.parent, kIsDead) == 0);
  CHECK(hop.router.counters().dead_sent == 0);
}

TEST_CASE("a parent that speaks in the name of us or of who is beneath us is cut off") {
  for (const ContextId claimed : {kUs, kChild, kBeneathChild})
    for (int which = 0; which < 2; ++which) {
      CAPTURE(claimed, which);
      Hop hop;
      bool ran = false;
      hop.router.add_handler(500, Access::anyone(), [&](Incoming&) { ran = true; });
      Header header = header_of(kWhole, kRoot, kUs, 7, 500);
      (which == 0 ? header.source : header.authority) = claimed;
      hop.parent->send(encode(header, {}));
      hop.settle();
      CHECK_FALSE(ran);
      CHECK(hop.parent_ended == ErrorClass::kProtocol);
    }
}

TEST_CASE("a child that passes on an authority from outside its subtree is cut off, and nothing runs") {
  for (const ContextId claimed : {kRoot, kUs, kSibling, kStranger, ContextId(0xffffffff)}) {
    CAPTURE(claimed);
    Hop hop;
    bool ran = false;
    hop.router.add_handler(500, Access::anyone(), [&](Incoming&) { ran = true; });
    Header header = header_of(kWhole, kBeneathChild, kUs, 7, 500);
    header.authority = claimed;
    hop.child->send(encode(header, {}));
    hop.settle();
    CHECK_FALSE(ran);
    CHECK(hop.child_ended == ErrorClass::kProtocol);
  }
}

// Long messages that are begun and never ended, each on a stream of its own.
void begin_messages(RawPeer& from, ContextId source, ContextId destination, StreamId first, StreamId count) {
  for (StreamId stream = first; stream < first + count; ++stream)
    from.send(encode(header_of(kFirst, source, destination, stream, 500, 5'000 + stream), opening(200, 100)));
}

std::size_t opened(const RawPeer& at, ContextId source) {
  std::size_t count = 0;
  for (const Header& header : at.frames) count += header.flags == kFirst && header.source == source;
  return count;
}

TEST_CASE("messages that were finished, each in its way, do not count as on their way through us") {
  RouterConfig config = Hop::config();
  config.half_way_max = 4;
  Hop hop(config);
  for (StreamId stream = 10; stream < 50; ++stream) {
    hop.child->send(encode(header_of(kFirst, kChild, kRoot, stream, 500, 5'000), opening(200, 100)));
    if (stream % 3 == 0) hop.child->send(encode(header_of(kLast, kChild, kRoot, stream, 500), Buffer(100)));
    if (stream % 3 == 1) hop.child->send(encode(header_of(kAborted | kLast, kChild, kRoot, stream, 500), {}));
    if (stream % 3 == 2) {
      hop.child->send(encode(header_of(kFirst, kChild, kRoot, stream, 500), opening(200, 100)));
      hop.child->send(encode(header_of(kLast, kChild, kRoot, stream, 500), Buffer(100)));
    }
  }
  hop.settle();
  CHECK(hop.child_ended == ErrorClass::kIo);
  CHECK(dead(*hop.child, 5'000) == 0);
}

TEST_CASE("who begins messages without end is answered busy, and neither hop nor sibling suffers for it") {
  RouterConfig config = Hop::config();
  config.half_way_max = 8;
  Hop hop(config);

  begin_messages(*hop.child, kBeneathChild, kRoot, 10, 100);
  hop.settle();
  begin_messages(*hop.child, kChild, kRoot, 200, 2);
  hop.settle();

  CHECK(hop.child_ended == ErrorClass::kIo);
  CHECK(opened(*hop.parent, kBeneathChild) == 4);  // as many as are left
  CHECK(opened(*hop.parent, kChild) == 2);
  CHECK(dead(*hop.child, 5'010) == 0);
  CHECK(dead(*hop.child, 5'020) == 1);
  CHECK(dead(*hop.child, 5'109) == 1);
  CHECK(hop.child->count(kStreamCredit) == 96);  // of what was thrown away

  // The hop's own, too: where there is no room, there is none.
  begin_messages(*hop.child, kChild, kRoot, 210, 100);
  hop.settle();
  CHECK(hop.child_ended == ErrorClass::kIo);
  CHECK(opened(*hop.parent, kBeneathChild) + opened(*hop.parent, kChild) < 8);
}

TEST_CASE("a stranger who begins messages without end to us and beneath does not cost us our parent") {
  RouterConfig config = Hop::config();
  config.half_way_max = 8;
  Hop hop(config);

  begin_messages(*hop.parent, kStranger, kChild, 10, 100);
  hop.settle();
  // The rest of one that was refused is thrown away, and what he may send given back, as of its beginning.
  hop.parent->send(encode(header_of(kLast, kStranger, kChild, 100, 500), Buffer(100)));
  begin_messages(*hop.parent, kRoot, kChild, 200, 2);
  hop.settle();

  CHECK(hop.parent_ended == ErrorClass::kIo);
  CHECK(opened(*hop.child, kStranger) == 4);
  CHECK(opened(*hop.child, kRoot) == 2);
  CHECK(dead(*hop.parent, 5'109) == 1);
  CHECK(hop.parent->count(kStreamCredit) == 97);
  CHECK(hop.router.parent_link()->held() == 0);
}

TEST_CASE(
    "messages queued for a link that breaks are answered dead, each once, and their window is given back") {
  Hop hop;
  hop.sibling->set_reading(false);
  constexpr std::size_t kMessages = 60;  // of 60,000 bytes: more than the sibling's wire and window take
  std::uint64_t sent = 0;
  for (Handle i = 0; i < kMessages; ++i) {
    const Buffer frame =
        encode(header_of(kWhole, kChild, kSibling, StreamId(10 + i), 500, 5'000 + i), Buffer(30'000));
    REQUIRE(sent + frame.size() <= (2 << 20) + hop.child->credit);
    hop.child->send(frame);
    sent += frame.size();
  }
  hop.settle();
  CHECK(hop.router.link_to(kSibling)->has_unsent());
  hop.sibling->close();
  hop.settle();
  std::size_t answered = 0;
  for (Handle i = 0; i < kMessages; ++i) {
    const std::size_t times = dead(*hop.child, 5'000 + i);
    CHECK(times <= 1);
    answered += times;
  }
  CHECK(answered > 0);  // those that had left are the sibling's to answer for
  CHECK(hop.router.link_to(kChild)->held() == 0);
}

TEST_CASE("a frame that goes on a message nobody began is dropped, and its window given back") {
  Hop hop;
  hop.child->send(encode(header_of(0, kChild, kRoot, 10, 500), Buffer(1'000)));
  hop.child->send(encode(header_of(kLast, kChild, kRoot, 10, 500), Buffer(1'000)));
  hop.child->send(encode(header_of(0, kChild, kUs, 10, 500), Buffer(1'000)));
  hop.settle();
  CHECK(hop.child_ended == ErrorClass::kIo);
  CHECK(hop.router.link_to(kChild)->held() == 0);
  for (const Header& header : hop.parent->frames) CHECK(header.has(kControl));
}

// Each frame is allowed and none is answered; the parent does not read, so they wait in us.
void flood_parent(Hop& hop, RawPeer& from, ContextId source, int frames) {
  const Buffer credit =
      encode(header_of(kControl | kWhole, source, kRoot, 0, kStreamCredit), pack_credit(10, 1, false));
  Buffer many;
  for (int i = 0; i < frames; ++i) many.insert(many.end(), credit.begin(), credit.end());
  from.send(many);
  hop.settle();
}

std::size_t credit_of(const RawPeer& at, ContextId source) {
  std::size_t count = 0;
  for (const Header& header : at.frames) count += header.handle == kStreamCredit && header.source == source;
  return count;
}

TEST_CASE(
    "a child's flood of control for a parent that does not read costs the child its link, and no other") {
  Hop hop;
  hop.parent->set_reading(false);

  flood_parent(hop, *hop.child, kChild, 40'000);

  CHECK(hop.child_ended == ErrorClass::kProtocol);
  CHECK(hop.parent_ended == ErrorClass::kIo);
  // What the sibling has to say still has room, and arrives.
  flood_parent(hop, *hop.sibling, kSibling, 1'000);
  hop.parent->set_reading(true);
  hop.settle();
  CHECK(hop.parent_ended == ErrorClass::kIo);
  CHECK(credit_of(*hop.parent, kSibling) == 1'000);
}

TEST_CASE("a flood of control from beneath a child waits until the way up takes it, and costs no link") {
  Hop hop;
  hop.parent->set_reading(false);

  flood_parent(hop, *hop.child, kBeneathChild, 40'000);

  CHECK(hop.child_ended == ErrorClass::kIo);
  CHECK(hop.router.link_to(kChild)->held() == 0);
  flood_parent(hop, *hop.sibling, kSibling, 1'000);
  // Who is not read is not silent.
  hop.world.run_for(18 * kSecond);
  CHECK(hop.child_ended == ErrorClass::kIo);
  hop.parent->set_reading(true);
  hop.settle();
  CHECK(hop.child_ended == ErrorClass::kIo);
  CHECK(credit_of(*hop.parent, kSibling) == 1'000);
  CHECK(credit_of(*hop.parent, kBeneathChild) == 40'000);
  CHECK(hop.router.counters().dropped == 0);
}

TEST_CASE("who was not read because of the parent is read when there is none any more") {
  Hop hop;
  hop.parent->set_reading(false);
  flood_parent(hop, *hop.child, kBeneathChild, 40'000);
  bool ran = false;
  hop.router.add_handler(500, Access::anyone(), [&](Incoming&) { ran = true; });
  hop.child->send(encode(header_of(kWhole, kChild, kUs, 7, 500), {}));
  hop.settle();
  CHECK_FALSE(ran);

  hop.parent->close();
  hop.settle();

  CHECK(ran);
  CHECK(hop.child_ended == ErrorClass::kIo);
}

constexpr Handle kFirstCall = 100'000;

// Calls as small as they can be; nearly all that a link's window holds.
constexpr std::size_t kCalls = 40'000;

void call(RawPeer& from, ContextId source, ContextId destination) {
  Buffer many;
  for (std::size_t i = 0; i < kCalls; ++i) {
    const Buffer one = encode(header_of(kWhole, source, destination, 0, 500, kFirstCall + i), {});
    many.insert(many.end(), one.begin(), one.end());
  }
  from.send(many);
}

std::size_t deaths(const RawPeer& at) {
  std::size_t count = 0;
  for (const Header& header : at.frames) count += header.is_dead();
  return count;
}

TEST_CASE("a hop behind which tens of thousands of calls end all at once hears of each and keeps its link") {
  Hop hop;
  hop.sibling->set_reading(false);
  call(*hop.child, kBeneathChild, kSibling);
  hop.settle();
  CHECK(deaths(*hop.child) == 0);

  hop.sibling->close();
  hop.settle();

  CHECK(hop.child_ended == ErrorClass::kIo);
  CHECK(deaths(*hop.child) > kCalls / 2);  // the others had left
  CHECK(hop.router.link_to(kChild)->held() == 0);
}

TEST_CASE("a parent above which tens of thousands of calls end all at once beneath us stays our parent") {
  Hop hop;
  hop.child->set_reading(false);
  call(*hop.parent, kRoot, kBeneathChild);
  hop.settle();

  hop.child->close();
  hop.settle();

  CHECK(hop.parent_ended == ErrorClass::kIo);
  CHECK(deaths(*hop.parent) > kCalls / 2);
}

TEST_CASE("a hop that is slow to read what its subtree made us answer hears all of it and keeps its link") {
  Hop hop;
  hop.child->set_reading(false);
  Buffer many;
  for (std::size_t i = 0; i < kCalls; ++i) {  // each a stream of its own: credit and a dead message
    const Buffer one =
        encode(header_of(kWhole, kBeneathChild, kUs, StreamId(2 + i), 500, kFirstCall + i), Buffer(1));
    many.insert(many.end(), one.begin(), one.end());
  }
  hop.child->send(many);
  hop.world.run_for(10 * kSecond);
  CHECK(hop.child_ended == ErrorClass::kIo);

  hop.child->set_reading(true);
  hop.settle();

  CHECK(hop.child_ended == ErrorClass::kIo);
  CHECK(deaths(*hop.child) == kCalls);
  CHECK(credit_of(*hop.child, kUs) == kCalls);
}

TEST_CASE("control between two children, one of which does not read, is dropped and costs neither its link") {
  Hop hop;
  hop.sibling->set_reading(false);
  const Buffer cancel =
      encode(header_of(kControl | kWhole, kChild, kSibling, 0, kCancel), simulation::pack(7));
  Buffer many;
  for (int i = 0; i < 40'000; ++i) many.insert(many.end(), cancel.begin(), cancel.end());

  hop.child->send(many);
  hop.settle();

  CHECK(hop.child_ended == ErrorClass::kIo);
  CHECK(hop.router.link_to(kSibling) != nullptr);
  CHECK(hop.router.counters().dropped > 0);
  CHECK(hop.router.counters().forwarded + hop.router.counters().dropped == 40'000);
}

}  // namespace
}  // namespace banyan
