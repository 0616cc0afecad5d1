#include "transports/base64.h"

#include <string.h>

#include <algorithm>

namespace banyan {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int digit_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

}  // namespace

std::string encode_base64(Bytes bytes, Padding padding) {
  std::string out;
  out.reserve((bytes.size() + 2) / 3 * 4);
  for (std::size_t at = 0; at < bytes.size(); at += 3) {
    const std::size_t count = std::min<std::size_t>(3, bytes.size() - at);
    std::uint32_t group = 0;
    for (std::size_t i = 0; i < 3; ++i) group = group << 8 | (i < count ? bytes[at + i] : 0u);
    for (std::size_t i = 0; i < 4; ++i) {
      if (i <= count) {
        out.push_back(kDigits[group >> (18 - 6 * i) & 63]);
      } else if (padding == Padding::kWith) {
        out.push_back('=');
      }
    }
  }
  return out;
}

std::optional<Buffer> decode_base64(std::string_view text) {
  if (text.size() % 4 != 0) return std::nullopt;
  std::size_t padding = 0;
  while (padding < 2 && text.ends_with('=')) {
    text.remove_suffix(1);
    ++padding;
  }
  Buffer out;
  out.reserve(text.size() * 3 / 4);
  std::uint32_t bits = 0;
  int have = 0;
  for (char c : text) {
    const int digit = digit_of(c);
    if (digit < 0) {
      ::explicit_bzero(out.data(), out.size());
      return std::nullopt;
    }
    bits = bits << 6 | std::uint32_t(digit);
    have += 6;
    if (have < 8) continue;
    have -= 8;
    out.push_back(std::uint8_t(bits >> have));
    bits &= (1u << have) - 1;
  }
  if (bits != 0) {  // what padding stands for is zero, else two texts would be one key
    ::explicit_bzero(out.data(), out.size());
    return std::nullopt;
  }
  return out;
}

}  // namespace banyan
