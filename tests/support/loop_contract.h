// tests/support/loop_contract.h -- what core/loop.h promises, as checks that any real loop must pass.
//
// A test file gives a driver and says LOOP_CONTRACT_TESTS("EpollLoop", EpollDriver).
#pragma once

#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/socket.h>
#include <sys/time.h>
#include <unistd.h>

#include <catch2/catch.hpp>
#include <memory>
#include <string>
#include <vector>

#include "core/bytes.h"
#include "core/fd.h"
#include "core/loop.h"
#include "core/nonblocking.h"
#include "core/text.h"

namespace banyan::loop_contract {

constexpr Nanos kDeadline =
    20 * kSecond;  // far beyond any honest wait, also under a sanitizer on a busy machine

// What a driver has: loop(), and round(max_wait), which runs about one round and waits no longer than that.
template <class Driver, class Condition>
bool run_until(Driver& driver, Condition condition) {
  const Nanos end = driver.loop().now() + kDeadline;
  while (!condition()) {
    if (driver.loop().now() > end) return false;
    driver.round(20 * kMillisecond);
  }
  return true;
}

inline FdPair pair_of_sockets() {
  auto pair = make_socketpair();
  REQUIRE(bool(pair));
  return std::move(*pair);
}

inline FdPair nonblocking_pipe() {
  auto pipe = make_pipe();
  REQUIRE(bool(pipe));
  ::fcntl(pipe->first.get(), F_SETFL, O_NONBLOCK);
  ::fcntl(pipe->second.get(), F_SETFL, O_NONBLOCK);
  return std::move(*pipe);
}

inline IoResult write_text(Loop& loop, int fd, std::string_view text) {
  const iovec part = {const_cast<char*>(text.data()), text.size()};
  return loop.write(fd, &part, 1);
}

template <class Driver>
void posted_tasks_run_in_order(Driver& driver) {
  std::string order;
  driver.loop().post([&] {
    order += 'a';
    driver.loop().post([&] { order += 'c'; });
    order += 'b';
  });
  driver.loop().post([&] { order += 'B'; });
  REQUIRE(run_until(driver, [&] { return order.size() == 4; }));
  CHECK(order == "abBc");
}

template <class Driver>
void a_post_from_another_thread_wakes_it(Driver& driver) {
  struct Shared {
    Loop& loop;
    bool ran = false;
  } shared{driver.loop()};
  pthread_t thread;
  auto run = [](void* argument) -> void* {
    auto* to = static_cast<Shared*>(argument);
    to->loop.post([to] { to->ran = true; });
    return nullptr;
  };
  REQUIRE(::pthread_create(&thread, nullptr, run, &shared) == 0);
  const Nanos end = driver.loop().now() + kDeadline;
  while (!shared.ran && driver.loop().now() < end) driver.round(kDeadline);  // woken, or this takes too long
  CHECK(shared.ran);
  CHECK(driver.loop().now() < end);
  ::pthread_join(thread, nullptr);
}

template <class Driver>
void posts_of_many_threads_all_run_each_in_its_order(Driver& driver) {
  constexpr int kThreads = 4, kPosts = 5'000;
  struct Poster {
    Loop* loop;
    std::vector<int> seen;
  } posters[kThreads];
  pthread_t threads[kThreads];
  auto run = [](void* argument) -> void* {
    auto* poster = static_cast<Poster*>(argument);
    for (int i = 0; i < kPosts; ++i) poster->loop->post([poster, i] { poster->seen.push_back(i); });
    return nullptr;
  };
  for (int t = 0; t < kThreads; ++t) {
    posters[t].loop = &driver.loop();
    REQUIRE(::pthread_create(&threads[t], nullptr, run, &posters[t]) == 0);
  }
  CHECK(run_until(driver, [&] {
    for (const Poster& poster : posters)
      if (poster.seen.size() < kPosts) return false;
    return true;
  }));
  for (pthread_t thread : threads) ::pthread_join(thread, nullptr);
  for (const Poster& poster : posters) {
    bool in_order = poster.seen.size() == kPosts;
    for (std::size_t i = 0; i < poster.seen.size(); ++i) in_order = in_order && poster.seen[i] == int(i);
    CHECK(in_order);
  }
}

template <class Driver>
void timers_fire_in_order_and_never_early(Driver& driver) {
  Loop& loop = driver.loop();
  std::string order;
  const Nanos begin = loop.now();
  Nanos fired = 0;
  loop.after(30 * kMillisecond, [&] {
    order += 'c';
    fired = loop.now();
  });
  loop.after(0, [&] { order += 'a'; });
  loop.after(5 * kMillisecond, [&] { order += 'b'; });
  REQUIRE(run_until(driver, [&] { return order.size() == 3; }));
  CHECK(order == "abc");
  CHECK(fired - begin >= 30 * kMillisecond);
}

template <class Driver>
void a_cancelled_timer_does_not_fire(Driver& driver) {
  Loop& loop = driver.loop();
  bool fired = false, done = false;
  Loop::TimerId second = 0;
  loop.after(1 * kMillisecond, [&] { loop.cancel(second); });  // both may be due in the same round
  second = loop.after(1 * kMillisecond + 1, [&] { fired = true; });
  const Loop::TimerId third = loop.after(1 * kMillisecond, [&] { fired = true; });
  loop.cancel(third);
  loop.cancel(third);
  loop.cancel(0);
  const Loop::TimerId last = loop.after(20 * kMillisecond, [&] { done = true; });
  CHECK(third != last);
  REQUIRE(run_until(driver, [&] { return done; }));
  loop.cancel(last);
  CHECK_FALSE(fired);
}

template <class Driver>
void neither_tasks_nor_timers_starve_descriptors(Driver& driver) {
  Loop& loop = driver.loop();
  FdPair pair = pair_of_sockets();
  bool readable = false;
  struct Repeater {
    Loop& loop;
    bool stop = false;
    void post_again() {
      if (!stop) loop.post([this] { post_again(); });
    }
    void wait_again() {
      if (!stop) loop.after(0, [this] { wait_again(); });
    }
  } repeater{loop};
  repeater.post_again();
  repeater.wait_again();
  const auto watch = loop.watch(pair.first.get(), {true, false}, [&](Ready) { readable = true; });
  REQUIRE(write_text(loop, pair.second.get(), "x").status == IoResult::Status::kOk);
  CHECK(run_until(driver, [&] { return readable; }));
  loop.unwatch(watch);
  repeater.stop = true;
  int rounds = 0;
  loop.after(0, [&] { rounds = 1; });
  CHECK(run_until(driver, [&] { return rounds == 1; }));
  loop.post([&] { rounds = 2; });
  CHECK(run_until(driver, [&] { return rounds == 2; }));
}

template <class Driver>
void readiness_is_reported_for_what_was_asked(Driver& driver) {
  Loop& loop = driver.loop();
  FdPair pair = pair_of_sockets();
  int reads = 0, writes = 0;
  const auto watch = loop.watch(pair.first.get(), {false, true}, [&](Ready ready) {
    reads += ready.read;
    writes += ready.write;
  });
  REQUIRE(write_text(loop, pair.second.get(), "hello").bytes == 5);
  CHECK(run_until(driver, [&] { return writes >= 2; }));  // level-triggered: again and again
  CHECK(reads == 0);

  loop.change(watch, {true, false});
  writes = 0;
  CHECK(run_until(driver, [&] { return reads >= 2; }));
  CHECK(writes == 0);

  loop.change(watch, {true, true});
  reads = 0;
  CHECK(run_until(driver, [&] { return reads >= 2 && writes >= 2; }));

  loop.change(watch, {});
  pair.second.reset();  // a hang-up, of which nobody wants to know
  reads = writes = 0;
  bool done = false;
  loop.after(20 * kMillisecond, [&] { done = true; });
  CHECK(run_until(driver, [&] { return done; }));
  CHECK(reads + writes == 0);

  loop.change(watch, {true, false});
  CHECK(run_until(driver, [&] { return reads > 0; }));
  std::uint8_t bytes[8];
  CHECK(loop.read(pair.first.get(), bytes, sizeof bytes).bytes == 5);
  CHECK(loop.read(pair.first.get(), bytes, sizeof bytes).status == IoResult::Status::kEnd);
  loop.unwatch(watch);
}

template <class Driver>
void a_broken_pipe_is_writable_and_says_so(Driver& driver) {
  Loop& loop = driver.loop();
  FdPair pipe = nonblocking_pipe();
  int writes = 0;
  const auto watch =
      loop.watch(pipe.second.get(), {false, true}, [&](Ready ready) { writes += ready.write; });
  while (write_text(loop, pipe.second.get(), std::string(4096, 'x')).status == IoResult::Status::kOk) {
  }
  pipe.first.reset();
  CHECK(run_until(driver, [&] { return writes > 0; }));
  const IoResult result = write_text(loop, pipe.second.get(), "x");
  CHECK(result.status == IoResult::Status::kError);
  CHECK(result.error == EPIPE);
  loop.unwatch(watch);
}

template <class Driver>
void the_end_of_a_pipe_is_readable(Driver& driver) {
  Loop& loop = driver.loop();
  FdPair pipe = nonblocking_pipe();
  bool ended = false;
  const int fd = pipe.first.get();
  const auto watch = loop.watch(fd, {true, false}, [&](Ready) {
    std::uint8_t byte;
    ended = loop.read(fd, &byte, 1).status == IoResult::Status::kEnd;
  });
  std::uint8_t byte;
  CHECK(loop.read(fd, &byte, 1).status == IoResult::Status::kWouldBlock);
  pipe.second.reset();
  CHECK(run_until(driver, [&] { return ended; }));
  loop.unwatch(watch);
}

template <class Driver>
void a_file_is_always_ready(Driver& driver) {
  Loop& loop = driver.loop();
  char path[] = "/tmp/banyan-loop-XXXXXX";
  Fd file(::mkostemp(path, O_CLOEXEC));
  REQUIRE(bool(file));
  ::unlink(path);
  int reads = 0, writes = 0;
  const auto watch = loop.watch(file.get(), {true, true}, [&](Ready ready) {
    reads += ready.read;
    writes += ready.write;
  });
  CHECK(run_until(driver, [&] { return reads >= 2 && writes >= 2; }));
  loop.change(watch, {false, true});
  reads = writes = 0;
  CHECK(run_until(driver, [&] { return writes >= 2; }));
  CHECK(reads == 0);
  loop.change(watch, {});
  writes = 0;
  bool done = false;
  loop.after(5 * kMillisecond, [&] { done = true; });
  CHECK(run_until(driver, [&] { return done; }));
  CHECK(writes == 0);
  std::uint8_t byte;
  CHECK(write_text(loop, file.get(), "abc").bytes == 3);
  CHECK(loop.read(file.get(), &byte, 1).status == IoResult::Status::kEnd);
  loop.unwatch(watch);
}

template <class Driver>
void a_stale_event_never_reaches_a_new_watch(Driver& driver) {
  Loop& loop = driver.loop();
  // Both are readable at once; whoever is called first closes the other, whose number the new pair gets.
  FdPair pairs[2] = {pair_of_sockets(), pair_of_sockets()};
  Loop::WatchId watches[2] = {};
  FdPair fresh;
  Loop::WatchId fresh_watch = 0;
  int calls = 0, stale = 0, reused = 0;
  for (int i = 0; i < 2; ++i) {
    watches[i] = loop.watch(pairs[i].first.get(), {true, false}, [&, i](Ready) {
      if (++calls > 1) return;
      const int other = pairs[1 - i].first.get();
      loop.unwatch(watches[1 - i]);
      loop.close(pairs[1 - i].first.release());
      fresh = pair_of_sockets();
      reused = fresh.first.get() == other;
      fresh_watch = loop.watch(fresh.first.get(), {true, false}, [&](Ready) { ++stale; });
      loop.unwatch(watches[i]);
    });
    write_text(loop, pairs[i].second.get(), "x");
  }
  bool done = false;
  loop.after(20 * kMillisecond, [&] { done = true; });
  CHECK(run_until(driver, [&] { return done; }));
  CHECK(reused == 1);
  CHECK(calls == 1);
  CHECK(stale == 0);
  write_text(loop, fresh.second.get(), "x");
  CHECK(run_until(driver, [&] { return stale > 0; }));
  loop.unwatch(fresh_watch);
}

template <class Driver>
void a_watcher_may_unwatch_itself(Driver& driver) {
  Loop& loop = driver.loop();
  FdPair pair = pair_of_sockets();
  auto owned = std::make_shared<int>(0);
  std::weak_ptr<int> observed = owned;
  Loop::WatchId watch = 0;
  int calls = 0;
  watch = loop.watch(pair.first.get(), {false, true}, [&, owned](Ready) {
    loop.unwatch(watch);
    // Enough new ones to make a table move, while what was captured is still needed.
    Loop::WatchId again = loop.watch(pair.first.get(), {}, [](Ready) {});
    loop.unwatch(again);
    *owned = 7;
    ++calls;
  });
  owned.reset();
  CHECK(run_until(driver, [&] { return calls > 0; }));
  bool done = false;
  loop.after(5 * kMillisecond, [&] { done = true; });
  CHECK(run_until(driver, [&] { return done; }));
  CHECK(calls == 1);
  CHECK(observed.expired());
  loop.unwatch(watch);  // a stale id: no effect
}

template <class Driver>
void one_descriptor_may_be_read_and_another_written(Driver& driver) {
  Loop& loop = driver.loop();
  FdPair pipe = nonblocking_pipe();
  const int in = pipe.first.get(), out = pipe.second.get();
  std::size_t received = 0, sent = 0;
  constexpr std::size_t kBytes = 1 << 20;
  Buffer data(50'000, 'x');
  const auto writer = loop.watch(out, {false, true}, [&](Ready) {
    const iovec parts[2] = {{data.data(), 1}, {data.data(), data.size()}};
    const IoResult result = loop.write(out, parts, 2);
    if (result.status == IoResult::Status::kOk) sent += result.bytes;
  });
  const auto reader = loop.watch(in, {true, false}, [&](Ready) {
    std::uint8_t bytes[1000];
    const IoResult result = loop.read(in, bytes, sizeof bytes);
    if (result.status == IoResult::Status::kOk) received += result.bytes;
  });
  CHECK(run_until(driver, [&] { return received >= kBytes; }));
  CHECK(sent >= received);
  loop.unwatch(writer);
  loop.unwatch(reader);
}

template <class Driver>
void a_socket_needs_no_flag_not_to_block(Driver& driver) {
  Loop& loop = driver.loop();
  FdPair pair = pair_of_sockets();
  REQUIRE((::fcntl(pair.first.get(), F_GETFL) & O_NONBLOCK) == 0);
  std::uint8_t byte;
  CHECK(loop.read(pair.first.get(), &byte, 1).status == IoResult::Status::kWouldBlock);
  IoResult result;
  do result = write_text(loop, pair.first.get(), std::string(8192, 'x'));
  while (result.status == IoResult::Status::kOk);
  CHECK(result.status == IoResult::Status::kWouldBlock);
  bool writable = false;
  const auto watch = loop.watch(pair.first.get(), {false, true}, [&](Ready) { writable = true; });
  CHECK((::fcntl(pair.first.get(), F_GETFL) & O_NONBLOCK) == 0);
  driver.round(kMillisecond);
  CHECK_FALSE(writable);
  Buffer drain(1 << 20);
  while (loop.read(pair.second.get(), drain.data(), drain.size()).status == IoResult::Status::kOk) {
  }
  CHECK(run_until(driver, [&] { return writable; }));
  loop.unwatch(watch);
  pair.second.reset();
  result = write_text(loop, pair.first.get(), "x");
  CHECK(result.status == IoResult::Status::kError);
  CHECK(result.error == EPIPE);
}

template <class Driver>
void a_reused_number_is_looked_at_anew(Driver& driver) {
  Loop& loop = driver.loop();
  FdPair pipe = nonblocking_pipe();
  std::uint8_t byte;
  CHECK(loop.read(pipe.first.get(), &byte, 1).status == IoResult::Status::kWouldBlock);
  const int number = pipe.first.release();
  loop.close(number);
  FdPair pair = pair_of_sockets();  // a blocking socket, in the place of a pipe
  REQUIRE(pair.first.get() == number);
  CHECK(loop.read(number, &byte, 1).status == IoResult::Status::kWouldBlock);
}

template <class Driver>
void more_parts_than_the_kernel_takes_are_a_short_write(Driver& driver) {
  Loop& loop = driver.loop();
  FdPair pair = pair_of_sockets();
  FdPair pipe = nonblocking_pipe();
  std::uint8_t byte = 'x';
  std::vector<iovec> parts(3000, iovec{&byte, 1});
  for (int fd : {pair.first.get(), pipe.second.get()}) {
    const IoResult result = loop.write(fd, parts.data(), int(parts.size()));
    CHECK(result.status == IoResult::Status::kOk);
    CHECK(result.bytes == 1024);
  }
}

template <class Driver>
void signals_do_not_disturb_it(Driver& driver) {
  struct sigaction action = {}, before;
  action.sa_handler = [](int) {};  // without SA_RESTART
  ::sigaction(SIGALRM, &action, &before);
  const itimerval every = {{0, 500}, {0, 500}};
  ::setitimer(ITIMER_REAL, &every, nullptr);
  bool done = false;
  const Nanos begin = driver.loop().now();
  driver.loop().after(50 * kMillisecond, [&] { done = true; });
  CHECK(run_until(driver, [&] { return done; }));
  CHECK(driver.loop().now() - begin >= 50 * kMillisecond);
  const itimerval never = {};
  ::setitimer(ITIMER_REAL, &never, nullptr);
  ::sigaction(SIGALRM, &before, nullptr);
}

template <class Driver>
void random_numbers_differ(Driver& driver) {
  std::uint64_t ones = 0, zeros = 0;
  std::vector<std::uint64_t> seen;
  for (int i = 0; i < 100; ++i) {
    const std::uint64_t number = driver.loop().random();
    for (std::uint64_t other : seen) CHECK(other != number);
    seen.push_back(number);
    ones |= number;
    zeros |= ~number;
  }
  CHECK(ones == UINT64_MAX);   // every bit is sometimes 1,
  CHECK(zeros == UINT64_MAX);  // and sometimes 0
}

}  // namespace banyan::loop_contract

#define LOOP_CONTRACT_TEST(name, Driver, fact, words) \
  TEST_CASE(name ": " words) {                        \
    Driver driver;                                    \
    ::banyan::loop_contract::fact(driver);            \
  }

#define LOOP_CONTRACT_TESTS(name, Driver)                                                                  \
  LOOP_CONTRACT_TEST(name, Driver, posted_tasks_run_in_order, "posted tasks run in order")                 \
  LOOP_CONTRACT_TEST(name, Driver, a_post_from_another_thread_wakes_it,                                    \
                     "a post from another thread wakes it")                                                \
  LOOP_CONTRACT_TEST(name, Driver, posts_of_many_threads_all_run_each_in_its_order,                        \
                     "posts of many threads all run, each thread's in its order")                          \
  LOOP_CONTRACT_TEST(name, Driver, timers_fire_in_order_and_never_early,                                   \
                     "timers fire in order and never early")                                               \
  LOOP_CONTRACT_TEST(name, Driver, a_cancelled_timer_does_not_fire, "a cancelled timer does not fire")     \
  LOOP_CONTRACT_TEST(name, Driver, neither_tasks_nor_timers_starve_descriptors,                            \
                     "neither tasks nor timers that repeat themselves starve descriptors")                 \
  LOOP_CONTRACT_TEST(name, Driver, readiness_is_reported_for_what_was_asked,                               \
                     "readiness is reported for what was asked, a hang-up too")                            \
  LOOP_CONTRACT_TEST(name, Driver, a_broken_pipe_is_writable_and_says_so,                                  \
                     "a pipe without a reader is writable, and writing is an error, not a signal")         \
  LOOP_CONTRACT_TEST(name, Driver, the_end_of_a_pipe_is_readable, "the end of a pipe is readable")         \
  LOOP_CONTRACT_TEST(name, Driver, a_file_is_always_ready, "a file is always ready")                       \
  LOOP_CONTRACT_TEST(name, Driver, a_stale_event_never_reaches_a_new_watch,                                \
                     "a stale event never reaches a new watch of the same number")                         \
  LOOP_CONTRACT_TEST(name, Driver, a_watcher_may_unwatch_itself, "a watcher may unwatch itself")           \
  LOOP_CONTRACT_TEST(name, Driver, one_descriptor_may_be_read_and_another_written,                         \
                     "a pipe filled and emptied by the same loop keeps flowing")                           \
  LOOP_CONTRACT_TEST(name, Driver, a_socket_needs_no_flag_not_to_block,                                    \
                     "a socket needs no flag not to block")                                                \
  LOOP_CONTRACT_TEST(name, Driver, a_reused_number_is_looked_at_anew, "a reused number is looked at anew") \
  LOOP_CONTRACT_TEST(name, Driver, more_parts_than_the_kernel_takes_are_a_short_write,                     \
                     "more parts than the kernel takes are a short write")                                 \
  LOOP_CONTRACT_TEST(name, Driver, signals_do_not_disturb_it, "signals do not disturb it")                 \
  LOOP_CONTRACT_TEST(name, Driver, random_numbers_differ, "random numbers differ")
