// Goal: what a frame costs does not depend on how many messages are half-way here, whoever began them; and
// windows widen for those who are read as fast as they send.
// Method: an inbox alone, fed frame by frame; it counts how many waiting messages it has looked at, and the
// test the credit it gives.

#include "core/inbox.h"

#include <catch2/catch.hpp>
#include <utility>
#include <vector>

#include "core/msgpack.h"

using namespace banyan;

namespace {

constexpr std::uint32_t kHostileLink = 1, kHonestLink = 2;
constexpr ContextId kUs = 0, kHostile = 1, kHonest = 2;

struct Desk final : private Inbox::Owner {
  WindowBudget budget;
  Inbox inbox{*this, budget, InboxLimits{}};
  std::size_t messages = 0, aborted = 0, refused = 0, released = 0;
  std::size_t looks = 0;     // asked for
  std::size_t begun_as = 0;  // the source of what comes on the hostile link, beyond kHostile
  bool takes = true;         // false: nobody listens
  bool keeps = false;        // what comes in, until it is taken from `unread`
  std::vector<Charge> unread;
  std::uint64_t credit = 0;

  void first(std::uint32_t link, StreamId stream, std::uint64_t total) {
    Buffer payload(kLengthPrefixBytes);
    store_le(payload.data(), total);
    frame(link, kFirst, stream, payload);
  }
  void frame(std::uint32_t link, std::uint8_t flags, StreamId stream, const Buffer& payload) {
    Header header;
    header.flags = flags;
    header.length = std::uint32_t(payload.size());
    header.stream = stream;
    header.source = link == kHostileLink ? kHostile + ContextId(begun_as) : kHonest;
    header.destination = kUs;
    header.handle = 5'000;
    inbox.accept(link, header, payload);
  }

 private:
  bool on_message(std::uint32_t, const Header& header, Bytes, Charge& charge) override {
    header.has(kAborted) ? ++aborted : ++messages;
    if (keeps) unread.push_back(std::move(charge));
    return takes;
  }
  void release_link(std::uint32_t, std::size_t bytes) override { released += bytes; }
  void send_control(ContextId, Handle handle, Bytes payload, Handle) override {
    if (handle != kStreamCredit) return;
    Unpacker unpacker(payload);
    CHECK(unpacker.array() == 3);
    unpacker.number(UINT32_MAX);
    credit += unpacker.number(UINT32_MAX);
    CHECK(unpacker.number(1) == 0);
  }
  void refuse(std::uint32_t, const Header&, Refusal) override { ++refused; }
  void look_later() override { ++looks; }
};

constexpr StreamId kWaiting =
    250;  // nearly as many as may: a quarter of the budget, each with its stream's window

void begin_many(Desk& desk) {
  for (StreamId i = 0; i < kWaiting; ++i) desk.first(kHostileLink, kFirstFreeStream + i, kMessageMax);
}

}  // namespace

TEST_CASE("a message begun anew costs the same, however many messages wait") {
  Desk desk;
  begin_many(desk);
  const std::uint64_t before = desk.inbox.waits_looked_at();
  CHECK(before <= 4 * kWaiting);

  constexpr std::uint64_t kRestarts = 5'000;
  for (std::uint64_t i = 0; i < kRestarts; ++i)
    desk.first(kHostileLink, kFirstFreeStream + StreamId(i * 7'919 % kWaiting), kMessageMax);

  CHECK(desk.inbox.waits_looked_at() - before <= 4 * kRestarts);
  CHECK(desk.refused == 0);
}

TEST_CASE("a link cut off with hundreds of messages half-way costs a few looks for each") {
  Desk desk;
  begin_many(desk);
  const std::uint64_t before = desk.inbox.waits_looked_at();

  desk.inbox.cut(kHostileLink);

  CHECK(desk.inbox.waits_looked_at() - before <= 4 * kWaiting);
  CHECK(desk.aborted == kWaiting);
  CHECK(desk.inbox.streams() == 0);
  CHECK(desk.inbox.assembly_used() == 0);
}

TEST_CASE("an inbox whose owner ends gives no credit, neither for messages half-way nor for unread ones") {
  Desk desk;
  desk.keeps = true;
  begin_many(desk);
  desk.frame(kHonestLink, kFirst | kLast, 10, Buffer(60'000));
  REQUIRE(desk.unread.size() == 1);
  const std::uint64_t credit = desk.credit, released = desk.released;

  desk.inbox.close();
  desk.unread.clear();
  desk.inbox.cut(kHostileLink);

  CHECK(desk.credit == credit);
  CHECK(desk.released == released);
}

TEST_CASE("messages of one link reserve in the order they began, and other links do not wait for them") {
  Desk desk;
  begin_many(desk);
  CHECK(desk.inbox.assembly_used() == kMessageMax);  // a link's share holds one of them
  desk.first(kHonestLink, 10, 1'000'000);
  desk.first(kHonestLink, 11, 1'000'000);
  CHECK(desk.inbox.assembly_used() == kMessageMax + 2'000'000);

  // The first of the many is broken off: the second has its place.
  desk.frame(kHostileLink, kAborted | kLast, kFirstFreeStream, {});
  CHECK(desk.inbox.assembly_used() == kMessageMax + 2'000'000);
  // What waits in the middle may go, too.
  desk.frame(kHostileLink, kAborted | kLast, kFirstFreeStream + 100, {});
  CHECK(desk.inbox.assembly_used() == kMessageMax + 2'000'000);

  desk.inbox.cut(kHostileLink);
  CHECK(desk.inbox.assembly_used() == 2'000'000);
}

TEST_CASE("links that found the budget full take turns as it empties") {
  Desk desk;
  InboxLimits limits;
  limits.assembly_budget = 8'000'000;  // a link's share: 2,000,000
  desk.inbox.set_limits(limits);
  for (std::uint32_t link = 10; link < 14; ++link) desk.first(link, 10 + link, 2'000'000);
  CHECK(desk.inbox.assembly_used() == 8'000'000);

  desk.first(20, 50, 1'500'000);
  desk.first(20, 51, 500'000);
  desk.first(21, 60, 1'000'000);
  CHECK(desk.inbox.assembly_used() == 8'000'000);

  desk.inbox.cut(10);  // link 20's first, but not link 21's, and 20's second only after that
  CHECK(desk.inbox.assembly_used() == 7'500'000);
  desk.inbox.cut(11);
  CHECK(desk.inbox.assembly_used() == 7'000'000);
  desk.inbox.cut(20);
  desk.inbox.cut(21);
  desk.inbox.cut(12);
  desk.inbox.cut(13);
  CHECK(desk.inbox.assembly_used() == 0);
}

TEST_CASE("sources of one link take turns, however many messages one of them began before") {
  Desk desk;
  begin_many(desk);
  desk.begun_as = 1;
  desk.first(kHostileLink, 10, 1'000'000);
  desk.first(kHostileLink, 11, 2'000'000);
  desk.begun_as = 2;
  desk.first(kHostileLink, 10, 3'000'000);
  desk.begun_as = 0;

  // The one that has its place ends.
  CHECK(desk.inbox.assembly_used() == kMessageMax);
  desk.frame(kHostileLink, kAborted | kLast, kFirstFreeStream, {});
  CHECK(desk.inbox.assembly_used() == 4'000'000);
  desk.begun_as = 1;
  desk.frame(kHostileLink, kAborted | kLast, 10, {});
  desk.begun_as = 2;
  desk.frame(kHostileLink, kAborted | kLast, 10, {});
  CHECK(desk.inbox.assembly_used() == kMessageMax);
  desk.begun_as = 0;
  desk.frame(kHostileLink, kAborted | kLast, kFirstFreeStream + 1, {});
  CHECK(desk.inbox.assembly_used() == 2'000'000);
}

TEST_CASE("of what may wait for its place one source leaves as much to others") {
  Desk desk;
  for (StreamId i = 0; i < 1'000; ++i) desk.first(kHostileLink, kFirstFreeStream + i, kMessageMax);
  CHECK(desk.refused > 700);
  const std::size_t before = desk.refused;

  desk.begun_as = 1;
  for (StreamId i = 0; i < 40; ++i) desk.first(kHostileLink, kFirstFreeStream + i, 1'000'000);

  CHECK(desk.refused == before);
}

TEST_CASE("a place that is not used is lost at the second look, if others wait; one that is used is not") {
  Desk desk;
  desk.first(kHostileLink, 10, kMessageMax);
  CHECK(desk.looks == 0);
  desk.first(kHonestLink, 10, kMessageMax);
  desk.first(kHonestLink, 11, 1'000'000);
  CHECK(desk.looks == 1);

  for (std::size_t look = 1; look < 20; ++look) {
    for (int i = 0; i < 5; ++i) desk.frame(kHonestLink, 0, 10, Buffer(60'000));
    desk.inbox.look_at_progress();
    CHECK(desk.looks == 1 + look);
  }
  CHECK(desk.refused == 0);  // nobody waits for the hostile one's place
  desk.first(kHostileLink, 11, 1'000'000);
  for (int i = 0; i < 5; ++i) desk.frame(kHonestLink, 0, 10, Buffer(60'000));
  desk.inbox.look_at_progress();
  CHECK(desk.refused == 0);
  desk.inbox.look_at_progress();

  CHECK(desk.refused == 2);
  CHECK(desk.aborted == 2);
  CHECK(desk.inbox.assembly_used() == 2'000'000);
  // What still comes of it is thrown away, and neither begins nor ends anything.
  desk.frame(kHonestLink, 0, 10, Buffer(60'000));
  desk.frame(kHonestLink, kFirst | kLast, 10, Buffer(10));
  desk.frame(kHonestLink, kAborted | kLast, 10, {});
  CHECK(desk.messages == 0);
  CHECK(desk.aborted == 2);
  CHECK(desk.inbox.streams() == 3);
  desk.frame(kHonestLink, kAborted | kLast, 11, {});
  desk.frame(kHostileLink, kAborted | kLast, 11, {});
  desk.inbox.look_at_progress();
  CHECK(desk.looks == 22);  // there is nothing to look at any more
}

TEST_CASE("one source has half of a link's streams at most, and calls and replies are not counted") {
  Desk desk;
  InboxLimits limits;
  limits.streams_max = 100;
  desk.inbox.set_limits(limits);
  for (StreamId i = 0; i < 1'000; ++i) desk.frame(kHostileLink, kFirst | kLast, i, Buffer(1));
  CHECK(desk.messages == 52);
  desk.begun_as = 1;
  for (StreamId i = 0; i < 1'000; ++i) desk.frame(kHostileLink, kFirst | kLast, i, Buffer(1));
  CHECK(desk.messages == 52 + 27);
  desk.begun_as = 2;
  desk.frame(kHostileLink, kFirst | kLast, 10, Buffer(1));
  CHECK(desk.messages == 52 + 27 + 1);

  // What one has ended is free.
  desk.begun_as = 0;
  const std::size_t refused = desk.refused;
  desk.frame(kHostileLink, kFirst | kLast, 2, {});
  desk.frame(kHostileLink, kFirst | kLast, 5'000, Buffer(1));
  CHECK(desk.refused == refused + 1);  // he has more than are free
  desk.inbox.cut(kHostileLink);
  desk.frame(kHostileLink, kFirst | kLast, 5'000, Buffer(1));
  CHECK(desk.refused == refused + 1);
}

TEST_CASE("of a stream that nobody took no window is kept, and what it sent is given back") {
  Desk desk;
  desk.takes = false;
  constexpr std::uint32_t kStreams = 20'000;
  for (StreamId i = 0; i < kStreams; ++i)
    desk.frame(kHostileLink, kFirst | kLast, kFirstFreeStream + i, Buffer(60));
  CHECK(desk.messages == kStreams);
  CHECK(desk.inbox.streams() == 0);
  CHECK(desk.credit == kStreams * (60 + kHeaderBytes));

  // Taken before, it stays until what was taken is given back.
  desk.takes = desk.keeps = true;
  desk.frame(kHostileLink, kFirst | kLast, 10, Buffer(60));
  desk.takes = desk.keeps = false;
  desk.frame(kHostileLink, kFirst | kLast, 10, Buffer(60));
  CHECK(desk.inbox.streams() == 1);
}

constexpr FlowKey kFlow{kHonest, kUs, kFirstFreeStream};
constexpr std::uint32_t kMessages = 16;  // fill the window to the last byte
const std::uint32_t kMessageBytes = InboxLimits{}.stream_window / kMessages;

void send_message(Desk& desk) {
  desk.frame(kHonestLink, kFirst | kLast, kFlow.stream, Buffer(kMessageBytes - kHeaderBytes));
}

TEST_CASE("a window widens for a sender that waits, though what he sent is read a moment after he said so") {
  Desk desk;
  desk.keeps = true;
  const std::uint64_t budget = desk.budget.left;
  for (std::uint32_t i = 0; i < kMessages; ++i) send_message(desk);
  desk.inbox.on_blocked(kFlow);
  CHECK(desk.credit == 0);

  desk.unread.clear();

  CHECK(desk.credit > kMessages * kMessageBytes * 7 / 4);  // the last quarter is given when it is full
  CHECK(desk.budget.left == budget - kMessages * kMessageBytes);
}

TEST_CASE("a window stays as it is when the sender had more to send before his data was read") {
  Desk desk;
  desk.keeps = true;
  const std::uint64_t budget = desk.budget.left;
  for (std::uint32_t i = 0; i < kMessages; ++i) send_message(desk);
  std::uint64_t read = 0;
  for (int round = 0; round < 20; ++round) {
    desk.inbox.on_blocked(kFlow);
    for (std::uint32_t i = 0; i < kMessages / 4; ++i, read += kMessageBytes) desk.unread.pop_back();
    CHECK(desk.credit == read);  // a quarter of the window
    for (std::uint32_t i = 0; i < kMessages / 4; ++i) send_message(desk);
  }

  desk.unread.clear();

  CHECK(desk.refused == 0);
  CHECK(desk.credit == read + kMessages * kMessageBytes);
  CHECK(desk.budget.left == budget);
}
