#include "transports/connector/wire.h"

#include <openssl/crypto.h>

#include <algorithm>

namespace banyan::connector {
namespace {

constexpr std::string_view kDigits = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

int digit_of(char c) {
  if (c >= 'A' && c <= 'Z') return c - 'A';
  if (c >= 'a' && c <= 'z') return c - 'a' + 26;
  if (c >= '0' && c <= '9') return c - '0' + 52;
  if (c == '+') return 62;
  return c == '/' ? 63 : -1;
}

Bytes without_zeros(Bytes magnitude) {
  while (!magnitude.empty() && magnitude[0] == 0) magnitude = magnitude.subspan(1);
  return magnitude;
}

}  // namespace

Bytes WireReader::take(std::size_t bytes) {
  if (!ok_ || bytes > rest_.size()) {
    ok_ = false;
    return {};
  }
  Bytes taken = rest_.first(bytes);
  rest_ = rest_.subspan(bytes);
  return taken;
}

std::uint8_t WireReader::byte() {
  const Bytes one = take(1);
  return one.empty() ? std::uint8_t(0) : one[0];
}

std::uint32_t WireReader::number() {
  std::uint32_t number = 0;
  for (std::uint8_t byte : take(4)) number = number << 8 | byte;
  return number;
}

Bytes WireReader::string() {
  return take(number());
}

Bytes WireReader::mpint() {
  const Bytes bytes = string();
  if (!bytes.empty() && (bytes[0] & 0x80) != 0) ok_ = false;  // negative: no key has such a number
  return ok_ ? without_zeros(bytes) : Bytes();
}

void put_number(Buffer& out, std::uint32_t number) {
  for (int shift = 24; shift >= 0; shift -= 8) out.push_back(std::uint8_t(number >> shift));
}

void put_string(Buffer& out, Bytes bytes) {
  put_number(out, std::uint32_t(bytes.size()));
  out.insert(out.end(), bytes.begin(), bytes.end());
}

void put_mpint(Buffer& out, Bytes magnitude) {
  magnitude = without_zeros(magnitude);
  const bool needs_zero = !magnitude.empty() && (magnitude[0] & 0x80) != 0;
  put_number(out, std::uint32_t(magnitude.size() + (needs_zero ? 1 : 0)));
  if (needs_zero) out.push_back(0);
  out.insert(out.end(), magnitude.begin(), magnitude.end());
}

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
      OPENSSL_cleanse(out.data(), out.size());
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
    OPENSSL_cleanse(out.data(), out.size());
    return std::nullopt;
  }
  return out;
}

}  // namespace banyan::connector
