// core/timer_queue.h -- the timers of a loop, earliest first; one that is cancelled is gone at once.
//
// Knows no clock: its loop says what time it is. Thread: the loop's.
#pragma once

#include <cstdint>
#include <vector>

#include "core/loop.h"
#include "core/table.h"

namespace banyan {

class TimerQueue {
 public:
  Loop::TimerId add(Nanos deadline, Loop::Task task);
  // Unknown ids, 0 among them: no effect.
  void cancel(Loop::TimerId timer);

  // What the tasks own may call back.
  void clear();

  bool empty() const { return heap_.empty(); }
  // REQUIRES: not empty.
  Nanos earliest() const;
  // Runs what is due at `now`, in the order of deadlines. What these tasks add waits for the next time.
  void run_due(Nanos now);

 private:
  struct Timer {
    Nanos deadline = 0;
    Loop::TimerId id = 0;  // in order of creation
    Loop::Task task;
    std::size_t place = 0;  // in heap_
  };
  static bool is_before(const Timer& a, const Timer& b);
  void put(std::size_t place, Timer* timer);
  void settle(std::size_t place, Timer* timer);
  void take_out(Timer& timer);

  std::vector<Timer*> heap_;  // no timer before its parent, which is at (place - 1) / 2
  Table<Loop::TimerId, Timer> timers_;
  Loop::TimerId last_id_ = 0;
};

}  // namespace banyan
