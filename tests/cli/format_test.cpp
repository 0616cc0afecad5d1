// Goal: what a target says is shown as docs/cli.md promises, in any split it comes in.
// Method: bytes in, text out; every split of one stream gives the same.
#include "cli/format.h"

#include <algorithm>
#include <catch2/catch.hpp>
#include <functional>

#include "core/text.h"

using namespace banyan::cli;

namespace {

using Make = std::function<std::unique_ptr<StreamFormat>()>;

std::string whole(const Make& make, std::string_view text) {
  std::unique_ptr<StreamFormat> format = make();
  std::string out = format->feed(text);
  return out + format->finish();
}

void check_every_split(const Make& make, std::string_view text) {
  const std::string expected = whole(make, text);
  for (std::size_t at = 0; at <= text.size(); ++at) {
    std::unique_ptr<StreamFormat> format = make();
    std::string out = format->feed(text.substr(0, at));
    out += format->feed(text.substr(at));
    out += format->finish();
    INFO("split at " << at);
    CHECK(out == expected);
  }
}

// The longest text that was made at a time of `text`, which is fed whole.
std::size_t longest_piece(StreamFormat& format, std::string_view text) {
  std::size_t longest = 0;
  while (!text.empty()) {
    std::string piece;
    const std::size_t taken = format.take(text, piece);
    REQUIRE(taken > 0);
    text.remove_prefix(taken);
    longest = std::max(longest, piece.size());
  }
  return longest;
}

Make lines(bool escape) {
  return [escape] { return std::make_unique<LineFormat>("web1: ", escape); };
}

}  // namespace

TEST_CASE("one target's bytes pass unchanged into a pipe") {
  const std::string bytes("\0\x1b[1m\xff\r\n no newline", 17);
  auto make = [] { return std::make_unique<PlainFormat>(false); };
  CHECK(whole(make, bytes) == bytes);
  check_every_split(make, bytes);
}

TEST_CASE("one target's bytes are escaped for a terminal, but for what moves along the line") {
  auto make = [] { return std::make_unique<PlainFormat>(true); };
  CHECK(whole(make, "10%\r20%\r\n\tcaf\xc3\xa9\x1b[2J\n") == "10%\r20%\r\n\tcaf\xc3\xa9\\x1b[2J\n");
  check_every_split(make, "10%\r20%\r\n\tcaf\xc3\xa9\x1b[2J\xe2\x80\xae\n\xe2\x9c");
}

TEST_CASE("many targets' lines carry their target, and the last one gets its newline") {
  CHECK(whole(lines(false), "one\ntwo\n") == "web1: one\nweb1: two\n");
  CHECK(whole(lines(false), "one\n\ntwo") == "web1: one\nweb1: \nweb1: two\n");
  CHECK(whole(lines(false), "") == "");
  CHECK(whole(lines(false), "\n") == "web1: \n");
  CHECK(whole(lines(false), "raw \x1b\xff\r\n") == "web1: raw \x1b\xff\r\n");
  check_every_split(lines(false), "one\n\nth\xc3\xa9ree\nlast");
}

TEST_CASE("nothing is said of a line before it is whole") {
  LineFormat format("web1: ", false);
  CHECK(format.feed("half") == "");
  CHECK(format.feed(" a line\nnext") == "web1: half a line\n");
  CHECK(format.finish() == "web1: next\n");
}

TEST_CASE("text is made a piece at a time, however much longer it is than the bytes") {
  const std::string newlines(4 << 20, '\n'), controls(1 << 20, '\x1b');
  LineFormat many(banyan::cat(std::string(52, 'n'), ": "), false);
  CHECK(longest_piece(many, newlines) <= kPieceBytes + 55);
  LineFormat escaped("web1: ", true);
  CHECK(longest_piece(escaped, controls) <= kPieceBytes + 4 * kLineMax + 7);
  PlainFormat plain(true);
  CHECK(longest_piece(plain, controls) <= 4 * kPieceBytes);
  JsonFormat json(Events(false), "web1", false);
  CHECK(longest_piece(json, controls) <= 6 * kPieceBytes + 200);
}

TEST_CASE("what was held back when bytes are missing belongs to nothing that follows") {
  LineFormat line("web1: ", false);
  CHECK(line.feed("half") == "");
  line.cut();
  CHECK(line.feed("next\n") == "web1: next\n");
  PlainFormat plain(true);
  CHECK(plain.feed("\xc3") == "");
  plain.cut();
  CHECK(plain.feed("x") == "x");
}

TEST_CASE("a line on a terminal cannot overwrite its target") {
  CHECK(whole(lines(true), "evil\rweb9: fine\n") == "web1: evil\\rweb9: fine\n");
  CHECK(whole(lines(true), "dos\r\n") == "web1: dos\n");
  check_every_split(lines(true), "a\x1b[1A\r\ncaf\xc3\xa9\n\xff\n");
}

TEST_CASE("a line longer than the limit is cut into pieces that lose nothing and tear no character") {
  std::string text(kLineMax - 1, 'x');
  text.append("\xc3\xa9").append(kLineMax, 'y').append("end");
  const std::string out = whole(lines(false), text + "\n");
  std::string joined;
  std::size_t pieces = 0;
  for (std::size_t at = 0; at < out.size();) {
    const std::size_t end = out.find('\n', at);
    const std::string line = out.substr(at, end - at);
    CHECK(line.size() <= kLineMax + 6);
    CHECK(is_utf8(line));
    CHECK(line.substr(0, 6) == "web1: ");
    joined += line.substr(6);
    at = end + 1;
    ++pieces;
  }
  CHECK(pieces == 3);
  CHECK(joined == text);
}

TEST_CASE("an event carries text as text, also when a character comes in two pieces") {
  Events events(false);
  JsonFormat format(events, "web1", true);
  CHECK(format.feed("caf\xc3") == R"({"event":"out","target":"web1","stream":"stderr","data":"caf"})"
                                  "\n");
  CHECK(format.feed("") == "");
  CHECK(format.feed("\xa9\n") == R"({"event":"out","target":"web1","stream":"stderr","data":")"
                                 "\xc3\xa9"
                                 R"(\n"})"
                                 "\n");
  CHECK(format.feed("\xc3") == "");
  CHECK(format.finish() == R"({"event":"out","target":"web1","stream":"stderr","base64":"ww=="})"
                           "\n");
  CHECK(format.finish() == "");
}
