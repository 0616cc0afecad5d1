#include "cli/sip_hash.h"

#include <bit>
#include <cstring>

namespace banyan::cli {
namespace {

static_assert(std::endian::native == std::endian::little);

void rounds(std::array<std::uint64_t, 4>& v, int count) {
  for (; count > 0; --count) {
    v[0] += v[1];
    v[2] += v[3];
    v[1] = std::rotl(v[1], 13) ^ v[0];
    v[3] = std::rotl(v[3], 16) ^ v[2];
    v[0] = std::rotl(v[0], 32);
    v[2] += v[1];
    v[0] += v[3];
    v[1] = std::rotl(v[1], 17) ^ v[2];
    v[3] = std::rotl(v[3], 21) ^ v[0];
    v[2] = std::rotl(v[2], 32);
  }
}

}  // namespace

SipHash::SipHash(const Key& key)
    : state_{key[0] ^ 0x736f6d6570736575, key[1] ^ 0x646f72616e646f6d ^ 0xee, key[0] ^ 0x6c7967656e657261,
             key[1] ^ 0x7465646279746573} {}

void SipHash::mix(std::uint64_t word) {
  state_[3] ^= word;
  rounds(state_, 2);
  state_[0] ^= word;
}

void SipHash::feed(std::string_view bytes) {
  while (!bytes.empty()) {
    if (bytes_ % 8 == 0 && bytes.size() >= 8) {
      std::uint64_t word;
      std::memcpy(&word, bytes.data(), 8);
      mix(word);
      bytes_ += 8;
      bytes.remove_prefix(8);
      continue;
    }
    pending_ |= std::uint64_t(std::uint8_t(bytes[0])) << (8 * (bytes_ % 8));
    bytes.remove_prefix(1);
    if (++bytes_ % 8 != 0) continue;
    mix(pending_);
    pending_ = 0;
  }
}

SipHash::Digest SipHash::digest() const {
  SipHash last = *this;
  last.mix(pending_ | bytes_ << 56);
  Digest digest;
  last.state_[2] ^= 0xee;
  rounds(last.state_, 4);
  digest[0] = last.state_[0] ^ last.state_[1] ^ last.state_[2] ^ last.state_[3];
  last.state_[1] ^= 0xdd;
  rounds(last.state_, 4);
  digest[1] = last.state_[0] ^ last.state_[1] ^ last.state_[2] ^ last.state_[3];
  return digest;
}

}  // namespace banyan::cli
