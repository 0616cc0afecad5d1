// transports/local.h -- a child on this machine, started from memory.
#pragma once

#include <string>

#include "parent/recipe.h"

namespace banyan {

// `connect_timeout` bounds everything up to the hello; 0: the usual deadlines.
Recipe local(std::string name, Nanos connect_timeout = 0);

}  // namespace banyan
