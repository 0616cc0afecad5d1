// Goal: SSH's strings and numbers are read as they were written, and in one way only.
// Method: values worked out by hand; each of them cut short.
#include "transports/connector/wire.h"

#include <catch2/catch.hpp>

#include "core/text.h"

using namespace banyan;
using namespace banyan::connector;

TEST_CASE("what was put is read, and a read beyond the end fails for good") {
  Buffer out;
  put_number(out, 0x01020304);
  put_string(out, "abc");
  put_mpint(out, Buffer{0x80, 1});
  put_mpint(out, Buffer{0, 0, 0x7f});
  put_mpint(out, Buffer{0, 0});
  CHECK(out ==
        Buffer{1, 2, 3, 4, 0, 0, 0, 3, 'a', 'b', 'c', 0, 0, 0, 3, 0, 0x80, 1, 0, 0, 0, 1, 0x7f, 0, 0, 0, 0});
  for (std::size_t length = 0; length <= out.size(); ++length) {
    WireReader in(Bytes(out).first(length));
    const bool whole = length == out.size();
    const std::uint32_t number = in.number();
    const std::string_view text = in.text();
    const Bytes large = in.mpint(), small = in.mpint(), zero = in.mpint();
    CHECK(in.ok() == whole);
    CHECK(in.finish() == whole);
    CHECK(zero.empty());
    if (length >= 4) CHECK(number == 0x01020304);
    if (!whole) continue;
    CHECK(text == "abc");
    CHECK(Buffer(large.begin(), large.end()) == Buffer{0x80, 1});
    CHECK(Buffer(small.begin(), small.end()) == Buffer{0x7f});
  }
  WireReader in(out);
  in.number();
  CHECK_FALSE(in.finish());
}

TEST_CASE("a negative number, and a length beyond all bytes, are refused") {
  const Buffer negative{0, 0, 0, 1, 0x80}, endless{0xff, 0xff, 0xff, 0xff, 0};
  WireReader one(negative), two(endless);
  CHECK(one.mpint().empty());
  CHECK_FALSE(one.ok());
  CHECK(two.string().empty());
  CHECK_FALSE(two.ok());
  CHECK(two.byte() == 0);
}
