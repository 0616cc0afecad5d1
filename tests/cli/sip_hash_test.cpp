// Goal: the hash that tells outputs apart is SipHash-2-4-128, in whatever pieces it is fed.
// Method: values that another implementation gives (`openssl mac -macopt size:16 SIPHASH`), and random
// splits.
#include "cli/sip_hash.h"

#include <catch2/catch.hpp>
#include <random>
#include <string>

#include "core/text.h"
#include "tests/support/seed.h"

using namespace banyan;
using namespace banyan::cli;

namespace {

constexpr SipHash::Key kKey = {0x0706050403020100, 0x0f0e0d0c0b0a0908};

std::string hash_of(std::string_view text) {
  SipHash hash(kKey);
  hash.feed(text);
  return cat(hex64(__builtin_bswap64(hash.digest()[0])), hex64(__builtin_bswap64(hash.digest()[1])));
}

}  // namespace

TEST_CASE("the hash is the one that others compute") {
  CHECK(hash_of("") == "a3817f04ba25a8e66df67214c7550293");
  CHECK(hash_of(std::string(1, '\0')) == "da87c1d86b99af44347659119b22fc45");
  CHECK(hash_of("12345678") == "86da31e21d1241e0e933a215f9e2faae");
  CHECK(hash_of("the same output on every host\n") == "92fc5ff12c8c6bcac4da77902772c99b");
}

TEST_CASE("the hash is the same in whatever pieces the text comes") {
  std::mt19937 random{unsigned(test::seed())};
  std::string text;
  for (int i = 0; i < 500; ++i) text += char(random());
  for (int round = 0; round < 50; ++round) {
    SipHash hash(kKey);
    for (std::string_view left = text; !left.empty();) {
      const std::size_t take = std::min<std::size_t>(left.size(), 1 + random() % 20);
      hash.feed(left.substr(0, take));
      left.remove_prefix(take);
    }
    SipHash whole(kKey);
    whole.feed(text);
    REQUIRE(hash.digest() == whole.digest());
  }
}
