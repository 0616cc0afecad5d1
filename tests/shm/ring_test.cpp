// Goal: a ring keeps the newest rows, and whoever reads too slowly is told what was lost, never given
// something else. Method: laps of a small ring; readers that come in time, late, and in the middle.

#include <catch2/catch.hpp>

#include "shm/array.h"
#include "shm/follower.h"
#include "tests/shm/check_row.h"

using namespace banyan::shm;
using namespace banyan::shm::test;

namespace {

struct Small {  // no index, and a size that no word divides
  char letters[7];
};
BANYAN_SHM_RECORD(Small, letters);

template <class Row = CheckRow>
Array<Row> create(Store& store, const ArrayOptions& options) {
  Result<Array<Row>> array = Array<Row>::create(store, "ring", options);
  if (!array) FAIL(array.error().text);
  return std::move(*array);
}

void push(Array<CheckRow>& ring, std::uint64_t count) {
  for (; count > 0; --count) {
    const std::uint64_t next = ring.bounds()->last;
    REQUIRE(*ring.append(check_row(next)) == next + 1);
  }
}

}  // namespace

TEST_CASE("a ring has the newest rows, under their own numbers, however often it went around") {
  Store store;
  Array<CheckRow> ring = create(store, {.capacity = 8, .ring = true});
  push(ring, 3);
  CHECK(ring.bounds()->first == 0);
  push(ring, 1000);
  CHECK(ring.bounds()->first == 995);
  CHECK(ring.bounds()->last == 1003);
  Result<std::vector<CheckRow>> rows = ring.last(100);
  REQUIRE(rows);
  CHECK(rows->size() == 8);
  for (std::size_t i = 0; i < rows->size(); ++i) CHECK(is_legal((*rows)[i], 995 + i));
  CHECK(ring.copy(994, 1000).error().kind == ErrorKind::kLost);
  CHECK(ring.copy(999, 1004).error().kind == ErrorKind::kOutOfRange);
  CHECK(ring.snapshot().error().kind == ErrorKind::kNotAllowed);
}

TEST_CASE("a ring takes as many rows at once as it has, and no more") {
  Store store;
  Array<CheckRow> ring = create(store, {.capacity = 8, .ring = true});
  std::vector<CheckRow> rows;
  for (std::uint64_t number = 0; number < 9; ++number) rows.push_back(check_row(number));
  CHECK(ring.append(rows).error().kind == ErrorKind::kFull);
  CHECK(ring.bounds()->last == 0);
  CHECK(*ring.append(std::span(rows).first(8)) == 8);
  CHECK(ring.last(8)->size() == 8);
  CHECK(ring.append(std::span(rows).first(1), 3).error().kind == ErrorKind::kNotAllowed);
  CHECK(ring.prepend(rows).error().kind == ErrorKind::kNotAllowed);
  CHECK(ring.set_bounds(0, 4).error().kind == ErrorKind::kNotAllowed);
}

TEST_CASE("a follower reads every row of a ring, or is told how many it missed") {
  Store store;
  Array<CheckRow> ring = create(store, {.capacity = 8, .ring = true});
  Result<Array<CheckRow>> reader = Array<CheckRow>::attach(store, ring.token());
  REQUIRE(reader);
  Follower<CheckRow> follower(*reader, 0);
  std::vector<CheckRow> rows(3);
  CHECK(follower.read(rows)->count == 0);
  push(ring, 5);
  CHECK(follower.read(rows)->count == 3);
  CHECK(follower.read(rows)->count == 2);
  push(ring, 20);
  Result<Follower<CheckRow>::Batch> batch = follower.read(rows);
  REQUIRE(batch);
  CHECK(batch->lost == 12);
  CHECK(batch->first == 17);
  CHECK(batch->count == 3);
  CHECK(is_legal(rows[0], 17));
  CHECK(follower.next() == 20);
  store.end("ring");
  CHECK(follower.wait(rows)->count == 3);
  CHECK(follower.wait(rows)->count == 2);
  CHECK(follower.wait(rows).error().kind == ErrorKind::kEnded);
}

TEST_CASE("the newest row of a ring can be written anew, if it was made for that") {
  Store store;
  Array<CheckRow> ring = create(store, {.capacity = 4, .rewrites = Rewrites::kNewest, .ring = true});
  CHECK(ring.update_newest(check_row(0)).error().kind == ErrorKind::kOutOfRange);
  push(ring, 10);
  REQUIRE(ring.update_newest(check_row(9, 3)));
  CHECK(ring.last(1)->front().version == 3);
  CHECK(is_legal(ring.last(1)->front(), 9));
}

TEST_CASE("a follower of an array that is rewritten is told so, and goes on where the rows end") {
  Store store;
  Array<CheckRow> array = create(store, {.capacity = 100, .rewrites = Rewrites::kAny});
  Follower<CheckRow> follower(array, 0);
  push(array, 10);
  std::vector<CheckRow> rows(100);
  CHECK_FALSE(follower.read(rows)->rewritten);
  const std::vector<CheckRow> anew = {check_row(5, 1)};
  REQUIRE(array.append(anew, 5));
  Result<Follower<CheckRow>::Batch> batch = follower.wait(rows);
  REQUIRE(batch);
  CHECK(batch->rewritten);
  CHECK(batch->count == 0);
  CHECK(follower.next() == 6);
}

TEST_CASE("rows of a size that is no word's go around too") {
  Store store;
  Array<Small> ring = create<Small>(store, {.capacity = 5, .ring = true});
  for (char letter = 'a'; letter <= 'z'; ++letter) {
    Small row{};
    for (char& each : row.letters) each = letter;
    REQUIRE(ring.append(row));
  }
  Result<std::vector<Small>> rows = ring.last(5);
  REQUIRE(rows);
  CHECK(std::string_view(rows->at(0).letters, 7) == "vvvvvvv");
  CHECK(std::string_view(rows->at(4).letters, 7) == "zzzzzzz");
}
