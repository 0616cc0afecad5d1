#include "cli/printable.h"

#include <cstdint>

namespace banyan::cli {
namespace {

struct Character {
  char32_t code = 0;
  std::size_t bytes = 1;
  bool good = false;
  bool unfinished = false;  // good as far as it goes, and the text ends
};

// The first character. Refuses overlong forms, surrogates and what lies beyond U+10FFFF.
Character decode(std::string_view text) {
  const auto byte = [&](std::size_t i) { return std::uint8_t(text[i]); };
  const std::uint8_t lead = byte(0);
  if (lead < 0x80) return {lead, 1, true};
  std::size_t length = 0;
  char32_t code = 0, least = 0;
  if (lead >= 0xc2 && lead < 0xe0) {
    length = 2, code = lead & 0x1f, least = 0x80;
  } else if (lead >= 0xe0 && lead < 0xf0) {
    length = 3, code = lead & 0x0f, least = 0x800;
  } else if (lead >= 0xf0 && lead < 0xf5) {
    length = 4, code = lead & 0x07, least = 0x10000;
  } else {
    return {};
  }
  for (std::size_t i = 1; i < length; ++i) {
    if (i == text.size()) return {.unfinished = true};
    if ((byte(i) & 0xc0) != 0x80) return {};
    code = code << 6 | (byte(i) & 0x3f);
  }
  if (code < least || code > 0x10ffff || (code >= 0xd800 && code < 0xe000)) return {};
  return {code, length, true};
}

bool is_control(char32_t code) {
  return code < 0x20 || (code >= 0x7f && code < 0xa0);
}

bool turns_direction(char32_t code) {
  return code == 0x061c || code == 0x200e || code == 0x200f || (code >= 0x202a && code <= 0x202e) ||
         (code >= 0x2066 && code <= 0x2069);
}

void append_hex(std::string& out, std::string_view kind, std::uint32_t value, int digits) {
  out += kind;
  for (int shift = 4 * (digits - 1); shift >= 0; shift -= 4) out += "0123456789abcdef"[value >> shift & 15];
}

void append_escaped(std::string& out, const Character& character) {
  switch (character.code) {
    case '\n':
      out += "\\n";
      break;
    case '\t':
      out += "\\t";
      break;
    case '\r':
      out += "\\r";
      break;
    default:
      if (character.code < 0x80) {
        append_hex(out, "\\x", character.code, 2);
      } else {
        append_hex(out, "\\u", character.code, 4);
      }
  }
}

// Escapes all of `text`, or stops before an unfinished character and returns how much was taken.
template <class Keep>
std::size_t escape(std::string& out, std::string_view text, bool stop_at_unfinished, const Keep& keep) {
  std::size_t at = 0;
  while (at < text.size()) {
    Character character = decode(text.substr(at));
    if (character.unfinished && stop_at_unfinished) return at;
    if (!character.good) {
      append_hex(out, "\\x", std::uint8_t(text[at]), 2);
    } else if (keep(character.code) || (!is_control(character.code) && !turns_direction(character.code))) {
      out += text.substr(at, character.bytes);
    } else {
      append_escaped(out, character);
    }
    at += character.bytes;
  }
  return at;
}

}  // namespace

std::string printable(std::string_view text) {
  std::string out;
  escape(out, text, false, [](char32_t) { return false; });
  return out;
}

std::size_t unfinished_utf8(std::string_view text) {
  for (std::size_t back = 1; back <= 3 && back <= text.size(); ++back) {
    if (decode(text.substr(text.size() - back)).unfinished) return back;
  }
  return 0;
}

bool is_utf8(std::string_view text) {
  while (!text.empty()) {
    Character character = decode(text);
    if (!character.good) return false;
    text.remove_prefix(character.bytes);
  }
  return true;
}

std::string TerminalEscaper::feed(std::string_view bytes) {
  held_ += bytes;
  std::string out;
  auto keep = [this](char32_t code) {
    return code == '\n' || code == '\t' || (code == '\r' && keep_carriage_return_);
  };
  held_.erase(0, escape(out, held_, true, keep));
  return out;
}

std::string TerminalEscaper::finish() {
  std::string out = printable(held_);
  held_.clear();
  return out;
}

}  // namespace banyan::cli
