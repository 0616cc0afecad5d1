// Goal: a token survives both its forms, and what is no token is refused before anything is opened.
// Method: round trips; then each byte of both forms is changed or cut off.

#include "shm/token.h"

#include <catch2/catch.hpp>

#include "shm/records.h"

using namespace banyan::shm;

namespace {

Token sample() {
  Token token;
  token.identity.name = "bars.1m";
  token.identity.shape = {Kind::kArray, sizeof(Iohlcv), 1382400, Rewrites::kNewest, true, false};
  token.identity.owner = {4711, 123456789, 4026531836};
  token.identity.generation = 0xfedcba9876543210;
  token.identity.descriptor = descriptor_of<Iohlcv>();
  token.rows_fd = 7;
  token.page_fd = 8;
  return token;
}

std::string with(std::size_t field, const std::string& text) {
  std::string changed = sample().to_text();
  std::size_t begin = 0;
  for (; field > 0; --field) begin = changed.find(':', begin) + 1;
  return changed.replace(begin, changed.find(':', begin) - begin, text);
}

}  // namespace

TEST_CASE("a token is the same after a journey as text or as a message") {
  const Token token = sample();
  CHECK(token.to_text() ==
        "banyan-shm:1:bars.1m:1:5:64:1382400:18364758544493064720:4711:123456789:4026531836:7:8:" +
            descriptor_of<Iohlcv>());
  CHECK(*Token::from_text(token.to_text()) == token);
  CHECK(*Token::from_message(token.to_message()) == token);
}

TEST_CASE("a token that contradicts itself or would lead elsewhere is refused") {
  REQUIRE(Token::from_text(with(2, "other")));
  for (const std::string& name :
       {std::string(), std::string("../x"), std::string("a/b"), std::string(".hidden"), std::string("-x"),
        std::string("a b"), std::string("x\n"), std::string("\xc3\xa4"), std::string("x\0y", 3),
        std::string(49, 'x')})
    CHECK_FALSE(Token::from_text(with(2, name)));
  for (const char* size : {"0", "63", "65", "-64", "+64", "064", "18446744073709551616", "", "64 "})
    CHECK_FALSE(Token::from_text(with(5, size)));
  CHECK_FALSE(Token::from_text(with(3, "9")));
  CHECK_FALSE(Token::from_text(with(4, "32")));
  CHECK_FALSE(Token::from_text(with(6, "0")));
  CHECK_FALSE(Token::from_text(with(6, "18446744073709551615")));
  CHECK_FALSE(Token::from_text(with(7, "0")));
  CHECK_FALSE(Token::from_text(with(8, "0")));
  CHECK_FALSE(Token::from_text(with(11, "4294967295")));
  CHECK_FALSE(Token::from_text(with(1, "2")));
  CHECK_FALSE(Token::from_text(std::string(5000, 'x')));
}

TEST_CASE("a message that is cut off or has more behind it is refused") {
  const std::vector<std::uint8_t> message = sample().to_message();
  for (std::size_t length = 0; length < message.size(); ++length)
    REQUIRE_FALSE(Token::from_message(std::span(message).first(length)));
  std::vector<std::uint8_t> longer = message;
  longer.push_back(0);
  CHECK_FALSE(Token::from_message(longer));
  for (std::size_t at = 0; at < message.size(); ++at) {
    std::vector<std::uint8_t> changed = message;
    changed[at] ^= 0x80;
    Result<Token> token = Token::from_message(changed);
    if (token) REQUIRE(token->to_text() != sample().to_text());
  }
}
