// Goal: AsioLoop keeps the promises of core/loop.h, as a guest in somebody else's io_context.
// Method: the checks of tests/support/loop_contract.h; then what an io_context's owner expects of a guest.

#include "parent/api/asio_loop.h"

#include <boost/asio/post.hpp>
#include <catch2/catch.hpp>
#include <chrono>

#include "tests/support/loop_contract.h"

namespace banyan {
namespace {

struct AsioDriver {
  boost::asio::io_context context;
  AsioLoop asio{context};
  Loop& loop() { return asio; }
  void round(Nanos max_wait) { context.run_one_for(std::chrono::nanoseconds(max_wait)); }
};

LOOP_CONTRACT_TESTS("AsioLoop", AsioDriver)

TEST_CASE("AsioLoop: handlers of the io_context take turns with tasks that repeat themselves") {
  AsioDriver driver;
  struct Repeater {
    Loop& loop;
    bool stop = false;
    void run() {
      if (!stop) loop.post([this] { run(); });
    }
  } repeater{driver.loop()};
  repeater.run();
  bool ran = false;
  boost::asio::post(driver.context, [&] { ran = true; });
  CHECK(loop_contract::run_until(driver, [&] { return ran; }));
  repeater.stop = true;
  bool done = false;
  driver.loop().post([&] { done = true; });
  CHECK(loop_contract::run_until(driver, [&] { return done; }));
}

TEST_CASE("AsioLoop: more ready descriptors than one round serves are all served") {
  AsioDriver driver;
  Loop& loop = driver.loop();
  constexpr int kPairs = 200;
  std::vector<FdPair> pairs;
  std::vector<Loop::WatchId> watches;
  int served = 0;
  for (int i = 0; i < kPairs; ++i) {
    pairs.push_back(loop_contract::pair_of_sockets());
    watches.push_back(0);
  }
  for (int i = 0; i < kPairs; ++i) {
    loop_contract::write_text(loop, pairs[std::size_t(i)].second.get(), "x");
    watches[std::size_t(i)] = loop.watch(pairs[std::size_t(i)].first.get(), {true, false}, [&, i](Ready) {
      ++served;
      loop.unwatch(watches[std::size_t(i)]);
    });
  }
  CHECK(loop_contract::run_until(driver, [&] { return served == kPairs; }));
}

TEST_CASE(
    "AsioLoop: the io_context runs out of work when the loop is gone, and nothing of it runs any more") {
  boost::asio::io_context context;
  bool ran = false;
  {
    AsioLoop loop(context);
    loop.post([&] { ran = true; });
    loop.after(0, [&] { ran = true; });
    loop.after(3600 * kSecond, [&] { ran = true; });
  }
  context.run();
  CHECK_FALSE(ran);
}

TEST_CASE("AsioLoop: a cancelled timer does not hold back an earlier or a later one") {
  AsioDriver driver;
  Loop& loop = driver.loop();
  int fired = 0;
  const Loop::TimerId first = loop.after(kMillisecond, [&] { fired += 100; });
  loop.after(5 * kMillisecond, [&] { ++fired; });
  loop.cancel(first);
  loop.after(3600 * kSecond, [&] { fired += 100; });
  loop.after(2 * kMillisecond, [&] { ++fired; });
  CHECK(loop_contract::run_until(driver, [&] { return fired >= 2; }));
  CHECK(fired == 2);
}

}  // namespace
}  // namespace banyan
