// tests/support/run_until.h -- a loop that is run until what a test waits for has come, or its deadline has.
#pragma once

#include "core/epoll_loop.h"

namespace banyan::test {

// Rounds of the loop until `done`, or until the deadline: then false.
template <class Condition>
bool run_until(EpollLoop& loop, Condition done, Nanos within = 10 * kSecond) {
  const Nanos deadline = loop.now() + within;
  while (!done()) {
    if (loop.now() > deadline) return false;
    loop.run_once(10 * kMillisecond);
  }
  return true;
}

}  // namespace banyan::test
