// shm/process.h -- which process that is: its number alone is given to another one, some day.
#pragma once

#include "shm/header.h"

namespace banyan::shm {

Owner this_process();

// When the process of that number was started, in clock ticks after boot; 0 when there is none, or only what
// waits to be reaped.
std::uint64_t start_of(std::uint32_t pid);

// The number of our PID namespace.
std::uint64_t own_space();

// False when that process is gone for certain. One of another PID namespace cannot be seen from here, so it
// counts as alive.
bool may_live(const Owner& owner);

}  // namespace banyan::shm
