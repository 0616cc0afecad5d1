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
