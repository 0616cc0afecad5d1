#include "core/scheduler.h"

#include <utility>

#include "core/assert.h"

namespace banyan {

namespace {

constexpr std::size_t kTurn = kHeaderBytes + kFramePayloadMax;  // so whoever has the turn can always send one

}  // namespace

template <class Member>
void FrameScheduler::Ring<Member>::push_back(Member& member) {
  member.next = last_ != nullptr ? std::exchange(last_->next, &member) : &member;
  last_ = &member;
}

template <class Member>
void FrameScheduler::Ring<Member>::pop_front() {
  Member* const first = last_->next;
  last_->next = first->next;
  if (first == last_) last_ = nullptr;
}

template <class Member>
void FrameScheduler::Ring<Member>::pass_turn() {
  front().has_turn = false;
  last_ = last_->next;
}

template <class Member>
Member& FrameScheduler::Ring<Member>::take_turn() {
  Member& member = front();
  if (!member.has_turn) {
    member.has_turn = true;
    member.deficit += kTurn;
  }
  return member;
}

void FrameScheduler::push(QueuedFrame frame) {
  bytes_ += frame.header.wire_bytes();
  Origin& origin = origins_[frame.origin];
  if (origin.flows.empty()) ring_.push_back(origin);
  Flow& flow = origin.flows[flow_of(frame.header)];
  if (flow.frames.empty()) origin.ring.push_back(flow);
  flow.frames.push_back(std::move(frame));
}

const QueuedFrame* FrameScheduler::next() {
  if (ring_.empty()) return nullptr;
  for (;;) {
    Origin& origin = ring_.take_turn();
    Flow& flow = origin.ring.take_turn();
    const std::size_t bytes = flow.frames.front().header.wire_bytes();
    if (origin.deficit < bytes) {
      ring_.pass_turn();
    } else if (flow.deficit < bytes) {
      origin.ring.pass_turn();
    } else {
      return &flow.frames.front();
    }
  }
}

QueuedFrame FrameScheduler::pop() {
  const QueuedFrame* chosen = next();
  ASSERT(chosen != nullptr);
  Origin& origin = ring_.front();
  Flow& flow = origin.ring.front();
  const std::size_t bytes = chosen->header.wire_bytes();
  QueuedFrame frame = std::move(flow.frames.front());
  flow.frames.pop_front();
  origin.deficit -= bytes;
  flow.deficit -= bytes;
  bytes_ -= bytes;
  // What is empty leaves, and forgets its deficit: nobody saves up turns while idle.
  if (flow.frames.empty()) {
    origin.ring.pop_front();
    origin.flows.erase(flow_of(frame.header));
  }
  if (origin.flows.empty()) {
    ring_.pop_front();
    origins_.erase(frame.origin);
  }
  return frame;
}

bool FrameScheduler::has_frames(const Function<bool(ContextId)>& of_source) const {
  for (const auto& [serial, origin] : origins_)
    for (const auto& [key, flow] : origin.flows)
      if (of_source(key.source)) return true;
  return false;
}

FrameQueue FrameScheduler::remove(const Function<bool(ContextId)>& is_gone) {
  FrameQueue all = drain(), removed;
  while (!all.empty()) {
    const auto frame = all.begin();
    if (is_gone(frame->header.source)) {
      removed.splice(removed.end(), all, frame);
    } else {
      push(std::move(*frame));
      all.pop_front();
    }
  }
  return removed;
}

FrameQueue FrameScheduler::drain() {
  FrameQueue all;
  while (!empty()) all.push_back(pop());
  return all;
}

}  // namespace banyan
