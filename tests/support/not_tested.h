// tests/support/not_tested.h -- what this machine lacks for a test is said and counted, never passed over.
#pragma once

#include <string_view>

namespace banyan::test {

// The running test cannot check all it should: it counts as skipped, whatever else it checked. `key` is one
// word (BANYAN_ACCEPTED_SKIPS, docs/testing.md), `why` says what is missing. Said once a test for each key.
void not_tested(std::string_view key, std::string_view why);

}  // namespace banyan::test
