// tests/support/seed.h -- the one source of chance in the tests.
//
// Drawn anew for each run of a test program, or given with --seed=N or BANYAN_SEED; printed with every
// failure. A test that needs chance derives all of it from seed(), so that the printed number replays it
// exactly.
#pragma once

#include <cstdint>
#include <vector>

namespace banyan::test {

std::uint64_t seed();

// `count` seeds from seed() on: the one a failure prints, given as --seed, is the first tried.
inline std::vector<std::uint64_t> seeds(std::uint64_t count) {
  std::vector<std::uint64_t> all;
  for (std::uint64_t i = 0; i < count; ++i) all.push_back(seed() + i);
  return all;
}

}  // namespace banyan::test
