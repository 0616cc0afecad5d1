// Goal: nothing a host says can drive the operator's terminal.
// Method: tables of bytes with what may be shown; every split of one stream; a second pass changes nothing.
#include "cli/printable.h"

#include <catch2/catch.hpp>

using namespace banyan::cli;

TEST_CASE("one line shows every control character as text") {
  struct {
    std::string text;
    const char* expected;
  } table[] = {
      {"plain text", "plain text"},
      {"caf\xc3\xa9 \xe2\x9c\x97 \xf0\x9f\x8c\xb3", "caf\xc3\xa9 \xe2\x9c\x97 \xf0\x9f\x8c\xb3"},
      {"a\nb\tc\rd", "a\\nb\\tc\\rd"},
      {"\x1b]52;c;eA==\x07", "\\x1b]52;c;eA==\\x07"},
      {std::string("nul\0!", 5), "nul\\x00!"},
      {"\x7f", "\\x7f"},
      {"\xc2\x9b"
       "2J",
       "\\u009b2J"},  // C1 as UTF-8
      {"\x9b"
       "2J",
       "\\x9b2J"},  // C1 as a byte
      {"\xe2\x80\xae"
       "abc",
       "\\u202eabc"},                              // right-to-left override
      {"\xe2\x81\xa6\xd8\x9c", "\\u2066\\u061c"},  // isolate, arabic letter mark
      {"\xc0\xaf", "\\xc0\\xaf"},                  // overlong
      {"\xed\xa0\x80", "\\xed\\xa0\\x80"},         // surrogate
      {"\xf4\x90\x80\x80", "\\xf4\\x90\\x80\\x80"},
      {"\xe2\x9c", "\\xe2\\x9c"},  // cut off
  };
  for (const auto& row : table) {
    CAPTURE(row.text);
    CHECK(printable(row.text) == row.expected);
    CHECK(printable(printable(row.text)) == printable(row.text));
  }
}

TEST_CASE("a stream is escaped alike in every split") {
  const std::string text =
      "ok\tcaf\xc3\xa9\r\n\x1b[31m\xe2\x9c\x97\xc2\x9b\xff\xf0\x9f\x8c\xb3 \xe2\x80\xae end \xe2\x9c";
  TerminalEscaper whole(false);
  std::string expected = whole.feed(text);
  expected += whole.finish();
  CHECK(expected ==
        "ok\tcaf\xc3\xa9\\r\n\\x1b[31m\xe2\x9c\x97\\u009b\\xff\xf0\x9f\x8c\xb3 \\u202e end \\xe2\\x9c");
  for (std::size_t first = 0; first <= text.size(); ++first) {
    for (std::size_t second = first; second <= text.size(); ++second) {
      TerminalEscaper split(false);
      std::string got = split.feed(std::string_view(text).substr(0, first));
      got += split.feed(std::string_view(text).substr(first, second - first));
      got += split.feed(std::string_view(text).substr(second));
      got += split.finish();
      if (got != expected) FAIL("split at " << first << " and " << second << ": " << got);
    }
  }
}

TEST_CASE("a carriage return stays only where it was asked for") {
  CHECK(TerminalEscaper(true).feed("10%\r20%\r\n") == "10%\r20%\r\n");
  CHECK(TerminalEscaper(false).feed("10%\r20%\n") == "10%\\r20%\n");
}

TEST_CASE("an unfinished character at the end is found, a wrong one is not") {
  CHECK(unfinished_utf8("abc") == 0);
  CHECK(unfinished_utf8("") == 0);
  CHECK(unfinished_utf8("a\xc3") == 1);
  CHECK(unfinished_utf8("a\xe2\x9c") == 2);
  CHECK(unfinished_utf8("a\xf0\x9f\x8c") == 3);
  CHECK(unfinished_utf8("a\xf0\x9f\x8c\xb3") == 0);
  CHECK(unfinished_utf8("a\xff") == 0);
  CHECK(unfinished_utf8("\x80\x80\x80\x80") == 0);
  CHECK(is_utf8("caf\xc3\xa9"));
  CHECK_FALSE(is_utf8("caf\xc3"));
  CHECK_FALSE(is_utf8("\xff"));
}
