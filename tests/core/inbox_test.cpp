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
  bool keeps = false;  // what comes in, until it is taken from `unread`
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
    header.source = link == kHostileLink ? kHostile : kHonest;
    header.destination = kUs;
    header.handle = 5'000;
    inbox.accept(link, header, payload);
  }

 private:
  void on_message(std::uint32_t, const Header& header, Bytes, Charge& charge) override {
    header.has(kAborted) ? ++aborted : ++messages;
    if (keeps) unread.push_back(std::move(charge));
  }
  void release_link(std::uint32_t, std::size_t bytes) override { released += bytes; }
  void send_control(ContextId, Handle handle, Bytes payload, Handle) override {
    if (handle != kStreamCredit) return;
    Unpacker unpacker(payload);
    CHECK(unpacker.array() == 2);
    unpacker.number(UINT32_MAX);
    credit += unpacker.number(UINT32_MAX);
  }
  void refuse_too_large(std::uint32_t, const Header&) override { ++refused; }
  void refuse_busy(std::uint32_t, const Header&) override { ++refused; }
  void refuse_stream(std::uint32_t, const Header&, bool) override { ++refused; }
};

constexpr StreamId kWaiting = 250;  // as many as may: a quarter of the budget, each with its stream's window

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
