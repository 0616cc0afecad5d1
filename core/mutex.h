// core/mutex.h -- a mutex without <mutex>, whose failure paths would bring exceptions into the agent, and
// without pthread's, of which the agent would carry the robust and the recursive ones too.
#pragma once

#include <atomic>
#include <cstdint>

namespace banyan {

class Mutex {
 public:
  Mutex() = default;
  Mutex(const Mutex&) = delete;
  Mutex& operator=(const Mutex&) = delete;

  void lock();
  void unlock();

 private:
  static constexpr std::uint32_t kFree = 0, kHeld = 1, kContended = 2;  // the last: somebody may sleep on it
  std::atomic<std::uint32_t> state_ = kFree;                            // a futex
};

// Holds a mutex for a scope.
class MutexLock {
 public:
  explicit MutexLock(Mutex& mutex) : mutex_(mutex) { mutex_.lock(); }
  MutexLock(const MutexLock&) = delete;
  MutexLock& operator=(const MutexLock&) = delete;
  ~MutexLock() { mutex_.unlock(); }

 private:
  Mutex& mutex_;
};

}  // namespace banyan
