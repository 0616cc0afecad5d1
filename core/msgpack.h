// core/msgpack.h -- MessagePack, as much of it as our payloads use, written and read without recursion.
//
// Reading trusts nothing: one budget for bytes, elements and depth is spent, never compared, so nested
// headers cannot claim the same bytes twice. A reader fails once and stays failed: read everything, then ask
// finish().
#pragma once

#include <concepts>
#include <cstdint>
#include <string_view>

#include "core/bytes.h"

namespace banyan {

constexpr std::uint32_t kPackElementsMax = 1 << 20;  // of one message: cheap to skip, dear to build
constexpr std::uint32_t kPackDepthMax = 64;

class Packer {
 public:
  Packer& array(std::uint32_t elements);  // followed by that many values
  Packer& map(std::uint32_t pairs);       // followed by that many keys and values
  Packer& nil();
  Packer& boolean(bool value);
  template <std::integral T>
  requires(!std::same_as<T, bool>) Packer& number(T value) {
    if constexpr (std::signed_integral<T>) return signed_number(value);
    return unsigned_number(value);
  }
  Packer& text(std::string_view value);
  Packer& bytes(Bytes value);

  // What is packed then, up to so many bytes, never moves: for secrets, of which no copy may be left.
  void reserve(std::size_t bytes) { out_.reserve(bytes); }
  const Buffer& buffer() const { return out_; }
  Buffer take() { return std::move(out_); }

 private:
  Packer& unsigned_number(std::uint64_t value);
  Packer& signed_number(std::int64_t value);
  void head(std::uint8_t tag, std::uint64_t value, int width);

  Buffer out_;
};

class Unpacker {
 public:
  // `in` must outlive the reader and every view it returns. Depth is the caller's own, except in skip().
  explicit Unpacker(Bytes in);

  // Each reads one value of that type; anything else fails the reader and returns zero or empty.
  std::uint32_t array();  // at most as many as there are bytes left: safe to reserve for
  std::uint32_t map();
  std::uint64_t number(std::uint64_t max = UINT64_MAX);  // fails above max
  std::int64_t signed_number();
  bool boolean();
  std::string_view text();
  Bytes bytes();
  void skip();         // one value of any type, floats and extensions too, with all it contains
  bool next_is_nil();  // and consumes it if so

  bool ok() const { return !failed_; }
  // Everything was read, nothing was wrong, nothing is left.
  bool finish() const { return !failed_ && in_.empty() && pending_ == 0; }

 private:
  struct Head;
  Head head();
  std::uint64_t take(std::size_t width);
  bool announce(std::uint64_t values);
  Bytes contents(std::uint64_t size);
  void fail();

  Bytes in_;
  bool failed_ = false;
  std::uint32_t elements_left_ = kPackElementsMax;
  std::uint64_t pending_ = 0;  // values announced by containers and not read yet; no more than bytes are left
};

}  // namespace banyan
