#include "transports/digest.h"

#include <algorithm>
#include <array>
#include <bit>
#include <cstdint>

namespace banyan {
namespace {

constexpr std::size_t kBlock = 64;

using State = std::array<std::uint32_t, 5>;

void absorb(State& state, const unsigned char* block) {
  std::array<std::uint32_t, 80> words;
  for (std::size_t i = 0; i < 16; ++i) {
    const unsigned char* at = block + 4 * i;
    words[i] = std::uint32_t(at[0]) << 24 | std::uint32_t(at[1]) << 16 | std::uint32_t(at[2]) << 8 | at[3];
  }
  for (std::size_t i = 16; i < words.size(); ++i)
    words[i] = std::rotl(words[i - 3] ^ words[i - 8] ^ words[i - 14] ^ words[i - 16], 1);

  auto [a, b, c, d, e] = state;
  for (std::size_t i = 0; i < words.size(); ++i) {
    std::uint32_t mix = 0, constant = 0;
    switch (i / 20) {
      case 0:
        mix = (b & c) | (~b & d);
        constant = 0x5a827999;
        break;
      case 1:
        mix = b ^ c ^ d;
        constant = 0x6ed9eba1;
        break;
      case 2:
        mix = (b & c) | (b & d) | (c & d);
        constant = 0x8f1bbcdc;
        break;
      default:
        mix = b ^ c ^ d;
        constant = 0xca62c1d6;
    }
    const std::uint32_t next = std::rotl(a, 5) + mix + e + constant + words[i];
    e = d;
    d = c;
    c = std::rotl(b, 30);
    b = a;
    a = next;
  }
  state[0] += a;
  state[1] += b;
  state[2] += c;
  state[3] += d;
  state[4] += e;
}

}  // namespace

std::string sha1(std::string_view bytes) {
  std::string padded(bytes);
  padded += '\x80';
  while (padded.size() % kBlock != kBlock - 8) padded += '\0';
  const std::uint64_t bits = std::uint64_t(bytes.size()) * 8;
  for (int shift = 56; shift >= 0; shift -= 8) padded += char(bits >> shift & 0xff);

  State state = {0x67452301, 0xefcdab89, 0x98badcfe, 0x10325476, 0xc3d2e1f0};
  for (std::size_t at = 0; at < padded.size(); at += kBlock)
    absorb(state, reinterpret_cast<const unsigned char*>(padded.data() + at));

  std::string digest;
  for (std::uint32_t word : state) {
    for (int shift = 24; shift >= 0; shift -= 8) digest += char(word >> shift & 0xff);
  }
  return digest;
}

std::string hmac_sha1(std::string_view key, std::string_view bytes) {
  std::string block = key.size() > kBlock ? sha1(key) : std::string(key);
  block.resize(kBlock, '\0');
  std::string inner, outer;
  for (char c : block) {
    inner += char(c ^ 0x36);
    outer += char(c ^ 0x5c);
  }
  inner += bytes;
  return sha1(outer + sha1(inner));
}

std::string hex(std::string_view bytes) {
  constexpr char kDigits[] = "0123456789abcdef";
  std::string text;
  for (char c : bytes) {
    const auto byte = static_cast<unsigned char>(c);
    text += kDigits[byte >> 4];
    text += kDigits[byte & 15];
  }
  return text;
}

}  // namespace banyan
