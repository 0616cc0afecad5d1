// bench/system_calls.h -- how many system calls the loop and its links have made.
//
// The linker leads every call of the functions named in CMakeLists.txt through here (--wrap), so counting
// costs an addition and changes no timing, which strace would.
#pragma once

#include <cstdint>

namespace banyan::bench {

// Counts in `*at` from here on: memory that another process can read, for instance. nullptr: in our own.
void count_system_calls_in(std::uint64_t* at);
std::uint64_t system_calls();

}  // namespace banyan::bench
