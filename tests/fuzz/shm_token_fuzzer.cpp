// Goal: no bytes make reading a token crash, and what was read is written as it was read.
// Method: the bytes as text and as a message; what is accepted goes through both forms and back.

#include <cstdlib>
#include <string_view>

#include "shm/record.h"
#include "shm/token.h"

using namespace banyan::shm;

namespace {

void require(bool is_true) {
  if (!is_true) std::abort();
}

void check(const Result<Token>& token) {
  if (!token) return;
  const Identity& identity = token->identity;
  require(is_name(identity.name));
  require(identity.shape.capacity <= kRowsBytesMax / identity.shape.row_bytes);
  if (identity.shape.kind == Kind::kArray || identity.shape.kind == Kind::kRing)
    require(*descriptor_bytes(identity.descriptor) == identity.shape.row_bytes);
  require(*Token::from_text(token->to_text()) == *token);
  require(*Token::from_message(token->to_message()) == *token);
}

}  // namespace

// NOLINTNEXTLINE(readability-identifier-naming): libFuzzer's choice
extern "C" int LLVMFuzzerTestOneInput(const std::uint8_t* data, std::size_t size) {
  const std::string_view text(reinterpret_cast<const char*>(data), size);
  check(Token::from_text(text));
  check(Token::from_message({data, size}));
  const Result<std::size_t> bytes = descriptor_bytes(text);
  require(!bytes || *bytes > 0);
  return 0;
}
