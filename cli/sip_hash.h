// cli/sip_hash.h -- SipHash-2-4 with 128 bits: tells texts apart that hosts have chosen.
//
// Keyed: who does not know the key cannot make two texts of one hash, and by chance it takes 2^64 of them.
// Fed in any split. Pure.
#pragma once

#include <array>
#include <cstdint>
#include <string_view>

namespace banyan::cli {

class SipHash {
 public:
  using Key = std::array<std::uint64_t, 2>;
  using Digest = std::array<std::uint64_t, 2>;  // its bytes in little-endian order

  explicit SipHash(const Key& key);
  void feed(std::string_view bytes);
  // Of all that was fed. More may follow.
  Digest digest() const;

 private:
  void mix(std::uint64_t word);
  std::array<std::uint64_t, 4> state_;
  std::uint64_t bytes_ = 0;    // fed
  std::uint64_t pending_ = 0;  // the last bytes_ % 8 of them
};

}  // namespace banyan::cli
