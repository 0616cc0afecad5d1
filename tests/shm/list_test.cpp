// Goal: a list's cells are replaced in place, each read whole, none beyond its room.
// Method: every type of value, then a reader against a writer that never stops.

#include "shm/list.h"

#include <catch2/catch.hpp>
#include <thread>

using namespace banyan::shm;

TEST_CASE("a list holds values of every type, and copies of slices of them") {
  Store store;
  const std::vector<Value> values = {std::monostate(),    true,
                                     std::int64_t(-5),    2.5,
                                     std::string("text"), std::vector<std::byte>(20, std::byte(7))};
  Result<List> list = List::create(store, "list", values);
  REQUIRE(list);
  Result<List> reader = List::attach(store, "list");
  REQUIRE(reader);
  CHECK(reader->size() == values.size());
  CHECK(reader->text_bytes() == 24);
  CHECK(*reader->slice(0, 6) == values);
  CHECK(*reader->slice(2, 4) == std::vector<Value>{std::int64_t(-5), 2.5});
  CHECK(reader->slice(2, 7).error().kind == ErrorKind::kOutOfRange);
  CHECK(reader->get(6).error().kind == ErrorKind::kOutOfRange);
}

TEST_CASE("a cell takes another value, as long as there is room, and only from the owner") {
  Store store;
  Result<List> list = List::create(store, "list", {std::string("short"), 1.0}, 10);
  REQUIRE(list);
  Result<List> reader = List::attach(store, list->token());
  REQUIRE(reader);
  REQUIRE(list->set(1, std::string("sixteen letters!")));
  CHECK(list->set(1, std::string("seventeen letters")).error().kind == ErrorKind::kTooLong);
  CHECK(std::get<std::string>(*reader->get(1)) == "sixteen letters!");
  CHECK(list->set(2, 1.0).error().kind == ErrorKind::kOutOfRange);
  CHECK(reader->set(0, 1.0).error().kind == ErrorKind::kReadOnly);
}

TEST_CASE("a list without values is 1024 empty cells") {
  Store store;
  Result<List> list = List::create(store, "list");
  REQUIRE(list);
  CHECK(list->size() == 1024);
  CHECK(*list->get(1023) == Value());
}

TEST_CASE("a cell that is replaced while it is read is read as one value or the other") {
  Store store;
  Result<List> list = List::create(store, "list", {std::string(200, 'a')});
  REQUIRE(list);
  Result<List> reader = List::attach(store, list->token());
  REQUIRE(reader);
  std::jthread writing([&](const std::stop_token& stop) {
    for (int i = 0; !stop.stop_requested(); ++i) {
      (void)list->set(0, std::string(std::size_t(100 + i % 100), char('a' + i % 26)));
      if (i % 16 == 0) std::this_thread::yield();
    }
  });
  for (int i = 0; i < 2000; ++i) {
    Result<Value> value = reader->get(0);
    REQUIRE(value);
    const std::string text = std::get<std::string>(*value);
    REQUIRE(text == std::string(text.size(), text[0]));
  }
}
