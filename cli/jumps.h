// cli/jumps.h -- the jump hosts of -J: "gw", "ann@gw:2222,gw2", "none".
//
// Pure. They end up in argument vectors, and in a line that ssh gives to a shell: what is not on the
// allow-list is refused here, before there is either.
#pragma once

#include <string>
#include <string_view>

#include "cli/usage_error.h"

namespace banyan::cli {

// The same list in the form that ssh takes, or "none". Throws UsageError.
std::string check_jumps(std::string_view text);

}  // namespace banyan::cli
