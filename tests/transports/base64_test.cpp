// Goal: base64 is everybody's, and each sequence of bytes has one text.
// Method: the vectors of RFC 4648, and texts with something more or less.
#include "transports/base64.h"

#include <catch2/catch.hpp>

using namespace banyan;

TEST_CASE("base64 is that of RFC 4648, both ways") {
  const char* pairs[][2] = {{"", ""},
                            {"f", "Zg=="},
                            {"fo", "Zm8="},
                            {"foo", "Zm9v"},
                            {"foob", "Zm9vYg=="},
                            {"fooba", "Zm9vYmE="},
                            {"\xff\xfe\xfb", "//77"}};
  for (const auto& [plain, encoded] : pairs) {
    CHECK(encode_base64(as_bytes(plain)) == encoded);
    const std::optional<Buffer> decoded = decode_base64(encoded);
    REQUIRE(decoded);
    CHECK(as_text(*decoded) == plain);
  }
  CHECK(encode_base64(as_bytes("f"), Padding::kWithout) == "Zg");
}

TEST_CASE("base64 with anything more or less is refused") {
  for (const std::string_view text : {"Z", "Zg", "Zg=", "Zg===", "====", "=", "Zm9v=", "Zm9v====", "Z===",
                                      "Zm 9", "Zm9\n", "Zm9-", "Zm=v", "Zh==", "Zm9=", "Zm8=Zm8="}) {
    CAPTURE(text);
    CHECK_FALSE(decode_base64(text));
  }
}
