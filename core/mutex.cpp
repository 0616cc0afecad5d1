#include "core/mutex.h"

#include <linux/futex.h>
#include <sys/syscall.h>
#include <unistd.h>

namespace banyan {

void Mutex::lock() {
  std::uint32_t seen = kFree;
  if (state_.compare_exchange_strong(seen, kHeld, std::memory_order_acquire)) return;
  // Whoever has slept does not know whether others still do, so it says that they may.
  while (state_.exchange(kContended, std::memory_order_acquire) != kFree)
    ::syscall(SYS_futex, &state_, FUTEX_WAIT_PRIVATE, kContended, nullptr);
}

void Mutex::unlock() {
  if (state_.exchange(kFree, std::memory_order_release) == kContended)
    ::syscall(SYS_futex, &state_, FUTEX_WAKE_PRIVATE, 1);
}

}  // namespace banyan
