// Goal: writing the targets of branches by place and back again gives the very same bytes, whatever they are.
// Method: random bytes thick with what looks like branches, the edges of the range by hand, and a call whose
// place is known.
#include "bootstrap/branches.h"

#include <catch2/catch.hpp>
#include <random>

#include "tests/support/seed.h"

using namespace banyan;

namespace {

using Write = void (*)(std::uint8_t*, std::int32_t, Targets);

Buffer by_place(Write write, Buffer bytes) {
  write(bytes.data(), std::int32_t(bytes.size()), Targets::kByPlace);
  return bytes;
}

bool comes_back(Write write, const Buffer& bytes) {
  Buffer copy = by_place(write, bytes);
  write(copy.data(), std::int32_t(copy.size()), Targets::kByDistance);
  return copy == bytes;
}

}  // namespace

TEST_CASE("any bytes come back as they were") {
  std::mt19937_64 random(test::seed());
  for (int round = 0; round < 2000; ++round) {
    Buffer bytes(random() % 200);
    for (std::uint8_t& byte : bytes) {
      const std::uint64_t kind = random();
      // Branches, and distances that are small in either direction: the edges of what is converted.
      constexpr std::uint8_t kOften[] = {0xe8, 0xe9, 0x94, 0x97, 0xf0, 0xf7, 0xf8, 0x00, 0xff};
      byte = kind % 4 == 0 ? std::uint8_t(kind >> 8) : kOften[(kind >> 8) % sizeof kOften];
    }
    CHECK(comes_back(write_targets_x86_64, bytes));
    CHECK(comes_back(write_targets_aarch64, bytes));
    CHECK(comes_back(write_targets_armv7l, bytes));
  }
}

TEST_CASE("every distance of a call in a small image comes back as it was") {
  for (std::int32_t distance = -100; distance <= 100; ++distance) {
    Buffer bytes(40, 0x90);
    bytes[7] = 0xe8;
    store_le(bytes.data() + 8, std::uint32_t(distance));
    INFO("distance " << distance);
    CHECK(comes_back(write_targets_x86_64, bytes));
  }
}

TEST_CASE("two calls of one function look alike") {
  Buffer bytes(64, 0x90);
  for (const std::uint32_t at : {10u, 30u}) {
    bytes[at] = 0xe8;
    store_le(bytes.data() + at + 1, 50 - (at + 5));
  }
  const Buffer written = by_place(write_targets_x86_64, bytes);
  CHECK(load_le<std::uint32_t>(written.data() + 11) == 50);
  CHECK(load_le<std::uint32_t>(written.data() + 31) == 50);

  Buffer words(64, 0);
  for (const std::uint32_t at : {8u, 32u}) store_le(words.data() + at, 0x94000000u | (56 - at) / 4);
  const Buffer alike = by_place(write_targets_aarch64, words);
  CHECK(load_le<std::uint32_t>(alike.data() + 8) == (0x94000000u | 14));
  CHECK(load_le<std::uint32_t>(alike.data() + 32) == (0x94000000u | 14));

  // Thumb counts halfwords: from 12 and 40 to 60, and from 40 back to 12.
  Buffer thumb(64, 0);
  const auto call = [&](std::uint32_t at, std::int32_t to) {
    const auto distance = std::uint32_t(to - std::int32_t(at)) / 2;
    store_le(thumb.data() + at, std::uint16_t(0xf000 | (distance >> 11 & 0x7ff)));
    store_le(thumb.data() + at + 2, std::uint16_t(0xf800 | (distance & 0x7ff)));
  };
  call(12, 60);
  call(40, 60);
  const Buffer same = by_place(write_targets_armv7l, thumb);
  CHECK(load_le<std::uint32_t>(same.data() + 12) == load_le<std::uint32_t>(same.data() + 40));
  CHECK(load_le<std::uint16_t>(same.data() + 14) == (0xf800 | 30));
}
