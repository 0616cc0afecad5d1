#include "shm/futex.h"

#include <linux/futex.h>
#include <linux/membarrier.h>
#include <sys/syscall.h>
#include <time.h>
#include <unistd.h>

#include <algorithm>
#include <cerrno>
#include <climits>

namespace banyan::shm {
namespace {

// On a kernel that cannot wait for two words at once, a request to stop is noticed after this long.
constexpr std::chrono::milliseconds kStopIn{10};

#ifdef SYS_futex_waitv
constexpr long kFutexWaitv = SYS_futex_waitv;
#else
constexpr long kFutexWaitv = 449;  // the same number on every machine
#endif

struct Waiter {  // the kernel's struct futex_waitv, which older headers lack
  std::uint64_t value, address;
  std::uint32_t flags, reserved;
};
constexpr std::uint32_t kWord32 = 2;

const std::uint32_t* address_of(const std::atomic<std::uint32_t>& word) {
  return reinterpret_cast<const std::uint32_t*>(&word);
}

struct KernelTime {  // of 64 bits on every machine
  std::int64_t seconds, nanoseconds;
};

// False: this kernel cannot, or this process may not.
bool wait_for_two(const std::atomic<std::uint32_t>& word, std::uint32_t expected,
                  const std::atomic<std::uint32_t>& other, Deadline deadline) {
  const Waiter waiters[2] = {{expected, std::uint64_t(reinterpret_cast<std::uintptr_t>(&word)), kWord32, 0},
                             {0, std::uint64_t(reinterpret_cast<std::uintptr_t>(&other)), kWord32, 0}};
  const auto since_boot =
      std::chrono::duration_cast<std::chrono::nanoseconds>(deadline.time_since_epoch()).count();
  const KernelTime until{since_boot / 1000000000, since_boot % 1000000000};
  return ::syscall(kFutexWaitv, waiters, 2, 0, &until, CLOCK_MONOTONIC) >= 0 ||
         (errno != ENOSYS && errno != EPERM && errno != EINVAL);
}

}  // namespace

Stop::Stop(const std::stop_token& token) : token_(token) {
  if (token_.stop_possible()) callback_.emplace(token_, Wake{&word_});
}

void Stop::Wake::operator()() const {
  word->store(1, std::memory_order_release);
  wake_all(*word);
}

void sleep_on(const std::atomic<std::uint32_t>& word, std::uint32_t expected, Deadline deadline,
              const Stop& stop) {
  const Deadline now = Clock::now();
  Deadline until = std::min(deadline, now + kLookAgain);
  if (until <= now || stop.requested()) return;
  if (stop.possible()) {
    if (wait_for_two(word, expected, stop.word(), until)) return;
    until = std::min(until, now + kStopIn);
  }
  const auto left = std::chrono::duration_cast<std::chrono::nanoseconds>(until - now).count();
  timespec time{};
  time.tv_nsec =
      static_cast<decltype(time.tv_nsec)>(left % 1000000000);  // less than kLookAgain, so below a second
  ::syscall(SYS_futex, address_of(word), FUTEX_WAIT, expected, &time, nullptr, 0);
}

void wake_all(const std::atomic<std::uint32_t>& word) {
  ::syscall(SYS_futex, address_of(word), FUTEX_WAKE, INT_MAX, nullptr, nullptr, 0);
}

bool let_others_fence() {
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_REGISTER_GLOBAL_EXPEDITED, 0, 0) == 0;
}

bool fence_others() {
  std::atomic_thread_fence(std::memory_order_seq_cst);
  return ::syscall(SYS_membarrier, MEMBARRIER_CMD_GLOBAL_EXPEDITED, 0, 0) == 0;
}

}  // namespace banyan::shm
