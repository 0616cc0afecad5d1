// Goal: EpollLoop keeps the promises of core/loop.h.
// Method: the checks of tests/support/loop_contract.h, over real sockets, pipes and files.

#include "core/epoll_loop.h"

#include <catch2/catch.hpp>

#include "tests/support/loop_contract.h"

namespace banyan {
namespace {

struct EpollDriver {
  EpollLoop epoll;
  Loop& loop() { return epoll; }
  void round(Nanos max_wait) { epoll.run_once(max_wait); }
};

LOOP_CONTRACT_TESTS("EpollLoop", EpollDriver)

TEST_CASE("EpollLoop: run ends after the round in which stop was called") {
  EpollLoop loop;
  int ran = 0;
  loop.post([&] {
    ++ran;
    loop.stop();
    loop.post([&] { ++ran; });
  });
  loop.run();
  CHECK(ran == 2);
  loop.after(0, [&] { loop.stop(); });
  loop.run();
}

TEST_CASE("EpollLoop: a round with nothing to do waits no longer than it may") {
  EpollLoop loop;
  const Nanos begin = loop.now();
  loop.run_once(0);
  loop.run_once(2 * kMillisecond);
  CHECK(loop.now() - begin >= 2 * kMillisecond);
}

}  // namespace
}  // namespace banyan
