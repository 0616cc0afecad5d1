// core/timer_queue.h -- the timers of a loop, earliest first; cancelled ones cost nothing but a little space.
//
// Knows no clock: its loop says what time it is. Thread: the loop's.
#pragma once

#include <cstdint>
#include <vector>

#include "core/loop.h"

namespace banyan {

class TimerQueue {
 public:
  Loop::TimerId add(Nanos deadline, Loop::Task task);
  // Unknown ids, 0 among them: no effect.
  void cancel(Loop::TimerId timer);

  bool empty() const { return live_ == 0; }
  // REQUIRES: not empty.
  Nanos earliest();
  // Runs what is due at `now`, in the order of deadlines. What these tasks add waits for the next time.
  void run_due(Nanos now);

 private:
  // An id is the order of creation above the number of the slot, so a stale one matches no slot.
  static constexpr int kSlotBits = 24;
  struct Slot {
    std::uint64_t order = 0;  // 0: free
    Loop::Task task;
  };
  struct Entry {
    Nanos deadline;
    std::uint64_t order;
    std::uint32_t slot;
  };
  static bool is_later(const Entry& a, const Entry& b);
  bool is_stale(const Entry& entry) const { return slots_[entry.slot].order != entry.order; }
  Loop::Task release(std::uint32_t slot);
  void pop();
  void drop_stale();

  std::vector<Entry> heap_;
  std::vector<Slot> slots_;
  std::vector<std::uint32_t> free_;
  std::uint64_t next_order_ = 1;
  std::size_t live_ = 0;
};

}  // namespace banyan
