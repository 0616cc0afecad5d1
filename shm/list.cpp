#include "shm/list.h"

#include <algorithm>
#include <cstring>
#include <thread>

#include "shm/record.h"
#include "shm/words.h"

namespace banyan::shm {
namespace {

// Before the bytes of each cell. `version` is odd while the rest is being written.
struct CellHead {
  std::uint64_t version = 0;
  std::uint32_t type = 0;  // the index of Value
  std::uint32_t length = 0;
};
constexpr std::size_t kHeadBytes = sizeof(CellHead);
constexpr std::size_t kTextBytesMax = 1 << 20;  // of one cell: copied whole at each look
constexpr std::chrono::seconds kPatience{1};

std::string descriptor_with(std::size_t bytes) {
  const Field fields[] = {{"version", 0, 'u', 8, 0},
                          {"type", 8, 'u', 4, 0},
                          {"length", 12, 'u', 4, 0},
                          {"data", kHeadBytes, 'S', bytes, 0}};
  return descriptor_text(fields, kHeadBytes + bytes);
}

std::span<const std::byte> bytes_of(const Value& value) {
  return std::visit(
      [](const auto& held) -> std::span<const std::byte> {
        using Held = std::decay_t<decltype(held)>;
        if constexpr (std::is_same_v<Held, std::monostate>)
          return {};
        else if constexpr (std::is_arithmetic_v<Held>)
          return std::as_bytes(std::span(&held, 1));
        else
          return std::as_bytes(std::span(held));
      },
      value);
}

template <class T>
bool take_number(std::span<const std::byte> bytes, Value& out) {
  T value{};
  if (bytes.size() != sizeof value) return false;
  std::memcpy(&value, bytes.data(), sizeof value);
  out = value;
  return true;
}

// From a copy of a cell. Whoever wrote it is not believed: false when it makes no sense.
bool take_value(const CellHead& head, std::span<const std::byte> bytes, Value& out) {
  if (head.length > bytes.size()) return false;
  bytes = bytes.first(head.length);
  switch (head.type) {
    case 0:
      return true;
    case 1:
      if (bytes.size() != 1) return false;
      out = bytes[0] != std::byte(0);
      return true;
    case 2:
      return take_number<std::int64_t>(bytes, out);
    case 3:
      return take_number<double>(bytes, out);
    case 4:
      out.emplace<4>(reinterpret_cast<const char*>(bytes.data()), bytes.size());
      return true;
    case 5:
      out.emplace<5>(bytes.begin(), bytes.end());
      return true;
    default:
      return false;
  }
}

const std::uint64_t* version_at(const std::byte* cell) {
  return reinterpret_cast<const std::uint64_t*>(cell);
}

}  // namespace

Result<List> List::create(Store& store, const std::string& name, const std::vector<Value>& values,
                          std::size_t text_bytes) {
  std::size_t width = std::max<std::size_t>(text_bytes, 8);
  for (const Value& value : values) width = std::max(width, bytes_of(value).size());
  if (width > kTextBytesMax) return Error{ErrorKind::kTooLong, "a cell of more than a mebibyte"};
  width = (width + 7) / 8 * 8;
  const Shape shape{Kind::kList, std::uint32_t(kHeadBytes + width), values.size(), Rewrites::kNever, false,
                    false};
  Result<std::shared_ptr<Segment>> segment = store.create(name, shape, descriptor_with(width));
  if (!segment) return segment.error();
  Token token = token_of(**segment);
  List list(std::move(*segment), std::move(token));
  for (std::size_t i = 0; i < values.size(); ++i) list.write(i, values[i]);
  return list;
}

Result<Done> List::check(const Token& token) {
  const Shape& shape = token.identity.shape;
  if (shape.kind != Kind::kList)
    return Error{ErrorKind::kMismatch,
                 token.identity.name + " is a " + std::string(name_of(shape.kind)) + ", no list"};
  if (shape.row_bytes % 8 != 0 || shape.row_bytes < kHeadBytes + 8 ||
      shape.row_bytes > kHeadBytes + kTextBytesMax ||
      token.identity.descriptor != descriptor_with(shape.row_bytes - kHeadBytes))
    return Error{ErrorKind::kMismatch, token.identity.name + " has cells of an unknown kind"};
  return Done{};
}

Result<List> List::attach(Store& store, const Token& token) {
  if (Result<Done> right = check(token); !right) return right.error();
  Result<std::shared_ptr<Segment>> segment = store.attach(token);
  if (!segment) return segment.error();
  return List(std::move(*segment), token);
}

Result<List> List::attach(Store& store, const Token& token, Descriptors descriptors) {
  if (Result<Done> right = check(token); !right) return right.error();
  Result<std::shared_ptr<Segment>> segment = store.attach(token, std::move(descriptors));
  if (!segment) return segment.error();
  return List(std::move(*segment), token);
}

Result<List> List::attach(Store& store, std::string_view name) {
  Result<Token> token = store.find(name);
  if (!token) return token.error();
  return attach(store, *token);
}

std::size_t List::text_bytes() const {
  return segment_->identity().shape.row_bytes - kHeadBytes;
}

Result<Value> List::get(std::size_t index) const {
  if (index >= size())
    return Error{ErrorKind::kOutOfRange, "cell " + std::to_string(index) + " of " + std::to_string(size())};
  const std::size_t bytes = segment_->identity().shape.row_bytes;
  const std::byte* cell = segment_->rows() + index * bytes;
  std::vector<std::byte> copy(bytes);
  const Deadline deadline = Clock::now() + kPatience;
  for (;;) {
    const std::uint64_t version = __atomic_load_n(version_at(cell), __ATOMIC_ACQUIRE);
    if (version % 2 == 0) {
      load_words<std::uint64_t>(copy.data(), cell, bytes);
      std::atomic_thread_fence(std::memory_order_acquire);
      if (__atomic_load_n(version_at(cell), __ATOMIC_RELAXED) == version) break;
    }
    if (!segment_->is_ours() && !segment_->owner_lives())
      return Error{ErrorKind::kOwnerDied, "the owner died while it wrote that cell"};
    if (Clock::now() > deadline) return Error{ErrorKind::kBusy, "that cell is being written all the time"};
    std::this_thread::yield();
  }
  CellHead head;
  std::memcpy(&head, copy.data(), sizeof head);
  Value value;
  if (!take_value(head, std::span(copy).subspan(kHeadBytes), value))
    return Error{ErrorKind::kCorrupt, "a cell that holds what cannot be"};
  return value;
}

Result<std::vector<Value>> List::slice(std::size_t from, std::size_t to) const {
  if (from > to || to > size()) return Error{ErrorKind::kOutOfRange, "cells that there are not"};
  std::vector<Value> values;
  for (std::size_t index = from; index < to; ++index) {
    Result<Value> value = get(index);
    if (!value) return value.error();
    values.push_back(std::move(*value));
  }
  return values;
}

Result<Done> List::set(std::size_t index, const Value& value) {
  if (!segment_->is_ours())
    return Error{ErrorKind::kReadOnly, "only the process that created a list writes to it"};
  if (segment_->header().ended.load(std::memory_order_relaxed) != 0)
    return Error{ErrorKind::kEnded, "a write after the end"};
  if (index >= size())
    return Error{ErrorKind::kOutOfRange, "cell " + std::to_string(index) + " of " + std::to_string(size())};
  if (bytes_of(value).size() > text_bytes())
    return Error{ErrorKind::kTooLong, std::to_string(bytes_of(value).size()) + " bytes for a cell of " +
                                          std::to_string(text_bytes())};
  write(index, value);
  Bell(segment_->own_header(), segment_->page(), segment_->identity().shape.writer_fences).ring();
  return Done{};
}

// REQUIRES: it is ours, and fits.
void List::write(std::size_t index, const Value& value) {
  const std::size_t bytes = segment_->identity().shape.row_bytes;
  std::byte* cell = segment_->own_rows() + index * bytes;
  const std::span<const std::byte> contents = bytes_of(value);
  std::vector<std::byte> image(bytes);
  CellHead head{__atomic_load_n(version_at(cell), __ATOMIC_RELAXED) + 1, std::uint32_t(value.index()),
                std::uint32_t(contents.size())};
  std::memcpy(image.data(), &head, sizeof head);
  if (!contents.empty()) std::memcpy(image.data() + kHeadBytes, contents.data(), contents.size());
  auto* version = reinterpret_cast<std::uint64_t*>(cell);
  __atomic_store_n(version, head.version, __ATOMIC_RELAXED);
  std::atomic_thread_fence(std::memory_order_release);
  store_words<std::uint64_t>(cell + 8, image.data() + 8, bytes - 8);
  __atomic_store_n(version, head.version + 1, __ATOMIC_RELEASE);
}

}  // namespace banyan::shm
