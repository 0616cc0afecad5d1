// shm/array.h -- Array<Row>: rows that one process appends and any number of others read, without copies.
//
//   Store store;                                                        // one a process
//   auto bars = Array<Iohlcv>::create(store, "bars", {.capacity = 10000});   // in the process that writes
//   bars->append(bar);
//   auto same = Array<Iohlcv>::attach(store, "bars");                        // in another one
//   same->wait(same->bounds()->last, after(1s));
//   for (const Iohlcv& row : *same->last(20)) ...
//
// Row numbers are absolute and of 64 bits; readable rows are [first, last). A ring overwrites its oldest rows
// for ever. Whoever creates is the one writer: the kernel lets nobody else. A handle is a value; handles made
// from one another are of the same array. A writing handle is used by one thread at a time, a reading one by
// any number. docs/shared_memory.md has the rest.
#pragma once

#include <algorithm>
#include <concepts>
#include <memory>
#include <optional>
#include <span>
#include <stop_token>
#include <string>
#include <string_view>
#include <utility>
#include <vector>

#include "shm/record.h"
#include "shm/rows.h"
#include "shm/store.h"

namespace banyan::shm {

struct ArrayOptions {
  std::uint64_t capacity = 0;  // rows
  std::uint64_t start = 0;     // the first row's number: so much can be prepended
  Rewrites rewrites = Rewrites::kNever;
  bool ring = false;
};

// Rows that stand still, looked at where they are. Lives no longer than the Array it comes from.
template <Record Row>
struct Snapshot {
  std::uint64_t first = 0, last = 0;  // the numbers of the readable rows
  std::uint64_t generation = 0;       // of the array: another one of that name has another
  std::span<const Row> rows;          // from `first` on; without the newest if that may still change
  std::optional<Row> newest;          // a copy of it, if it may
};

template <Record Row>
struct OpenedArray;

template <Record Row>
class Array {
 public:
  // --- to have one ---

  static Result<Array> create(Store& store, const std::string& name, const ArrayOptions& options) {
    Result<std::shared_ptr<Segment>> segment =
        store.create(name, shape_of(options), descriptor_of<Row>(), options.start);
    if (!segment) return segment.error();
    Token token = token_of(**segment);
    return Array(std::move(*segment), std::move(token));
  }

  // kMismatch when it is of another record; kGone, kNotFound; kUnsafe when it could be taken away beneath us.
  static Result<Array> attach(Store& store, const Token& token) {
    if (Result<Done> right = check(token); !right) return right.error();
    Result<std::shared_ptr<Segment>> segment = store.attach(token);
    if (!segment) return segment.error();
    return Array(std::move(*segment), token);
  }
  static Result<Array> attach(Store& store, const Token& token, Descriptors descriptors) {
    if (Result<Done> right = check(token); !right) return right.error();
    Result<std::shared_ptr<Segment>> segment = store.attach(token, std::move(descriptors));
    if (!segment) return segment.error();
    return Array(std::move(*segment), token);
  }
  static Result<Array> attach(Store& store, std::string_view name) {
    Result<Token> token = store.find(name);
    if (!token) return token.error();
    return attach(store, *token);
  }

  // Attached if somebody has made it, created if nobody has; says which.
  static Result<OpenedArray<Row>> maybe_open(Store& store, const std::string& name,
                                             const ArrayOptions& options);

  const Token& token() const { return token_; }
  Result<Descriptors> share() const { return segment_->share(); }
  bool is_writer() const { return writer_ != nullptr; }
  std::uint64_t capacity() const { return reader_.shape().capacity; }

  // --- to write: kReadOnly through what was attached; everything or nothing ---

  // Returns the end of what was written: the next row's number.
  Result<std::uint64_t> append(const Row& row) {
    if (writer_ == nullptr) [[unlikely]]
      return read_only();
    return writer_->append_one<sizeof(Row), has_index<Row>()>(reinterpret_cast<const std::byte*>(&row));
  }
  // With `start`, from that row on: what was there is written anew, and the array ends behind it.
  Result<std::uint64_t> append(std::span<const Row> rows, std::optional<std::uint64_t> start = {}) {
    if (writer_ == nullptr) return read_only();
    return writer_->append(reinterpret_cast<const std::byte*>(rows.data()), rows.size(), start);
  }
  Result<std::uint64_t> prepend(std::span<const Row> rows, const PrependOptions& options = {}) {
    if (writer_ == nullptr) return read_only();
    return writer_->prepend(reinterpret_cast<const std::byte*>(rows.data()), rows.size(), options);
  }

  // Records of another kind, field by field of the same name, or as `map` says; other fields are 0. kFields.
  template <Record Other>
  Result<std::uint64_t> append_as(std::span<const Other> others, FieldMap map = {}) {
    constexpr auto kFrom = fields_of<Other>();
    constexpr auto kTo = fields_of<Row>();
    std::vector<std::pair<std::string_view, std::string_view>> pairs(map.begin(), map.end());
    if (pairs.empty())
      for (const Field& field : kTo)
        if (!(has_index<Row>() && field.name == "index")) pairs.emplace_back(field.name, field.name);
    Result<FieldPlan> plan = FieldPlan::make(kFrom, kTo, pairs);
    if (!plan) return plan.error();
    std::vector<Row> rows(others.size());
    for (std::size_t i = 0; i < others.size(); ++i)
      plan->apply(reinterpret_cast<const std::byte*>(&others[i]), reinterpret_cast<std::byte*>(&rows[i]));
    return append(rows);
  }

  // The newest row, in its place. Readers see the old one or the new one, never half of each.
  Result<Done> update_newest(const Row& row) {
    if (writer_ == nullptr) return read_only();
    return writer_->update_newest(reinterpret_cast<const std::byte*>(&row));
  }
  template <std::invocable<Row&> Change>
  Result<Done> change_newest(Change change) {
    if (writer_ == nullptr) return read_only();
    Row row{};
    if (Result<Done> read = writer_->read_newest(reinterpret_cast<std::byte*>(&row)); !read) return read;
    change(row);
    return update_newest(row);
  }

  // Which rows are readable, of those that have been written; both ends in one step.
  Result<Done> set_bounds(std::uint64_t first, std::uint64_t last) {
    if (writer_ == nullptr) return read_only();
    return writer_->set_bounds(first, last);
  }

  // --- to read ---

  Result<Bounds> bounds() const { return reader_.bounds(); }

  // The newest n rows, or as many as there are.
  Result<std::vector<Row>> last(std::uint64_t n) const {
    std::vector<Row> rows(std::min(n, capacity()));
    Result<Bounds> copied = reader_.copy_last(rows.size(), reinterpret_cast<std::byte*>(rows.data()));
    if (!copied) return copied.error();
    rows.resize(copied->size());
    return rows;
  }
  // Rows [from, to).
  Result<std::vector<Row>> copy(std::uint64_t from, std::uint64_t to) const {
    if (from > to || to - from > capacity())
      return Error{ErrorKind::kOutOfRange, "more rows than there can be"};
    std::vector<Row> rows(to - from);
    Result<Bounds> copied = reader_.copy(from, to, reinterpret_cast<std::byte*>(rows.data()));
    if (!copied) return copied.error();
    return rows;
  }
  // The same as records with some of the fields, by name: struct Prices { double open, close; }. kFields.
  template <Record Some>
  Result<std::vector<Some>> copy_as(std::uint64_t from, std::uint64_t to, FieldMap map = {}) const {
    constexpr auto kFrom = fields_of<Row>();
    constexpr auto kTo = fields_of<Some>();
    Result<FieldPlan> plan = FieldPlan::make(kFrom, kTo, map);
    if (!plan) return plan.error();
    Result<std::vector<Row>> rows = copy(from, to);
    if (!rows) return rows.error();
    std::vector<Some> some(rows->size());
    for (std::size_t i = 0; i < some.size(); ++i)
      plan->apply(reinterpret_cast<const std::byte*>(&(*rows)[i]), reinterpret_cast<std::byte*>(&some[i]));
    return some;
  }

  // All readable rows without a copy. kNotAllowed for rings and Rewrites::kAny, whose rows may change while
  // one looks.
  Result<Snapshot<Row>> snapshot() const {
    Result<Bounds> found = bounds();
    if (!found) return found.error();
    Result<std::span<const std::byte>> settled = reader_.settled(*found);
    if (!settled) return settled.error();
    Snapshot<Row> snapshot{found->first, found->last, segment_->identity().generation, {}, {}};
    snapshot.rows = {reinterpret_cast<const Row*>(settled->data()), settled->size() / sizeof(Row)};
    if (snapshot.rows.size() < found->size()) {
      snapshot.newest.emplace();
      auto* newest = reinterpret_cast<std::byte*>(&*snapshot.newest);
      if (Result<Bounds> copied = reader_.copy(found->last - 1, found->last, newest); !copied)
        return copied.error();
    }
    return snapshot;
  }

  // Until row `number` can be read; bounds()->last is the next one that will come.
  Result<Bounds> wait(std::uint64_t number, Deadline deadline = kForever,
                      const std::stop_token& stop = {}) const {
    return reader_.wait(number, deadline, stop);
  }
  // What Follower, Watch and loops that spin are made of.
  const RowReader& reader() const { return reader_; }
  const std::shared_ptr<Segment>& segment() const { return segment_; }

 private:
  Array(std::shared_ptr<Segment> segment, Token token)
      : segment_(std::move(segment)),
        reader_(segment_->reader()),
        writer_(segment_->writer()),
        token_(std::move(token)) {}

  static Shape shape_of(const ArrayOptions& options) {
    return {options.ring ? Kind::kRing : Kind::kArray,
            std::uint32_t(sizeof(Row)),
            options.capacity,
            options.rewrites,
            has_index<Row>(),
            false};
  }
  static Result<Done> check(const Token& token) {
    const Shape& shape = token.identity.shape;
    if (shape.kind != Kind::kArray && shape.kind != Kind::kRing)
      return Error{ErrorKind::kMismatch, token.identity.name + " is a " + std::string(name_of(shape.kind))};
    if (shape.row_bytes != sizeof(Row) || token.identity.descriptor != descriptor_of<Row>() ||
        shape.has_index != has_index<Row>())
      return Error{ErrorKind::kMismatch, token.identity.name + " has rows of " + token.identity.descriptor +
                                             ", not " + descriptor_of<Row>()};
    return Done{};
  }
  static Error read_only() {
    return {ErrorKind::kReadOnly, "only the process that created an array writes to it"};
  }

  std::shared_ptr<Segment> segment_;
  RowReader reader_;
  RowWriter* writer_ = nullptr;
  Token token_;
};

template <Record Row>
struct OpenedArray {
  Array<Row> array;
  bool created = false;
};

template <Record Row>
Result<OpenedArray<Row>> Array<Row>::maybe_open(Store& store, const std::string& name,
                                                const ArrayOptions& options) {
  // Twice, because somebody may create it, or end, between our look and our own creation.
  for (int tries = 2;; --tries) {
    Result<Array> attached = attach(store, name);
    if (attached) return OpenedArray<Row>{std::move(*attached), false};
    const ErrorKind why = attached.error().kind;
    if (why != ErrorKind::kNotFound && why != ErrorKind::kGone) return attached.error();
    Result<Array> created = create(store, name, options);
    if (created) return OpenedArray<Row>{std::move(*created), true};
    if (created.error().kind != ErrorKind::kExists || tries == 0) return created.error();
  }
}

}  // namespace banyan::shm
