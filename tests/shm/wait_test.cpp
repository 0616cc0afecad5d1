// Goal: who waits is woken, whatever it waits for; and nobody waits for what will not come.
// Method: real processes that write, end, die or keep silent, and requests to stop.

#include <poll.h>
#include <catch2/catch.hpp>

#include <thread>

#include "shm/array.h"
#include "shm/watch.h"
#include "tests/shm/check_row.h"
#include "tests/shm/peers.h"

using namespace banyan::shm;
using namespace banyan::shm::test;

namespace {

Array<CheckRow> attach(Store& store, const std::string& token) {
  Result<Token> read = Token::from_text(token);
  if (!read) FAIL(token);
  Result<Array<CheckRow>> array = Array<CheckRow>::attach(store, *read);
  if (!array) FAIL(array.error().text);
  return std::move(*array);
}

bool becomes_readable(int descriptor) {
  pollfd ready{descriptor, POLLIN, 0};
  return ::poll(&ready, 1, 30000) == 1;
}

}  // namespace

TEST_CASE("a wait returns with the row, with the end, or with the owner's death") {
  Store store;
  for (const std::string last : {"end", "crash"}) {
    Peer owner({"own", "rows", "never", "16"});
    const Array<CheckRow> array = attach(store, owner.line());
    owner.say("append 3");
    Result<Bounds> found = array.wait(2, after(kAnswerIn));
    REQUIRE(found);
    CHECK(found->last == 3);
    owner.say(last);
    found = array.wait(3, after(kAnswerIn));
    REQUIRE_FALSE(found);
    CHECK(found.error().kind == (last == "end" ? ErrorKind::kEnded : ErrorKind::kOwnerDied));
    // What was there still is.
    CHECK(array.wait(2));
    CHECK(array.last(3)->size() == 3);
    owner.wait();
  }
  CHECK(store.sweep());
}

TEST_CASE("a wait ends at its deadline, and at once when it is told to stop") {
  Store store;
  Result<Array<CheckRow>> array = Array<CheckRow>::create(store, "rows", {8});
  REQUIRE(array);
  CHECK(array->wait(0, after(milliseconds(20))).error().kind == ErrorKind::kTimeout);
  CHECK(array->wait(0, Clock::now()).error().kind == ErrorKind::kTimeout);
  std::stop_source stop;
  ErrorKind kind = ErrorKind::kSystem;
  std::jthread waiting([&] { kind = array->wait(0, kForever, stop.get_token()).error().kind; });
  stop.request_stop();
  waiting.join();
  CHECK(kind == ErrorKind::kCancelled);
}

TEST_CASE("a change of the newest row wakes who waits for changes") {
  Store store;
  Result<Array<CheckRow>> array = Array<CheckRow>::create(store, "rows", {8, 0, Rewrites::kNewest});
  REQUIRE(array);
  REQUIRE(array->append(check_row(0)));
  Result<Array<CheckRow>> reader = Array<CheckRow>::attach(store, array->token());
  REQUIRE(reader);
  const std::uint32_t seen = reader->reader().changes();
  bool woken = false;
  std::jthread waiting([&] { woken = bool(reader->reader().wait_change(seen, after(kAnswerIn))); });
  REQUIRE(array->update_newest(check_row(0, 1)));
  waiting.join();
  CHECK(woken);
}

TEST_CASE("a loop is told of changes by a descriptor, of each one that comes after it has acknowledged") {
  Store store;
  Peer owner({"own", "rows", "never", "16"});
  const Array<CheckRow> array = attach(store, owner.line());
  Result<std::unique_ptr<Watch>> watch = Watch::start(array.segment());
  REQUIRE(watch);
  for (std::uint64_t rows = 1; rows <= 5; ++rows) {
    owner.say("append 1");
    CHECK(owner.line() == "appended");
    while (array.bounds()->last < rows) {
    }
    REQUIRE(becomes_readable((*watch)->descriptor()));
    (*watch)->acknowledge();
  }
  owner.say("crash");
  CHECK(becomes_readable((*watch)->descriptor()));
  owner.wait();
  CHECK(*store.sweep() == 1);
}

TEST_CASE("a callback is called for changes, and not after its watch is gone") {
  Store store;
  Result<Array<CheckRow>> array = Array<CheckRow>::create(store, "rows", {100});
  REQUIRE(array);
  std::atomic<int> calls = 0;
  {
    Result<std::unique_ptr<Watch>> watch = Watch::start(array->segment(), [&] {
      ++calls;
      calls.notify_all();
    });
    REQUIRE(watch);
    REQUIRE(array->append(check_row(0)));
    calls.wait(0);
  }
  const int before = calls;
  REQUIRE(array->append(check_row(1)));
  CHECK(calls == before);
}

TEST_CASE("a reader that dies asleep costs its writer one wake-up, not one for each row") {
  Store store;
  Result<Array<CheckRow>> array = Array<CheckRow>::create(store, "rows", {100});
  REQUIRE(array);
  Peer reader({"wait", array->token().to_text()});
  REQUIRE(reader.line() == "ready");
  const std::atomic<std::uint32_t>& asleep = array->segment()->page().asleep;
  while (asleep == 0) std::this_thread::yield();
  reader.kill();
  reader.wait();
  CHECK(asleep == 1);
  REQUIRE(array->append(check_row(0)));
  CHECK(asleep == 0);
}
