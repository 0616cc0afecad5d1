// shm/token.h -- what another process needs to attach: which segment, whose, and what it must look like.
//
// A value. It travels as text (in a file, a log, an environment variable; a Python script splits it at the
// colons), or as a message: a MessagePack array of the same fields. Both are checked when they are read: a
// name outside the allow-list, a descriptor of another size, a number too large is kBadToken, and nothing has
// been opened. A token is no secret and grants nothing: whether a process may attach is the kernel's to say.
#pragma once

#include <cstdint>
#include <span>
#include <string>
#include <string_view>
#include <vector>

#include "shm/header.h"
#include "shm/result.h"

namespace banyan::shm {

constexpr std::size_t kTokenBytesMax = kPageBytes;  // both forms: a header's worth

struct Token {
  Identity identity;
  std::uint32_t rows_fd = 0, page_fd = 0;  // in the owner's process

  bool operator==(const Token&) const = default;

  // banyan-shm:1:NAME:KIND:FLAGS:ROW_BYTES:CAPACITY:GENERATION:PID:START:SPACE:ROWS_FD:PAGE_FD:DESCRIPTOR
  std::string to_text() const;
  static Result<Token> from_text(std::string_view text);

  std::vector<std::uint8_t> to_message() const;
  static Result<Token> from_message(std::span<const std::uint8_t> message);
};

}  // namespace banyan::shm
