// tests/support/seed.h -- the one source of chance in the tests.
//
// Drawn anew for each run of a test program, or given with --seed=N or BANYAN_SEED; printed with every
// failure. A test that needs chance derives all of it from seed(), so that the printed number replays it
// exactly.
#pragma once

#include <cstdint>

namespace banyan::test {

std::uint64_t seed();

}  // namespace banyan::test
