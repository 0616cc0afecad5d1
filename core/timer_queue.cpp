#include "core/timer_queue.h"

#include <utility>

#include "core/assert.h"

namespace banyan {

bool TimerQueue::is_before(const Timer& a, const Timer& b) {
  return a.deadline != b.deadline ? a.deadline < b.deadline : a.id < b.id;
}

void TimerQueue::put(std::size_t place, Timer* timer) {
  heap_[place] = timer;
  timer->place = place;
}

// Puts the timer where it belongs: at the free place, or up or down from there.
void TimerQueue::settle(std::size_t place, Timer* timer) {
  for (; place > 0 && is_before(*timer, *heap_[(place - 1) / 2]); place = (place - 1) / 2)
    put(place, heap_[(place - 1) / 2]);
  for (;;) {
    std::size_t child = 2 * place + 1;
    if (child + 1 < heap_.size() && is_before(*heap_[child + 1], *heap_[child])) ++child;
    if (child >= heap_.size() || is_before(*timer, *heap_[child])) break;
    put(place, heap_[child]);
    place = child;
  }
  put(place, timer);
}

void TimerQueue::take_out(Timer& timer) {
  Timer* const last = heap_.back();
  heap_.pop_back();
  if (last != &timer) settle(timer.place, last);
}

Loop::TimerId TimerQueue::add(Nanos deadline, Loop::Task task) {
  const Loop::TimerId id = ++last_id_;
  Timer& timer = timers_[id];
  timer.deadline = deadline;
  timer.id = id;
  timer.task = std::move(task);
  heap_.push_back(&timer);
  settle(heap_.size() - 1, &timer);
  return id;
}

void TimerQueue::cancel(Loop::TimerId id) {
  const auto found = timers_.find(id);
  if (found == timers_.end()) return;
  take_out(found->second);
  timers_.erase(found);  // what the task owned may call back
}

void TimerQueue::clear() {
  while (!heap_.empty()) cancel(heap_.back()->id);
}

Nanos TimerQueue::earliest() const {
  ASSERT(!heap_.empty());
  return heap_.front()->deadline;
}

void TimerQueue::run_due(Nanos now) {
  const Loop::TimerId last = last_id_;
  while (!heap_.empty() && heap_.front()->deadline <= now && heap_.front()->id <= last) {
    Timer& timer = *heap_.front();
    const Loop::Task task = std::move(timer.task);
    take_out(timer);
    timers_.erase(timer.id);
    task();
  }
}

}  // namespace banyan
