// core/latch.h -- a queue between threads: any number put, any number wait, each item reaches one of them.
//
// First come, first served among those that sleep: an item is handed to the first of them, so one that comes
// later without sleeping cannot take it. No wake-up is lost, and none is shared. It holds no descriptor, so
// ten thousand threads may sleep on one.
//
// Thread: any, except that whoever destroys it knows that nobody is about to call. Sleepers that close() has
// woken may still be on their way out: they do not touch it any more.
#pragma once

#include <atomic>
#include <cstdint>
#include <deque>
#include <utility>

#include "core/assert.h"
#include "core/loop.h"
#include "core/mutex.h"

namespace banyan {

enum class LatchOutcome : std::uint8_t { kGot, kTimedOut, kClosed };

// What does not depend on the type of the items.
class LatchBase {
 public:
  LatchBase() = default;
  LatchBase(const LatchBase&) = delete;
  LatchBase& operator=(const LatchBase&) = delete;
  ~LatchBase() { ASSERT(first_ == nullptr); }  // somebody sleeps here: close() first

  // Wakes everybody. From now on put and get fail, whatever is queued. Again: no effect.
  void close();

 protected:
  struct Sleeper {
    static constexpr std::uint32_t kAsleep = 0, kServed = 1, kClosed = 2;
    std::atomic<std::uint32_t> state = kAsleep;  // the futex; leaves kAsleep once, with the mutex held
    void* to;                                    // where the item goes
    Sleeper* previous = nullptr;
    Sleeper* next = nullptr;
  };
  void append(Sleeper& sleeper);
  void remove(Sleeper& sleeper);
  // Call without the mutex, after append(). `until` is monotonic.
  LatchOutcome sleep(Sleeper& sleeper, Nanos until);
  static void wake(std::atomic<std::uint32_t>* state);
  static Nanos now();

  Mutex mutex_;
  Sleeper* first_ = nullptr;
  Sleeper* last_ = nullptr;
  bool closed_ = false;
};

// T is movable and has an empty value to be moved into.
template <class T>
class Latch : public LatchBase {
 public:
  static constexpr Nanos kForever = INT64_MAX;

  // False when it is closed; the item is then as it was.
  bool put(T&& item) {
    std::atomic<std::uint32_t>* state;
    {
      MutexLock lock(mutex_);
      if (closed_) return false;
      Sleeper* sleeper = first_;
      if (sleeper == nullptr) {
        items_.push_back(std::move(item));
        return true;
      }
      remove(*sleeper);
      *static_cast<T*>(sleeper->to) = std::move(item);
      state = &sleeper->state;
      state->store(Sleeper::kServed, std::memory_order_release);
    }
    // The sleeper may be gone by now: only the address is used, and a wake-up too many harms nobody.
    wake(state);
    return true;
  }
  bool put(const T& item) { return put(T(item)); }

  // Waits for an item no longer than `timeout`; 0: only looks. `to` is written with kGot.
  LatchOutcome get(T& to, Nanos timeout = kForever) {
    Sleeper sleeper;
    sleeper.to = &to;
    {
      MutexLock lock(mutex_);
      if (closed_) return LatchOutcome::kClosed;
      if (!items_.empty()) {
        to = std::move(items_.front());
        items_.pop_front();
        return LatchOutcome::kGot;
      }
      if (timeout <= 0) return LatchOutcome::kTimedOut;
      append(sleeper);
    }
    return sleep(sleeper, timeout == kForever ? kForever : now() + timeout);
  }
  LatchOutcome try_get(T& to) { return get(to, 0); }

  std::size_t size() {
    MutexLock lock(mutex_);
    return items_.size();
  }

 private:
  std::deque<T> items_;  // empty while somebody sleeps; bounded by whoever puts
};

}  // namespace banyan
