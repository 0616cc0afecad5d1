// Goal: short texts come out as a reader expects, without a formatting library.
// Method: each kind of part once, and the numbers at the edges of their types.
#include "core/text.h"

#include <catch2/catch.hpp>

#include <cstdint>
#include <limits>

using namespace banyan;

TEST_CASE("cat joins strings, characters and integers in order") {
  CHECK(cat("read ", 5, std::string(" bytes"), '.') == "read 5 bytes.");
  CHECK(cat() == "");
}

TEST_CASE("cat writes the smallest and largest integers whole") {
  CHECK(cat(std::numeric_limits<std::int64_t>::min()) == "-9223372036854775808");
  CHECK(cat(std::numeric_limits<std::uint64_t>::max()) == "18446744073709551615");
}

TEST_CASE("hex64 always writes sixteen digits") {
  CHECK(hex64(0) == "0000000000000000");
  CHECK(hex64(0xfedcba9876543210) == "fedcba9876543210");
}

TEST_CASE("cat tells an empty text from a number, and a character from a small number") {
  CHECK(cat(std::string_view(), 0, 'a', std::uint8_t(7), std::int8_t(-7)) == "0a7-7");
}

TEST_CASE("parse_hex reads what hex64 writes, and stops at what is no digit") {
  CHECK(parse_hex(hex64(0xfedcba9876543210)) == 0xfedcba9876543210);
  CHECK(parse_hex("1f") == 0x1f);
  CHECK(parse_hex("1f-2") == 0x1f);
  CHECK(parse_hex("") == 0);
}

TEST_CASE("take_number reads numbers one after the other") {
  std::string_view text = "12 345 x7";
  CHECK(take_number(text) == 12);
  CHECK(take_number(text) == 345);
  CHECK(take_number(text) == 0);
  CHECK(text == "x7");
}
