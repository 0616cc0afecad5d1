// Goal: timers fire once, in order, and a cancelled one never, whatever is added and cancelled meanwhile.
// Method: a queue under a clock of our own, compared with a plain list.

#include "core/timer_queue.h"

#include <catch2/catch.hpp>

#include <memory>
#include <string>
#include <vector>

namespace banyan {
namespace {

TEST_CASE("timers with equal deadlines fire in the order of creation") {
  TimerQueue timers;
  std::string order;
  for (char c : {'a', 'b', 'c', 'd'}) timers.add(10, [&order, c] { order += c; });
  timers.add(5, [&order] { order += '0'; });
  CHECK(timers.earliest() == 5);
  timers.run_due(10);
  CHECK(order == "0abcd");
  CHECK(timers.empty());
}

TEST_CASE("a timer added by a timer waits for the next time") {
  TimerQueue timers;
  int ran = 0;
  timers.add(1, [&] {
    ++ran;
    timers.add(0, [&] { ++ran; });
  });
  timers.run_due(100);
  CHECK(ran == 1);
  timers.run_due(100);
  CHECK(ran == 2);
}

TEST_CASE("an id that fired harms no later timer in its place") {
  TimerQueue timers;
  bool ran = false;
  const Loop::TimerId first = timers.add(1, [] {});
  timers.run_due(1);
  const Loop::TimerId second = timers.add(2, [&] { ran = true; });
  CHECK(first != second);
  timers.cancel(first);
  timers.cancel(12'345'678);
  timers.run_due(2);
  CHECK(ran);
}

TEST_CASE("a cancelled task is destroyed at once, and may cancel others as it goes") {
  struct CancelsAnother {
    TimerQueue* timers;
    Loop::TimerId other;
    ~CancelsAnother() { timers->cancel(other); }
  };
  TimerQueue timers;
  bool ran = false;
  const Loop::TimerId other = timers.add(5, [&] { ran = true; });
  auto owned = std::make_shared<CancelsAnother>(CancelsAnother{&timers, other});
  const Loop::TimerId timer = timers.add(5, [owned] {});
  owned.reset();
  timers.cancel(timer);
  timers.run_due(5);
  CHECK_FALSE(ran);
  CHECK(timers.empty());
}

TEST_CASE("a hundred thousand timers added, cancelled and run fire exactly as a plain list says") {
  TimerQueue timers;
  std::uint64_t state = 42;
  auto random = [&] { return (state = state * 6364136223846793005u + 1442695040888963407u) >> 33; };
  struct Expected {
    Loop::TimerId id = 0;
    Nanos deadline = 0;
    bool cancelled = false;
    int fired = 0;
  };
  std::vector<Expected> expected(100'000);
  Nanos now = 0, last = -1;
  bool in_order = true;
  for (std::size_t i = 0; i < expected.size(); ++i) {
    expected[i].deadline = now + Nanos(random() % 1000);
    expected[i].id = timers.add(expected[i].deadline, [&, i] {
      ++expected[i].fired;
      in_order = in_order && expected[i].deadline >= last && expected[i].deadline <= now;
      last = expected[i].deadline;
    });
    Expected& victim = expected[random() % (i + 1)];
    if (random() % 4 != 0 && victim.fired == 0) {
      timers.cancel(victim.id);
      victim.cancelled = true;
    }
    if (i % 64 == 0) {
      last = -1;
      timers.run_due(now += 20);
    }
  }
  last = -1;
  timers.run_due(now += 1000);
  CHECK(timers.empty());
  CHECK(in_order);
  int wrong = 0;
  for (const Expected& one : expected) wrong += one.fired != (one.cancelled ? 0 : 1);
  CHECK(wrong == 0);
}

}  // namespace
}  // namespace banyan
