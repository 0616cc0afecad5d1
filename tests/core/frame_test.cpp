// Goal: a header means the same bytes everywhere, and bytes that are not ours are refused before anything is
// made of them. Method: the examples of docs/protocol.md byte for byte; each field's round trip; each rule
// broken once.

#include "core/frame.h"

#include <catch2/catch.hpp>
#include <string>

#include "core/inbox.h"
#include "core/msgpack.h"

using namespace banyan;

namespace {

std::string hex(Bytes bytes) {
  std::string out;
  for (const std::uint8_t byte : bytes) {
    out += "0123456789abcdef"[byte >> 4];
    out += "0123456789abcdef"[byte & 15];
  }
  return out;
}

Buffer encoded(const Header& header) {
  Buffer out(kHeaderBytes);
  encode_header(header, out.data());
  return out;
}

// A good header, one of whose bytes was then replaced.
bool is_refused(std::size_t at, std::uint8_t byte, Header header = {.flags = kFirst | kLast}) {
  Buffer bytes = encoded(header);
  bytes[at] = byte;
  return !decode_header(bytes.data());
}

}  // namespace

static_assert(kHeaderBytes == 40);

TEST_CASE("the call of the protocol page is these forty bytes") {
  const Header call{.flags = kFirst | kLast,
                    .length = 0,
                    .stream = kCallStream,
                    .destination = 1,
                    .source = 0,
                    .authority = 0,
                    .handle = kInfo,
                    .reply_to = 0x1122334455667788};

  CHECK(hex(encoded(call)) ==
        "424e0103"
        "00000000"
        "00000000"
        "01000000"
        "00000000"
        "00000000"
        "1100000000000000"
        "8877665544332211");
}

TEST_CASE("the stream-credit of the protocol page is these bytes") {
  const Buffer payload = pack_credit(5, 20'000, false);
  const Header credit{.flags = kControl | kFirst | kLast,
                      .length = std::uint32_t(payload.size()),
                      .stream = 0,
                      .destination = 1,
                      .source = 0,
                      .authority = 0,
                      .handle = kStreamCredit,
                      .reply_to = kNoReply};

  CHECK(hex(encoded(credit)) ==
        "424e010b"
        "06000000"
        "00000000"
        "01000000"
        "00000000"
        "00000000"
        "0800000000000000"
        "0000000000000000");
  CHECK(hex(payload) == "9305cd4e2000");
}

TEST_CASE("the dead answer of the protocol page is these bytes") {
  const Buffer payload = Packer().array(2).number(1u).text("no such").take();
  const Header dead{.flags = kControl | kFirst | kLast,
                    .length = std::uint32_t(payload.size()),
                    .stream = 0,
                    .destination = 0,
                    .source = 1,
                    .authority = 1,
                    .handle = 0x1122334455667788,
                    .reply_to = kIsDead};

  CHECK(hex(encoded(dead)) ==
        "424e010b"
        "0a000000"
        "00000000"
        "00000000"
        "01000000"
        "01000000"
        "8877665544332211"
        "e703000000000000");
  CHECK(hex(payload) == "9201a76e6f2073756368");
}

TEST_CASE("a header is described with names where handles have one") {
  Header header{.flags = kFirst,
                .length = 57,
                .stream = 3,
                .destination = 2,
                .source = 9,
                .authority = 4,
                .handle = kExec,
                .reply_to = 0xabcdef};
  CHECK(describe(header) ==
        "exec, 9 to 2, authority 4, stream 3, 57 bytes, first, reply to 0000000000abcdef");
  header.flags = 0;
  header.handle = 0x1234;
  header.reply_to = kIsDead;
  CHECK(describe(header) == "0000000000001234, 9 to 2, authority 4, stream 3, 57 bytes, more, is-dead");
  header.flags = kControl | kFirst | kLast;
  header.reply_to = kNoReply;
  CHECK(describe(header) == "0000000000001234, 9 to 2, authority 4, stream 3, 57 bytes, control");
}

TEST_CASE("every field survives encoding and decoding") {
  const Header header{.flags = kFirst,
                      .length = 0x1234,
                      .stream = 0xa1a2a3a4,
                      .destination = 0xb1b2b3b4,
                      .source = 0xc1c2c3c4,
                      .authority = 0xd1d2d3d4,
                      .handle = 0xe1e2e3e4e5e6e7e8,
                      .reply_to = 0xf1f2f3f4f5f6f7f8};

  const auto decoded = decode_header(encoded(header).data());

  REQUIRE(bool(decoded));
  CHECK(*decoded == header);
}

TEST_CASE("another magic or version is refused, the version with its number") {
  CHECK(is_refused(0, 'X'));
  CHECK(is_refused(1, 'X'));
  CHECK(is_refused(2, kProtocolVersion + 1));
  Buffer newer = encoded({.flags = kFirst | kLast});
  newer[2] = 9;
  const auto decoded = decode_header(newer.data());
  CHECK(decoded.error().text == "the peer speaks protocol version 9, we speak 1");
  CHECK_FALSE(decoded.error().remedy.empty());
}

TEST_CASE("lengths above the frame limit are refused, whatever the other bits say") {
  for (const std::uint32_t length : {std::uint32_t(kFramePayloadMax + 1), 0x80000000u, 0xffffffffu}) {
    CAPTURE(length);
    Buffer bytes = encoded({.flags = kFirst | kLast});
    store_le(bytes.data() + 4, length);
    CHECK_FALSE(bool(decode_header(bytes.data())));
  }
  CHECK(bool(decode_header(encoded({.flags = kFirst | kLast, .length = kFramePayloadMax}).data())));
}

TEST_CASE("flags that make no sense together are refused") {
  CHECK(is_refused(3, 0x10 | kFirst | kLast));                            // unknown
  CHECK(is_refused(3, kControl));                                         // control in parts
  CHECK(is_refused(3, kControl | kFirst));                                //
  CHECK(is_refused(3, kAborted));                                         // aborted and not last
  CHECK(is_refused(3, kAborted | kLast | kFirst));                        //
  CHECK(is_refused(3, kAborted | kLast, {.flags = kLast, .length = 1}));  // abort with a payload
  CHECK(is_refused(3, kFirst));                                           // long, and no room for its length
  CHECK(is_refused(3, kControl | kFirst | kLast, {.flags = kLast, .length = kControlPayloadMax + 1}));
}
