#include "core/latch.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace banyan {

void LatchBase::append(Sleeper& sleeper) {
  sleeper.previous = last_;
  (last_ != nullptr ? last_->next : first_) = &sleeper;
  last_ = &sleeper;
}

void LatchBase::remove(Sleeper& sleeper) {
  (sleeper.previous != nullptr ? sleeper.previous->next : first_) = sleeper.next;
  (sleeper.next != nullptr ? sleeper.next->previous : last_) = sleeper.previous;
}

Nanos LatchBase::now() {
  timespec time;
  ::clock_gettime(CLOCK_MONOTONIC, &time);
  return Nanos(time.tv_sec) * kSecond + time.tv_nsec;
}

void LatchBase::wake(std::atomic<std::uint32_t>* state) {
  ::syscall(SYS_futex, state, FUTEX_WAKE_PRIVATE, INT_MAX, nullptr, nullptr, 0);
}

LatchOutcome LatchBase::sleep(Sleeper& sleeper, Nanos until) {
  // This call's time has the width of a long; the C library's timespec may be wider. The clock counts from
  // the start of the machine, so that seconds fit.
  const long deadline[] = {long(std::min<Nanos>(until / kSecond, LONG_MAX)), long(until % kSecond)};
  for (;;) {
    const std::uint32_t state = sleeper.state.load(std::memory_order_acquire);
    // Whoever changed the state has taken us off the list: not a word to the latch, which may be gone.
    if (state != Sleeper::kAsleep)
      return state == Sleeper::kServed ? LatchOutcome::kGot : LatchOutcome::kClosed;
    const auto result = ::syscall(SYS_futex, &sleeper.state, FUTEX_WAIT_BITSET_PRIVATE, Sleeper::kAsleep,
                                  deadline, nullptr, FUTEX_BITSET_MATCH_ANY);
    if (result == 0 || errno != ETIMEDOUT) continue;
    MutexLock lock(mutex_);
    if (sleeper.state.load(std::memory_order_relaxed) != Sleeper::kAsleep) continue;  // served just in time
    remove(sleeper);
    return LatchOutcome::kTimedOut;
  }
}

void LatchBase::close() {
  MutexLock lock(mutex_);
  closed_ = true;
  Sleeper* next;
  for (Sleeper* sleeper = std::exchange(first_, nullptr); sleeper != nullptr; sleeper = next) {
    next = sleeper->next;  // before the store: after it the sleeper may be gone
    std::atomic<std::uint32_t>* state = &sleeper->state;
    state->store(Sleeper::kClosed, std::memory_order_release);
    wake(state);
  }
  last_ = nullptr;
}

}  // namespace banyan
