// shm/futex.h -- sleeping until a word in shared memory changes, also one that may only be read; and barriers
// of which the side that hurries pays nothing.
//
// Who sleeps says so in a flag first, and who changes the word wakes only if that flag is set. Between the
// store of the word and the load of the flag the writer would need a full barrier, for each row, for a reader
// that nearly never sleeps. Instead the reader makes every writer pass a barrier, by membarrier(), before it
// sleeps.
#pragma once

#include <atomic>
#include <chrono>
#include <cstdint>
#include <functional>
#include <optional>
#include <stop_token>

namespace banyan::shm {

using Clock = std::chrono::steady_clock;
using Deadline = Clock::time_point;
constexpr Deadline kForever = Deadline::max();
inline Deadline after(std::chrono::nanoseconds time) {
  return Clock::now() + time;
}

// How long anybody sleeps at most before looking whether the other side still lives, which nobody wakes us
// for.
constexpr std::chrono::milliseconds kLookAgain{100};

// A word that a stop_token's request changes and wakes, so that a sleeper hears of it.
class Stop {
 public:
  explicit Stop(const std::stop_token& token);
  Stop(const Stop&) = delete;
  Stop& operator=(const Stop&) = delete;
  bool requested() const { return token_.stop_requested(); }
  const std::atomic<std::uint32_t>& word() const { return word_; }
  bool possible() const { return token_.stop_possible(); }

 private:
  struct Wake {
    std::atomic<std::uint32_t>* word;
    void operator()() const;
  };
  std::stop_token token_;
  std::atomic<std::uint32_t> word_{0};
  std::optional<std::stop_callback<Wake>> callback_;
};

// Sleeps while `word` is `expected`: until it is woken, `stop` is requested or the deadline has come. May
// return for no reason at all; callers look for themselves.
void sleep_on(const std::atomic<std::uint32_t>& word, std::uint32_t expected, Deadline deadline,
              const Stop& stop);

// Wakes all that sleep on it, in every process.
void wake_all(const std::atomic<std::uint32_t>& word);

// For a writer, once: true when its stores and loads need no fence of their own, because readers make it pass
// barriers. False: it must fence.
bool let_others_fence();

// For a reader: what every such writer stored before is visible afterwards, and what we stored is to it.
// False: it cannot be done from here, so a writer may miss that we sleep.
bool fence_others();

}  // namespace banyan::shm
