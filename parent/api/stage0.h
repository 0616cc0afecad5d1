// parent/api/stage0.h -- the command a transport has the far end's login shell run (bootstrap/stage0.sh). For
// programs.
#pragma once

#include <cstdint>
#include <string>
#include <string_view>

namespace banyan {

// One line, fit for any login shell. `nonce` as in the recipe and the Handshake. With `expected_architecture`
// stage 0 ends after its report when the machine is another one, so loader and image may be sent without
// waiting; never do that to a terminal, which is not in raw mode before the report. REQUIRES:
// expected_architecture consists of letters, digits and _.
std::string stage0_command(std::uint64_t nonce, std::string_view expected_architecture);

}  // namespace banyan
