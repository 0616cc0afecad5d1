// shm/list.h -- a list of a fixed length, whose cells hold numbers, text, bytes or nothing, and are replaced
// in place.
//
// Whoever creates it writes, others read. A cell is read as it was at one moment; several cells are several
// moments. How long a text can become is decided at creation: as long as the longest there, or as asked for.
#pragma once

#include <cstddef>
#include <cstdint>
#include <memory>
#include <span>
#include <string>
#include <string_view>
#include <variant>
#include <vector>

#include "shm/store.h"

namespace banyan::shm {

using Value = std::variant<std::monostate, bool, std::int64_t, double, std::string, std::vector<std::byte>>;

constexpr std::size_t kListLength = 1024;  // unless values say otherwise

class List {
 public:
  static Result<List> create(Store& store, const std::string& name,
                             const std::vector<Value>& values = std::vector<Value>(kListLength),
                             std::size_t text_bytes = 0);
  static Result<List> attach(Store& store, const Token& token);
  static Result<List> attach(Store& store, const Token& token, Descriptors descriptors);
  static Result<List> attach(Store& store, std::string_view name);

  const Token& token() const { return token_; }
  const std::shared_ptr<Segment>& segment() const { return segment_; }
  std::size_t size() const { return std::size_t(segment_->identity().shape.capacity); }
  std::size_t text_bytes() const;  // that a cell has room for

  // kOutOfRange.
  Result<Value> get(std::size_t index) const;
  Result<std::vector<Value>> slice(std::size_t from, std::size_t to) const;
  // kTooLong when the cell has no room, kReadOnly, kOutOfRange: then it is what it was.
  Result<Done> set(std::size_t index, const Value& value);

  // Until any cell has changed since changes() was `seen`.
  std::uint32_t changes() const { return segment_->reader().changes(); }
  Result<Done> wait_change(std::uint32_t seen, Deadline deadline = kForever,
                           const std::stop_token& stop = {}) const {
    return segment_->reader().wait_change(seen, deadline, stop);
  }

 private:
  List(std::shared_ptr<Segment> segment, Token token)
      : segment_(std::move(segment)), token_(std::move(token)) {}
  static Result<Done> check(const Token& token);
  void write(std::size_t index, const Value& value);

  std::shared_ptr<Segment> segment_;
  Token token_;
};

}  // namespace banyan::shm
