#include "core/timer_queue.h"

#include <algorithm>
#include <utility>

#include "core/assert.h"

namespace banyan {

namespace {

// Below this many entries the cancelled ones among them are not worth a sweep.
constexpr std::size_t kSweepFrom = 64;

}  // namespace

bool TimerQueue::is_later(const Entry& a, const Entry& b) {
  return a.deadline != b.deadline ? a.deadline > b.deadline : a.order > b.order;
}

Loop::TimerId TimerQueue::add(Nanos deadline, Loop::Task task) {
  std::uint32_t slot;
  if (free_.empty()) {
    slot = std::uint32_t(slots_.size());
    ASSERT(slot >> kSlotBits == 0);
    slots_.emplace_back();
  } else {
    slot = free_.back();
    free_.pop_back();
  }
  const std::uint64_t order = next_order_++;
  slots_[slot].order = order;
  slots_[slot].task = std::move(task);
  ++live_;
  heap_.push_back({deadline, order, slot});
  std::push_heap(heap_.begin(), heap_.end(), is_later);
  return order << kSlotBits | slot;
}

void TimerQueue::cancel(Loop::TimerId timer) {
  const auto slot = std::uint32_t(timer & ((1u << kSlotBits) - 1));
  if (timer == 0 || slot >= slots_.size() || slots_[slot].order != timer >> kSlotBits) return;
  // Destroyed only after the tables are right again: what the task owned may call back.
  const Loop::Task task = release(slot);
  if (heap_.size() >= kSweepFrom && heap_.size() > 2 * live_) {
    std::erase_if(heap_, [this](const Entry& entry) { return is_stale(entry); });
    std::make_heap(heap_.begin(), heap_.end(), is_later);
  }
}

Loop::Task TimerQueue::release(std::uint32_t slot) {
  slots_[slot].order = 0;
  free_.push_back(slot);
  --live_;
  return std::exchange(slots_[slot].task, nullptr);
}

void TimerQueue::pop() {
  std::pop_heap(heap_.begin(), heap_.end(), is_later);
  heap_.pop_back();
}

void TimerQueue::drop_stale() {
  while (!heap_.empty() && is_stale(heap_.front())) pop();
}

Nanos TimerQueue::earliest() {
  drop_stale();
  ASSERT(!heap_.empty());
  return heap_.front().deadline;
}

void TimerQueue::run_due(Nanos now) {
  const std::uint64_t end = next_order_;
  for (;;) {
    drop_stale();
    if (heap_.empty() || heap_.front().deadline > now || heap_.front().order >= end) return;
    const std::uint32_t slot = heap_.front().slot;
    pop();
    release(slot)();
  }
}

}  // namespace banyan
