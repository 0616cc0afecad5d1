// Goal: what one process pushes others read, rows and counters being what the arithmetic says, never less.
// Method: real processes (peer/peer.cpp) over real shared memory; the rows know what they must hold.

#include "shm/array.h"

#include <catch2/catch.hpp>
#include <cstring>

#include "shm/records.h"
#include "tests/shm/check_row.h"
#include "tests/shm/peers.h"

using namespace banyan::shm;
using namespace banyan::shm::test;

namespace {

struct Prices {
  double close = 0, open = 0;
};
BANYAN_SHM_RECORD(Prices, close, open);

struct Tick {
  std::int64_t when = 0;
  double price = 0;
  float size = 0;
};
BANYAN_SHM_RECORD(Tick, when, price, size);

using Rows = std::vector<CheckRow>;

Rows rows_from(std::uint64_t from, std::uint64_t count, std::uint64_t version = 0) {
  Rows rows;
  for (std::uint64_t number = from; number < from + count; ++number)
    rows.push_back(check_row(number, version));
  return rows;
}

Array<CheckRow> create(Store& store, const ArrayOptions& options, const std::string& name = "rows") {
  Result<Array<CheckRow>> array = Array<CheckRow>::create(store, name, options);
  if (!array) FAIL(array.error().text);
  return std::move(*array);
}

Array<CheckRow> attach(Store& store, const Token& token) {
  Result<Array<CheckRow>> array = Array<CheckRow>::attach(store, token);
  if (!array) FAIL(array.error().text);
  return std::move(*array);
}

template <class T>
ErrorKind kind_of(const Result<T>& result) {
  REQUIRE_FALSE(result);
  return result.error().kind;
}

bool has(const Array<CheckRow>& array, std::uint64_t first, std::uint64_t last) {
  Result<Bounds> bounds = array.bounds();
  if (!bounds || bounds->first != first || bounds->last != last) return false;
  Result<Rows> rows = array.copy(first, last);
  if (!rows || rows->size() != last - first) return false;
  for (std::size_t i = 0; i < rows->size(); ++i)
    if (!is_legal((*rows)[i], first + i)) return false;
  return true;
}

}  // namespace

TEST_CASE("another process reads what this one wrote, one row, 64 and 1024 at a time") {
  Store store;
  Array<CheckRow> array = create(store, {4096});
  Peer peer({"read", array.token().to_text()});
  REQUIRE(peer.line() == "ready");

  std::uint64_t end = 0;
  for (const std::uint64_t count : {1, 64, 1024}) {
    REQUIRE(array.append(rows_from(end, count)));
    end += count;
    peer.say(std::to_string(count));
    CHECK(peer.line() == std::to_string(count) + " " + std::to_string(end));
  }
  peer.close_input();
  CHECK(peer.wait() == 0);
}

TEST_CASE("a process finds an array by its name, and its rows one by one as they come") {
  Store store;
  Array<CheckRow> array = create(store, {100});
  Peer peer({"wait", "rows"});
  REQUIRE(peer.line() == "ready");

  for (std::uint64_t row = 0; row < 50; ++row) {
    REQUIRE(array.append(check_row(row)));
    REQUIRE(peer.line() == "row " + std::to_string(row));
  }
  store.end("rows");
  CHECK(peer.line() == "ended");
}

TEST_CASE("the numbers of rows begin at the start, and end where appends do") {
  Store store;
  Array<CheckRow> array = create(store, {100, 60});
  CHECK(has(array, 60, 60));

  CHECK(*array.append(check_row(60)) == 61);
  CHECK(*array.append(rows_from(61, 9)) == 70);
  CHECK(*array.append(Rows{}) == 70);
  CHECK(has(array, 60, 70));
  CHECK(array.last(3)->front().index == 67);
  CHECK(array.last(1000)->size() == 10);
  CHECK(array.last(0)->empty());
}

TEST_CASE("rows go before the first one, or before the row that is named, row 0 included") {
  Store store;
  Array<CheckRow> array = create(store, {100, 10});
  REQUIRE(array.append(rows_from(10, 5)));

  CHECK(*array.prepend(rows_from(6, 4)) == 10);
  CHECK(has(array, 6, 15));
  CHECK(*array.prepend(Rows{}) == 6);
  // Start 0 is a row like others: nothing fits before it.
  CHECK(kind_of(array.prepend(rows_from(0, 1), {.start = 0})) == ErrorKind::kFull);
  CHECK(kind_of(array.prepend(rows_from(0, 7))) == ErrorKind::kFull);
  CHECK(has(array, 6, 15));
  CHECK(*array.prepend(rows_from(0, 6)) == 6);
  CHECK(has(array, 0, 15));
}

TEST_CASE("rows prepended silently are read once the bounds say so, and never before") {
  Store store;
  Array<CheckRow> array = create(store, {100, 10});
  REQUIRE(array.append(rows_from(10, 5)));

  CHECK(*array.prepend(rows_from(7, 3), {.silently = true}) == 10);
  CHECK(*array.prepend(rows_from(5, 2), {.start = 7, .silently = true}) == 7);
  CHECK(has(array, 10, 15));
  CHECK(kind_of(array.copy(5, 10)) == ErrorKind::kOutOfRange);
  CHECK(kind_of(array.set_bounds(4, 15)) == ErrorKind::kOutOfRange);
  CHECK(kind_of(array.set_bounds(5, 16)) == ErrorKind::kOutOfRange);
  REQUIRE(array.set_bounds(5, 15));
  CHECK(has(array, 5, 15));
  CHECK(kind_of(array.prepend(rows_from(0, 2), {.start = 2, .silently = true})) == ErrorKind::kOutOfRange);
}

TEST_CASE("a start inside writes rows anew and takes back those behind them") {
  Store store;
  Array<CheckRow> array = create(store, {100, 10, Rewrites::kAny});
  REQUIRE(array.append(rows_from(10, 10)));
  const std::uint64_t rewritten = array.bounds()->rewritten;

  CHECK(*array.append(rows_from(14, 3, 1), 14) == 17);
  CHECK(has(array, 10, 17));
  CHECK(array.copy(14, 15)->front().version == 1);
  CHECK(array.bounds()->rewritten != rewritten);
  CHECK(kind_of(array.append(rows_from(9, 1), 9)) == ErrorKind::kOutOfRange);
  CHECK(kind_of(array.append(rows_from(18, 1), 18)) == ErrorKind::kOutOfRange);
  CHECK(has(array, 10, 17));
  // The same from the other end.
  CHECK(*array.prepend(rows_from(11, 3, 2), {.start = 14}) == 14);
  CHECK(has(array, 11, 17));
  CHECK(array.copy(11, 12)->front().version == 2);
  REQUIRE(array.set_bounds(10, 20));
  CHECK(has(array, 10, 20));
  REQUIRE(array.set_bounds(15, 15));
  CHECK(has(array, 15, 15));
  CHECK(*array.append(rows_from(40, 2), 40) == 42);
  CHECK(has(array, 40, 42));
}

TEST_CASE("rows of an array that was not made for it are never written anew") {
  Store store;
  Array<CheckRow> array = create(store, {100, 10});
  REQUIRE(array.append(rows_from(10, 10)));
  CHECK(kind_of(array.append(rows_from(14, 3), 14)) == ErrorKind::kNotAllowed);
  CHECK(kind_of(array.prepend(rows_from(11, 3), {.start = 14})) == ErrorKind::kNotAllowed);
  CHECK(kind_of(array.set_bounds(10, 19)) == ErrorKind::kNotAllowed);
  CHECK(kind_of(array.set_bounds(11, 20)) == ErrorKind::kNotAllowed);
  CHECK(kind_of(array.update_newest(check_row(19))) == ErrorKind::kNotAllowed);
  CHECK(has(array, 10, 20));
}

TEST_CASE("what does not fit is refused whole, also a single row") {
  Store store;
  Array<CheckRow> array = create(store, {8, 2});
  CHECK(kind_of(array.append(rows_from(2, 7))) == ErrorKind::kFull);
  CHECK(has(array, 2, 2));
  REQUIRE(array.append(rows_from(2, 6)));
  CHECK(kind_of(array.append(check_row(8))) == ErrorKind::kFull);
  CHECK(kind_of(array.append(rows_from(8, 1))) == ErrorKind::kFull);
  CHECK(*array.append(Rows{}) == 8);
  CHECK(has(array, 2, 8));
}

TEST_CASE("the array writes the index, whatever was pushed, and has written it before any row") {
  Store store;
  Array<CheckRow> array = create(store, {8, 2});
  Result<Array<CheckRow>> reader = Array<CheckRow>::attach(store, array.token());
  REQUIRE(reader);
  for (std::uint64_t row = 0; row < 8; ++row) {
    std::uint64_t index = 99;
    std::memcpy(&index, reader->segment()->rows() + row * sizeof(CheckRow), sizeof index);
    CHECK(index == row);
  }
  CheckRow wrong = check_row(2);
  wrong.index = 77;
  REQUIRE(array.append(wrong));
  REQUIRE(array.append(Rows(3, wrong)));
  CHECK(array.last(4)->at(0).index == 2);
  CHECK(array.last(4)->at(3).index == 5);
}

TEST_CASE("a snapshot looks at rows where they are, and has a copy of a newest one that may change") {
  Store store;
  Array<CheckRow> still = create(store, {100}, "still");
  Array<CheckRow> live = create(store, {100, 0, Rewrites::kNewest}, "live");
  for (Array<CheckRow>* array : {&still, &live}) REQUIRE(array->append(rows_from(0, 10)));
  Array<CheckRow> other = attach(store, still.token());

  Result<Snapshot<CheckRow>> whole = other.snapshot();
  REQUIRE(whole);
  CHECK(whole->rows.size() == 10);
  CHECK_FALSE(whole->newest);
  CHECK(static_cast<const void*>(whole->rows.data()) == other.segment()->rows());
  CHECK(whole->generation == still.token().identity.generation);

  REQUIRE(live.update_newest(check_row(9, 5)));
  Result<Snapshot<CheckRow>> most = attach(store, live.token()).snapshot();
  REQUIRE(most);
  CHECK(most->first == 0);
  CHECK(most->last == 10);
  CHECK(most->rows.size() == 9);
  CHECK(most->newest->version == 5);
  REQUIRE(live.change_newest([](CheckRow& row) { row = check_row(9, row.version + 1); }));
  CHECK(live.last(1)->front().version == 6);
}

TEST_CASE("fields are picked by name, renamed, and named when they do not match") {
  Store store;
  Result<Array<Iohlcv>> bars = Array<Iohlcv>::create(store, "bars", {16});
  REQUIRE(bars);
  std::vector<Ohlcv> given(3);
  for (std::size_t i = 0; i < given.size(); ++i)
    given[i] = {std::int64_t(i), 1, 2, 3, 4.5, double(10 * i), 7};
  REQUIRE(bars->append_as<Ohlcv>(given));
  CHECK(bars->last(1)->front().index == 2);
  CHECK(bars->last(1)->front().volume == 20);

  Result<std::vector<Prices>> prices = bars->copy_as<Prices>(1, 3);
  REQUIRE(prices);
  CHECK(prices->size() == 2);
  CHECK(prices->at(1).close == 4.5);
  CHECK(prices->at(1).open == 1);

  const std::vector<Tick> ticks = {{11, 12.5, 3}};
  Result<std::uint64_t> refused = bars->append_as<Tick>(ticks);
  CHECK(kind_of(refused) == ErrorKind::kFields);
  CHECK(refused.error().text == "fields that are missing: time, open, high, low, close, volume, bar_wap");
  constexpr std::pair<std::string_view, std::string_view> kMap[] = {{"when", "time"}, {"price", "close"}};
  REQUIRE(bars->append_as<Tick>(ticks, kMap));
  CHECK(bars->last(1)->front().time == 11);
  CHECK(bars->last(1)->front().close == 12.5);
  CHECK(bars->last(1)->front().open == 0);
  constexpr std::pair<std::string_view, std::string_view> kUnknown[] = {{"when", "date"}};
  CHECK(bars->append_as<Tick>(ticks, kUnknown).error().text == "fields that are unknown: date");
  constexpr std::pair<std::string_view, std::string_view> kOther[] = {{"size", "volume"}};
  CHECK(bars->append_as<Tick>(ticks, kOther).error().text == "fields of another type: volume");
}

TEST_CASE("a push through what was attached is refused, by us and by the kernel") {
  Store store;
  Array<CheckRow> array = create(store, {8});
  REQUIRE(array.append(check_row(0)));
  const std::string token = array.token().to_text();

  Peer pushes({"push", token});
  CHECK(pushes.line() == "read only");
  CHECK(pushes.line() == "read only");
  CHECK(pushes.wait() == 0);
  for (const char* what : {"rows", "counters"}) {
    Peer scribbles({"scribble", token, what});
    CHECK(scribbles.line() == "ready");
    CHECK(scribbles.wait() == -SIGSEGV);
  }
  Peer maps({"scribble", token, "mapping"});
  CHECK(maps.line() == "ready");
  CHECK(maps.line() == "refused");
  CHECK(maps.wait() == 0);
  CHECK(has(array, 0, 1));
}

TEST_CASE("a push makes no system call while nobody sleeps") {
  Peer writer({"confined", "rows"});
  CHECK(writer.line() == "pushed");
  CHECK(writer.wait() == 0);
  CHECK(*Store().sweep() == 1);
}

TEST_CASE("maybe_open creates what nobody has made, and attaches what somebody has") {
  Store store;
  Result<OpenedArray<CheckRow>> first = Array<CheckRow>::maybe_open(store, "rows", {100});
  REQUIRE(first);
  CHECK(first->created);
  REQUIRE(first->array.append(rows_from(0, 10)));
  Store other;
  for (Store* each : {&store, &other}) {
    Result<OpenedArray<CheckRow>> again = Array<CheckRow>::maybe_open(*each, "rows", {5});
    REQUIRE(again);
    CHECK_FALSE(again->created);
    CHECK(again->array.capacity() == 100);
    CHECK(has(again->array, 0, 10));
    CHECK(kind_of(again->array.append(check_row(10))) == ErrorKind::kReadOnly);
  }
  Result<OpenedArray<Ohlcv>> wrong = Array<Ohlcv>::maybe_open(other, "rows", {5});
  CHECK(kind_of(wrong) == ErrorKind::kMismatch);
}

TEST_CASE("a name is made once, and again after its end") {
  Store store, other;
  {
    Array<CheckRow> array = create(store, {8});
    CHECK(kind_of(Array<CheckRow>::create(store, "rows", {8})) == ErrorKind::kExists);
    CHECK(kind_of(Array<CheckRow>::create(other, "rows", {8})) == ErrorKind::kExists);
  }
  // Not with the handle's scope.
  CHECK(Array<CheckRow>::attach(other, "rows"));
  CHECK(store.end("rows"));
  CHECK_FALSE(store.end("rows"));
  CHECK(kind_of(Array<CheckRow>::attach(other, "rows")) == ErrorKind::kNotFound);
  CHECK(Array<CheckRow>::create(other, "rows", {8}));
}
