// Goal: every item reaches exactly one waiter, in order, and nobody sleeps for ever.
// Method: threads on one latch, under ThreadSanitizer too; counts and orders are compared afterwards.

#include "core/latch.h"

#include <dirent.h>
#include <pthread.h>
#include <sched.h>

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#if defined(__SANITIZE_THREAD__) || defined(__SANITIZE_ADDRESS__)
#define UNDER_SANITIZER 1
#elif defined(__has_feature)
#if __has_feature(thread_sanitizer) || __has_feature(address_sanitizer)
#define UNDER_SANITIZER 1
#endif
#endif

namespace banyan {
namespace {

#ifdef UNDER_SANITIZER
constexpr int kManyThreads = 2'000;  // a sanitizer's thread costs a megabyte, and it ends at eight thousand
#else
constexpr int kManyThreads = 10'000;
#endif

// A thread that runs a member function of something.
template <class T, auto run>
pthread_t start(T& what) {
  pthread_attr_t attributes;
  pthread_attr_init(&attributes);
  pthread_attr_setstacksize(&attributes, 128 * 1024);
  pthread_t thread;
  auto body = [](void* argument) -> void* {
    (static_cast<T*>(argument)->*run)();
    return nullptr;
  };
  REQUIRE(pthread_create(&thread, &attributes, body, &what) == 0);
  pthread_attr_destroy(&attributes);
  return thread;
}

// Sees how many sleep, so that a test can wait until its threads do.
template <class T>
struct Observed : Latch<T> {
  int sleepers() {
    MutexLock lock(this->mutex_);
    int count = 0;
    for (auto* sleeper = this->first_; sleeper != nullptr; sleeper = sleeper->next) ++count;
    return count;
  }
  void wait_for_sleepers(int count) {
    while (sleepers() != count) sched_yield();
  }
};

struct Waiter {
  Observed<int>* latch = nullptr;
  Nanos timeout = Latch<int>::kForever;
  LatchOutcome outcome = LatchOutcome::kTimedOut;
  int item = -1;
  void run() { outcome = latch->get(item, timeout); }
};

int open_descriptors() {
  DIR* folder = opendir("/proc/self/fd");
  REQUIRE(folder != nullptr);
  int count = 0;
  while (readdir(folder) != nullptr) ++count;
  closedir(folder);
  return count;
}

TEST_CASE("items come out in the order they went in") {
  Latch<std::string> latch;
  CHECK(latch.put("a"));
  CHECK(latch.put("b"));
  CHECK(latch.size() == 2);
  std::string item;
  CHECK(latch.get(item) == LatchOutcome::kGot);
  CHECK(item == "a");
  CHECK(latch.try_get(item) == LatchOutcome::kGot);
  CHECK(item == "b");
  CHECK(latch.try_get(item) == LatchOutcome::kTimedOut);
  CHECK(item == "b");
}

TEST_CASE("an empty latch times out, and not too early") {
  Observed<int> latch;
  int item = 7;
  timespec before, after;
  clock_gettime(CLOCK_MONOTONIC, &before);
  CHECK(latch.get(item, 5 * kMillisecond) == LatchOutcome::kTimedOut);
  clock_gettime(CLOCK_MONOTONIC, &after);
  CHECK((after.tv_sec - before.tv_sec) * kSecond + after.tv_nsec - before.tv_nsec >= 5 * kMillisecond);
  CHECK(item == 7);
  CHECK(latch.sleepers() == 0);
}

TEST_CASE("a closed latch takes nothing and gives nothing, and may be closed again") {
  Latch<std::unique_ptr<int>> latch;
  CHECK(latch.put(std::make_unique<int>(1)));
  latch.close();
  latch.close();
  auto two = std::make_unique<int>(2);
  CHECK_FALSE(latch.put(std::move(two)));
  CHECK(two != nullptr);  // still ours
  std::unique_ptr<int> item;
  CHECK(latch.get(item) == LatchOutcome::kClosed);
  CHECK(latch.try_get(item) == LatchOutcome::kClosed);
  CHECK(item == nullptr);
}

TEST_CASE("sleepers are served in the order in which they came") {
  Observed<int> latch;
  constexpr int kWaiters = 8;
  Waiter waiters[kWaiters];
  pthread_t threads[kWaiters];
  for (int i = 0; i < kWaiters; ++i) {
    waiters[i].latch = &latch;
    threads[i] = start<Waiter, &Waiter::run>(waiters[i]);
    latch.wait_for_sleepers(i + 1);
  }
  for (int i = 0; i < kWaiters; ++i) CHECK(latch.put(i));
  // All are spoken for, also those whose owner has not woken yet.
  int item = -1;
  CHECK(latch.try_get(item) == LatchOutcome::kTimedOut);
  for (int i = 0; i < kWaiters; ++i) {
    pthread_join(threads[i], nullptr);
    CHECK(waiters[i].outcome == LatchOutcome::kGot);
    CHECK(waiters[i].item == i);
  }
}

TEST_CASE("one that gave up is passed over") {
  Observed<int> latch;
  Waiter first, middle, last;
  first.latch = middle.latch = last.latch = &latch;
  middle.timeout = 20 * kMillisecond;
  pthread_t threads[3];
  threads[0] = start<Waiter, &Waiter::run>(first);
  latch.wait_for_sleepers(1);
  threads[1] = start<Waiter, &Waiter::run>(middle);
  threads[2] = start<Waiter, &Waiter::run>(last);
  pthread_join(threads[1], nullptr);
  CHECK(middle.outcome == LatchOutcome::kTimedOut);
  latch.wait_for_sleepers(2);
  CHECK(latch.put(1));
  CHECK(latch.put(2));
  pthread_join(threads[0], nullptr);
  pthread_join(threads[2], nullptr);
  CHECK(first.item == 1);
  CHECK(last.item == 2);
}

TEST_CASE(
    "ten thousand sleep without a descriptor, some are served, close wakes the rest, and the latch may go at "
    "once") {
  const int descriptors = open_descriptors();
  auto latch = std::make_unique<Observed<int>>();
  std::vector<Waiter> waiters(kManyThreads);
  std::vector<pthread_t> threads;
  for (Waiter& waiter : waiters) {
    waiter.latch = latch.get();
    threads.push_back(start<Waiter, &Waiter::run>(waiter));
  }
  latch->wait_for_sleepers(kManyThreads);
  CHECK(open_descriptors() == descriptors);
  constexpr int kServed = kManyThreads / 3;
  for (int i = 0; i < kServed; ++i) REQUIRE(latch->put(i));
  latch->close();
  latch.reset();
  std::vector<int> seen(kServed, 0);
  int closed = 0, other = 0;
  for (std::size_t i = 0; i < waiters.size(); ++i) {
    pthread_join(threads[i], nullptr);
    if (waiters[i].outcome == LatchOutcome::kGot)
      ++seen[std::size_t(waiters[i].item)];
    else
      (waiters[i].outcome == LatchOutcome::kClosed ? closed : other) += 1;
  }
  CHECK(closed == kManyThreads - kServed);
  CHECK(other == 0);
  CHECK(seen == std::vector<int>(kServed, 1));
}

struct Producer {
  Latch<int>* latch;
  int first, count;
  void run() const {
    for (int i = 0; i < count; ++i) latch->put(first + i);
  }
};

// Takes with every kind of waiting; a timeout shorter than a scheduler's turn races with the hand-over.
struct Consumer {
  Latch<int>* latch;
  std::vector<int> got;
  void run() {
    for (Nanos timeout = 0;; timeout = (timeout + 700) % 40'000) {
      int item = -1;
      const LatchOutcome outcome = latch->get(item, timeout);
      if (outcome == LatchOutcome::kClosed) return;
      if (outcome == LatchOutcome::kGot) got.push_back(item);
    }
  }
};

TEST_CASE(
    "nothing is lost or doubled between four producers and four consumers that time out all the while") {
  constexpr int kThreads = 4, kItems = 20'000;
  Latch<int> latch;
  Producer producers[kThreads];
  Consumer consumers[kThreads];
  pthread_t producing[kThreads], consuming[kThreads];
  for (int i = 0; i < kThreads; ++i) {
    consumers[i].latch = &latch;
    consuming[i] = start<Consumer, &Consumer::run>(consumers[i]);
  }
  for (int i = 0; i < kThreads; ++i) {
    producers[i] = {&latch, i * kItems, kItems};
    producing[i] = start<Producer, &Producer::run>(producers[i]);
  }
  for (pthread_t thread : producing) pthread_join(thread, nullptr);
  while (latch.size() > 0) sched_yield();
  latch.close();
  std::vector<int> seen(kThreads * kItems, 0);
  bool in_order = true;
  for (int i = 0; i < kThreads; ++i) {
    pthread_join(consuming[i], nullptr);
    int last[kThreads] = {-1, -1, -1, -1};
    for (int item : consumers[i].got) {
      ++seen[std::size_t(item)];
      in_order = in_order && item > last[item / kItems];
      last[item / kItems] = item;
    }
  }
  CHECK(in_order);
  CHECK(seen == std::vector<int>(kThreads * kItems, 1));
}

}  // namespace
}  // namespace banyan
