// core/loop.h -- everything the outside world is to core: descriptors, time, randomness, and "later".
//
// Three forms: EpollLoop (core/epoll_loop.h, the agent), AsioLoop (parent/api/asio_loop.h, programs), SimLoop
// (tests/simulation/sim_loop.h: one seed decides delays, split reads, cuts and order). Code that takes a
// Loop& runs unchanged over all three, so what is simulated is what runs in production.
//
// Thread: a Loop belongs to the thread that runs it; only post() may be called from another. Lifetime: it
// outlives everything that was given a reference to it. Nothing here blocks.
#pragma once

#include <sys/uio.h>

#include <cstddef>
#include <cstdint>

#include "core/function.h"

namespace banyan {

using Nanos = std::int64_t;  // monotonic; only differences mean anything
constexpr Nanos kMicrosecond = 1'000;
constexpr Nanos kMillisecond = 1'000'000;
constexpr Nanos kSecond = 1'000'000'000;

// What a watcher waits for. Error and hang-up are reported as readable and as writable, as far as either was
// asked for: read() or write() then says which. Who asks for neither is not told of them.
struct Interest {
  bool read = false;
  bool write = false;
  bool operator==(const Interest&) const = default;
};
using Ready = Interest;

struct IoResult {
  enum class Status : std::uint8_t { kOk, kWouldBlock, kEnd, kError };
  Status status = Status::kOk;
  std::size_t bytes = 0;  // with kOk: more than 0, perhaps fewer than asked for
  int error = 0;          // errno with kError
};

class Loop {
 public:
  using Task = Function<void()>;
  using OnReady = Function<void(Ready)>;
  using TimerId = std::uint64_t;  // 0: no timer
  using WatchId = std::uint64_t;  // 0: no watch; never reused, so a stale one harms nobody

  Loop() = default;
  Loop(const Loop&) = delete;
  Loop& operator=(const Loop&) = delete;
  virtual ~Loop() = default;

  virtual Nanos now() const = 0;
  virtual std::uint64_t random() = 0;

  // Runs `task` on the loop's thread, in order, before the loop next sleeps. From the loop's own thread it
  // costs no system call, so it also means "at the end of this round". Any thread may call it.
  virtual void post(Task task) = 0;

  // Runs `task` once, not before `delay` has passed. Timers with equal deadlines fire in the order of
  // creation.
  virtual TimerId after(Nanos delay, Task task) = 0;
  // After this returns the task does not run. An id that fired, was cancelled, or is 0: no effect.
  virtual void cancel(TimerId timer) = 0;

  // Level-triggered. One watch for a descriptor. `on_ready` may unwatch, close and watch anew, itself
  // included.
  virtual WatchId watch(int fd, Interest interest, OnReady on_ready) = 0;
  virtual void change(WatchId watch, Interest interest) = 0;
  // After this returns `on_ready` is not called again. REQUIRES: called before the descriptor is closed.
  virtual void unwatch(WatchId watch) = 0;

  // Never block: pipes and files must be O_NONBLOCK (core/nonblocking.h), sockets need not be.
  virtual IoResult read(int fd, std::uint8_t* to, std::size_t max) = 0;
  virtual IoResult write(int fd, const iovec* parts, int count) = 0;
  virtual void close(int fd) = 0;
};

}  // namespace banyan
