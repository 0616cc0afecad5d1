// cli/recipes.h -- how a context beneath a hop is started: what the hop is asked to do; and what becomes of
// errors.
#pragma once

#include <cstdint>
#include <string_view>

#include "cli/targets.h"
#include "parent/recipe.h"

namespace banyan::cli {

// REQUIRES: `target` lies beneath a hop, and is not reached by ssh (cli/relay.h). `nonce` is fresh for each
// start. `architecture` is the hop's, which is the target's where both are on one machine; empty: not to be
// relied on. `left` of the time in all; 0: the usual deadlines.
Recipe recipe_beneath(const Target& target, std::uint64_t nonce, std::string_view architecture, Nanos left);

// An error of a start, that of a first one too, in the words of its method.
Error error_of_start(const Target& target, Error error);

}  // namespace banyan::cli
