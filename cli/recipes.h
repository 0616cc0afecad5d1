// cli/recipes.h -- how a context beneath a hop is started: what the hop is asked to do; and what becomes of
// errors.
#pragma once

#include <cstdint>
#include <string_view>

#include "cli/targets.h"
#include "parent/recipe.h"
#include "transports/sudo.h"

namespace banyan::cli {

// REQUIRES: `target` lies beneath a hop, and is not reached by ssh (cli/relay.h). `nonce` is fresh for each
// start. `architecture` is the hop's, which is the target's where both are on one machine; empty: not to be
// relied on. `left` of the time in all; 0: the usual deadlines. `not_entered`: why a container's namespaces
// cannot be entered; empty: that is to be seen.
Recipe recipe_beneath(const Target& target, std::uint64_t nonce, std::string_view architecture, Nanos left,
                      std::string_view not_entered = {});
// REQUIRES: a container.
Recipe container_recipe(const Target& target, std::uint64_t nonce, Nanos left, std::string_view not_entered);

// Whether a start whose guess was wrong can be tried without it.
bool has_second_try(const Target& target);

// How somebody becomes another user, by the target's method, so far without a question.
// REQUIRES: that is what the target is for.
Recipe recipe_to_become(const Target& target, const SudoTarget& as, std::uint64_t nonce,
                        std::string_view architecture, Nanos left);

// An error of a start, that of a first one too, in the words of its method.
Error error_of_start(const Target& target, Error error, std::string_view not_entered = {});

ContainerTarget container_of(const Target& target);

}  // namespace banyan::cli
