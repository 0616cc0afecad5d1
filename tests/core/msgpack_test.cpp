// Goal: what is packed is read back, and hostile bytes cost no more than their length.
// Method: values at every border of the format; the bytes of the format's own description; headers that lie.

#include "core/msgpack.h"

#include <catch2/catch.hpp>

#include <string>
#include <vector>

namespace banyan {
namespace {

Buffer raw(std::initializer_list<int> bytes) {
  Buffer out;
  for (int byte : bytes) out.push_back(std::uint8_t(byte));
  return out;
}

bool skips(const Buffer& bytes) {
  Unpacker in(bytes);
  in.skip();
  return in.finish();
}

TEST_CASE("numbers at every border of their widths come back, in the fewest bytes") {
  struct Case {
    std::uint64_t value;
    std::size_t bytes;
  };
  const Case cases[] = {{0, 1},          {127, 1},        {128, 2},      {255, 2},
                        {256, 3},        {65'535, 3},     {65'536, 5},   {UINT32_MAX, 5},
                        {1ull << 32, 9}, {UINT64_MAX, 9}, {INT64_MAX, 9}};
  for (const Case& one : cases) {
    CAPTURE(one.value);
    Packer out;
    out.number(one.value);
    CHECK(out.buffer().size() == one.bytes);
    Unpacker in(out.buffer());
    CHECK(in.number() == one.value);
    CHECK(in.finish());
    Unpacker as_signed(out.buffer());
    as_signed.signed_number();
    CHECK(as_signed.ok() == (one.value <= INT64_MAX));
  }
  const std::int64_t negatives[] = {
      -1, -32, -33, -128, -129, -32'768, -32'769, INT32_MIN, INT32_MIN - 1ll, INT64_MIN};
  const std::size_t sizes[] = {1, 1, 2, 2, 3, 3, 5, 5, 9, 9};
  for (std::size_t i = 0; i < 10; ++i) {
    CAPTURE(negatives[i]);
    Packer out;
    out.number(negatives[i]);
    CHECK(out.buffer().size() == sizes[i]);
    Unpacker in(out.buffer());
    CHECK(in.signed_number() == negatives[i]);
    CHECK(in.finish());
    Unpacker as_unsigned(out.buffer());
    CHECK(as_unsigned.number() == 0);
    CHECK_FALSE(as_unsigned.ok());
  }
}

TEST_CASE("a number in a wider form than it needs is read all the same") {
  for (const Buffer& five : {raw({5}), raw({0xcc, 5}), raw({0xcd, 0, 5}), raw({0xce, 0, 0, 0, 5}),
                             raw({0xcf, 0, 0, 0, 0, 0, 0, 0, 5}), raw({0xd0, 5}), raw({0xd1, 0, 5}),
                             raw({0xd2, 0, 0, 0, 5}), raw({0xd3, 0, 0, 0, 0, 0, 0, 0, 5})}) {
    Unpacker in(five);
    CHECK(in.number() == 5);
    CHECK(in.finish());
  }
  for (const Buffer& minus_one :
       {raw({0xff}), raw({0xd0, 0xff}), raw({0xd1, 0xff, 0xff}), raw({0xd2, 0xff, 0xff, 0xff, 0xff}),
        raw({0xd3, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff})}) {
    Unpacker in(minus_one);
    CHECK(in.signed_number() == -1);
    CHECK(in.finish());
    Unpacker as_unsigned(minus_one);
    as_unsigned.number();
    CHECK_FALSE(as_unsigned.ok());
  }
}

TEST_CASE("a number above its limit fails") {
  Packer out;
  out.number(8);
  Unpacker allowed(out.buffer());
  CHECK(allowed.number(8) == 8);
  CHECK(allowed.finish());
  Unpacker refused(out.buffer());
  CHECK(refused.number(7) == 0);
  CHECK_FALSE(refused.ok());
}

TEST_CASE("texts and bytes of every width come back, and are not taken for each other") {
  for (std::size_t size : {0u, 1u, 31u, 32u, 255u, 256u, 65'535u, 65'536u}) {
    CAPTURE(size);
    const std::string text(size, 't');
    const Buffer bytes(size, 0xc1);
    Packer out;
    out.array(2).text(text).bytes(bytes);
    Unpacker in(out.buffer());
    CHECK(in.array() == 2);
    CHECK(in.text() == text);
    const Bytes found = in.bytes();
    CHECK(std::vector<std::uint8_t>(found.begin(), found.end()) == bytes);
    CHECK(in.finish());
    Unpacker wrong(out.buffer());
    wrong.array();
    CHECK(wrong.bytes().empty());
    CHECK_FALSE(wrong.ok());
    CHECK(skips(out.buffer()));
  }
}

TEST_CASE("arrays and maps of every width come back") {
  for (std::uint32_t size : {0u, 15u, 16u, 65'535u, 65'536u}) {
    CAPTURE(size);
    Packer out;
    out.array(2).array(size);
    for (std::uint32_t i = 0; i < size; ++i) out.nil();
    out.map(size);
    for (std::uint32_t i = 0; i < size; ++i) out.number(i).boolean(i % 2 != 0);
    Unpacker in(out.buffer());
    CHECK(in.array() == 2);
    CHECK(in.array() == size);
    bool right = true;
    for (std::uint32_t i = 0; i < size; ++i) right = right && in.next_is_nil();
    CHECK(in.map() == size);
    for (std::uint32_t i = 0; i < size; ++i)
      right = right && in.number() == i && in.boolean() == (i % 2 != 0);
    CHECK(right);
    CHECK(in.finish());
    CHECK(skips(out.buffer()));
  }
}

TEST_CASE("a reader that failed stays failed, and gives nothing") {
  const Buffer bytes = raw({0x93, 0xa1, 'x', 1, 2});
  Unpacker in(bytes);
  CHECK(in.array() == 3);
  CHECK(in.number() == 0);  // it is a text
  CHECK_FALSE(in.ok());
  CHECK(in.text().empty());
  CHECK(in.number() == 0);
  CHECK(in.array() == 0);
  CHECK_FALSE(in.next_is_nil());
  in.skip();
  CHECK_FALSE(in.finish());
}

TEST_CASE("finish is false while something is unread or left over") {
  const Buffer two = raw({0x92, 1, 2});
  Unpacker in(two);
  in.array();
  in.number();
  CHECK(in.ok());
  CHECK_FALSE(in.finish());
  in.number();
  CHECK(in.finish());
  const Buffer extra = raw({1, 2});
  Unpacker left(extra);
  left.number();
  CHECK_FALSE(left.finish());
}

TEST_CASE("floats and extensions can be skipped, and nothing else be done with them") {
  const Buffer odd[] = {raw({0xca, 1, 2, 3, 4}),
                        raw({0xcb, 1, 2, 3, 4, 5, 6, 7, 8}),
                        raw({0xd4, 9, 1}),
                        raw({0xd5, 9, 1, 2}),
                        raw({0xd8, 9, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}),
                        raw({0xc7, 0, 9}),
                        raw({0xc7, 2, 9, 1, 2}),
                        raw({0xc8, 0, 1, 9, 1}),
                        raw({0xc9, 0, 0, 0, 1, 9, 1})};
  for (const Buffer& bytes : odd) {
    CHECK(skips(bytes));
    Buffer cut(bytes.begin(), bytes.end() - 1);
    CHECK_FALSE(skips(cut));
    Unpacker in(bytes);
    in.number();
    CHECK_FALSE(in.ok());
  }
  CHECK_FALSE(skips(raw({0xc1})));
  CHECK_FALSE(skips({}));
}

TEST_CASE("a value cut at any byte fails") {
  Packer out;
  out.array(5).number(1'000).text(std::string(40, 'x')).map(1).text("k").bytes(Buffer(300, 7)).boolean(true);
  out.number(-5'000'000'000);
  for (std::size_t size = 0; size < out.buffer().size(); ++size) {
    CAPTURE(size);
    const Buffer cut(out.buffer().begin(), out.buffer().begin() + std::ptrdiff_t(size));
    CHECK_FALSE(skips(cut));
    Unpacker in(cut);
    in.array();
    in.number();
    in.text();
    in.map();
    in.text();
    in.bytes();
    in.boolean();
    in.signed_number();
    CHECK_FALSE(in.finish());
  }
  CHECK(skips(out.buffer()));
}

TEST_CASE("a count larger than the bytes that could hold it fails before a single element") {
  for (const Buffer& lie :
       {raw({0xdd, 0xff, 0xff, 0xff, 0xff, 1, 2}), raw({0xdf, 0xff, 0xff, 0xff, 0xff, 1, 2}),
        raw({0xdc, 0, 3, 1, 2}), raw({0xde, 0, 1, 1}), raw({0xdb, 0xff, 0xff, 0xff, 0xff, 1}),
        raw({0xc6, 0xff, 0xff, 0xff, 0xff, 1}), raw({0xc9, 0xff, 0xff, 0xff, 0xff, 1})}) {
    CHECK_FALSE(skips(lie));
    Unpacker array(lie);
    CHECK(array.array() == 0);
    Unpacker map(lie);
    CHECK(map.map() == 0);
    Unpacker text(lie);
    CHECK(text.text().empty());
    Unpacker bytes(lie);
    CHECK(bytes.bytes().empty());
  }
}

// Each header is honest about the bytes that follow it, and all of them claim the same ones.
TEST_CASE("nested headers cannot claim the same bytes twice") {
  Buffer bytes;
  std::uint64_t reserved = 0;
  for (std::uint32_t left = 32'000; left > 5; left -= 5) {
    bytes.push_back(0xdd);
    for (int shift = 24; shift >= 0; shift -= 8) bytes.push_back(std::uint8_t((left - 5) >> shift));
  }
  bytes.resize(32'000, 0xc0);
  Unpacker in(bytes);
  while (in.ok()) reserved += in.array();
  CHECK(reserved <= 32'000);
  CHECK_FALSE(skips(bytes));
}

TEST_CASE("a text cannot swallow bytes its neighbours were promised") {
  const Buffer bytes = raw({0x93, 0xa3, 'a', 'b', 'c'});  // three elements; the first takes all that is left
  Unpacker in(bytes);
  CHECK(in.array() == 3);
  CHECK(in.text().empty());
  CHECK_FALSE(in.ok());
}

TEST_CASE("skip goes sixty-four levels deep and no further") {
  for (std::uint32_t depth : {kPackDepthMax, kPackDepthMax + 1, 30'000u}) {
    Buffer bytes(depth, 0x91);
    bytes.push_back(1);
    CHECK(skips(bytes) == (depth == kPackDepthMax));
  }
  Buffer maps;
  for (std::uint32_t i = 0; i < kPackDepthMax; ++i) {
    maps.push_back(0x81);
    maps.push_back(1);
  }
  maps.push_back(1);
  CHECK(skips(maps));
}

TEST_CASE("a message of more than a million elements fails") {
  Buffer bytes = raw({0xdd, 0, 0x0f, 0xff, 0xff});  // with the array itself exactly the limit
  bytes.resize(5 + kPackElementsMax - 1, 0xc0);
  CHECK(skips(bytes));
  bytes = raw({0xdd, 0, 0x10, 0, 0});
  bytes.resize(5 + kPackElementsMax, 0xc0);
  CHECK_FALSE(skips(bytes));
}

TEST_CASE("empty containers are not free") {
  Buffer bytes = raw({0xdd, 0, 0x10, 0, 0});
  bytes.resize(5 + kPackElementsMax, 0x90);
  CHECK_FALSE(skips(bytes));
}

}  // namespace
}  // namespace banyan
