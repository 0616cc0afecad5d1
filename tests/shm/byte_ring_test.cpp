// Goal: bytes arrive whole and in order through a ring of any size, nobody overruns anybody, and each side
// learns of the other's end. Method: messages longer and shorter than the ring, between real processes and
// between threads.

#include "shm/byte_ring.h"

#include <catch2/catch.hpp>
#include <thread>

#include "tests/shm/peers.h"

using namespace banyan::shm;
using namespace banyan::shm::test;

namespace {

using Message = std::vector<std::byte>;

std::unique_ptr<ByteRingWriter> create(Store& store, std::uint64_t bytes) {
  Result<std::unique_ptr<ByteRingWriter>> ring = ByteRingWriter::create(store, "ring", bytes);
  if (!ring) FAIL(ring.error().text);
  return std::move(*ring);
}

std::unique_ptr<ByteRingReader> attach(Store& store, const Token& token) {
  Result<std::unique_ptr<ByteRingReader>> ring = ByteRingReader::attach(store, token);
  if (!ring) FAIL(ring.error().text);
  return std::move(*ring);
}

}  // namespace

TEST_CASE("messages cross a small ring whole, those longer than the ring too, and then comes the end") {
  for (const char* bytes : {"64", "1000", "65536"}) {
    Store store;
    Peer sender({"send", "ring", bytes, "3500", "close"});
    const auto ring = attach(store, *Token::from_text(sender.line()));
    for (std::uint64_t i = 0; i < 3500; ++i) {
      Result<std::optional<Message>> message = ring->read_message(kMessageMax, after(kAnswerIn));
      REQUIRE(message);
      REQUIRE(*message);
      REQUIRE(**message == Message(i % 3000, std::byte(i)));
    }
    CHECK(sender.line() == "sent");
    Result<std::optional<Message>> end = ring->read_message(kMessageMax, after(kAnswerIn));
    REQUIRE(end);
    CHECK_FALSE(*end);
    CHECK(sender.wait() == 0);
  }
}

TEST_CASE("a reader takes what it asked for and no more, and 0 is the end") {
  Store store;
  const auto writer = create(store, 100);
  const auto reader = attach(store, writer->token());
  const Message bytes(90, std::byte('x'));
  REQUIRE(writer->write(bytes));
  CHECK(*writer->try_write(bytes) == 10);
  CHECK(*writer->try_write(bytes) == 0);
  Message out(64);
  CHECK(*reader->read_some(std::span(out).first(7)) == 7);
  CHECK(*reader->read_some(out) == 64);
  CHECK(*reader->read_some(out) == 29);
  REQUIRE(writer->write(std::span(bytes).first(3)));
  writer->close();
  CHECK(writer->try_write(bytes).error().kind == ErrorKind::kEnded);
  CHECK(reader->read_exactly(std::span(out).first(5)).error().kind == ErrorKind::kEnded);
  CHECK(*reader->read_some(out) == 0);
}

TEST_CASE("a message beyond the limit is named and left where it is") {
  Store store;
  const auto writer = create(store, 1000);
  const auto reader = attach(store, writer->token());
  REQUIRE(writer->write_message(Message(500)));
  CHECK(reader->read_message(499).error().kind == ErrorKind::kTooLong);
  CHECK(reader->read_message(500)->value().size() == 500);
}

TEST_CASE(
    "a blocked reader and a blocked writer are cancelled, and go on afterwards as if nothing had been") {
  Store store;
  const auto writer = create(store, 64);
  const auto reader = attach(store, writer->token());
  CHECK(reader->read_message(100, after(milliseconds(20))).error().kind == ErrorKind::kTimeout);
  ErrorKind kind = ErrorKind::kSystem;
  {
    std::jthread reading(
        [&](const std::stop_token& stop) { kind = reader->read_message(100, kForever, stop).error().kind; });
  }
  CHECK(kind == ErrorKind::kCancelled);
  REQUIRE(writer->write_message(Message(50, std::byte(1))));
  CHECK(writer->write_message(Message(50, std::byte(2)), after(milliseconds(20))).error().kind ==
        ErrorKind::kTimeout);
  {
    std::jthread writing([&](const std::stop_token& stop) {
      kind = writer->write_message(Message(50, std::byte(3)), kForever, stop).error().kind;
    });
  }
  CHECK(kind == ErrorKind::kCancelled);
  CHECK(reader->read_message()->value() == Message(50, std::byte(1)));
  REQUIRE(writer->write_message(Message(50, std::byte(4))));
  CHECK(reader->read_message()->value() == Message(50, std::byte(4)));
}

TEST_CASE("a writer that waits is woken when there is room") {
  Store store;
  const auto writer = create(store, 64);
  const auto reader = attach(store, writer->token());
  constexpr int kMessages = 3000;
  std::jthread writing([&] {
    for (int i = 0; i < kMessages; ++i)
      (void)writer->write_message(Message(std::size_t(i % 60), std::byte(i)), after(kAnswerIn));
  });
  const auto began = Clock::now();
  for (int i = 0; i < kMessages; ++i)
    REQUIRE(reader->read_message(100, after(kAnswerIn))->value() ==
            Message(std::size_t(i % 60), std::byte(i)));
  CHECK(Clock::now() - began < seconds(20));  // each lost wake-up would cost kLookAgain
}

TEST_CASE("a ring has one reader at a time, and a later one goes on where the first stopped") {
  Store store, other;
  const auto writer = create(store, 64);
  auto reader = attach(store, writer->token());
  CHECK(ByteRingReader::attach(store, "ring").error().kind == ErrorKind::kBusy);
  CHECK(ByteRingReader::attach(other, "ring").error().kind == ErrorKind::kBusy);
  REQUIRE(writer->write_message(Message(10)));
  REQUIRE(writer->write_message(Message(11)));
  CHECK(reader->read_message()->value().size() == 10);
  reader.reset();
  CHECK(writer->write_message(Message(12)).error().kind == ErrorKind::kGone);
  reader = attach(other, writer->token());
  CHECK(reader->read_message()->value().size() == 11);
  CHECK(writer->write_message(Message(12)));
}

TEST_CASE("what a dead writer wrote is read, and then its death is told") {
  Store store;
  Peer sender({"send", "ring", "65536", "20", "die"});
  const auto ring = attach(store, *Token::from_text(sender.line()));
  CHECK(sender.line() == "sent");
  sender.say("now");
  CHECK(sender.wait() == -SIGKILL);
  for (std::uint64_t i = 0; i < 20; ++i) REQUIRE(ring->read_message()->value().size() == i);
  CHECK(ring->read_message().error().kind == ErrorKind::kOwnerDied);
  CHECK(*store.sweep() == 1);
}

TEST_CASE("counters that cannot be are an error on either side") {
  Store store;
  const auto writer = create(store, 64);
  const auto reader = attach(store, writer->token());
  writer->segment()->page().taken = 5;
  CHECK(writer->try_write(Message(1)).error().kind == ErrorKind::kCorrupt);
  writer->segment()->own_header().last = 65;
  Message out(10);
  CHECK(reader->read_some(out).error().kind == ErrorKind::kCorrupt);
}
