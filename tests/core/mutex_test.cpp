// Goal: a mutex keeps others out, and lets everybody in at last.
// Method: threads that count with an ordinary variable, each sometimes giving its processor away with the
// mutex held, so that the others fall asleep on it; under ThreadSanitizer too.
#include "core/mutex.h"

#include <pthread.h>
#include <sched.h>

#include <catch2/catch.hpp>

using namespace banyan;

namespace {

constexpr int kThreads = 8;
constexpr int kTurns = 5'000;

struct Counter {
  Mutex mutex;
  int count = 0;

  static void* add(void* counter) {
    auto& self = *static_cast<Counter*>(counter);
    for (int turn = 0; turn < kTurns; ++turn) {
      MutexLock lock(self.mutex);
      const int before = self.count;
      if (turn % 64 == 0) ::sched_yield();
      self.count = before + 1;
    }
    return nullptr;
  }
};

}  // namespace

TEST_CASE("no turn is lost and nobody is left asleep when threads share a mutex") {
  Counter counter;
  pthread_t threads[kThreads];
  for (pthread_t& thread : threads) REQUIRE(pthread_create(&thread, nullptr, Counter::add, &counter) == 0);
  for (const pthread_t thread : threads) pthread_join(thread, nullptr);
  CHECK(counter.count == kThreads * kTurns);
}
