#include "core/scheduler.h"

#include <iterator>

#include "core/assert.h"

namespace banyan {

namespace {

constexpr std::size_t kTurn = kHeaderBytes + kFramePayloadMax;  // so whoever has the turn can always send one

template <class Ring>
void pass_turn(Ring& ring) {
  ring.front().has_turn = false;
  ring.splice(ring.end(), ring, ring.begin());
}

template <class Member>
void take_turn(Member& member) {
  if (member.has_turn) return;
  member.has_turn = true;
  member.deficit += kTurn;
}

}  // namespace

void FrameScheduler::push(QueuedFrame frame) {
  bytes_ += frame.header.wire_bytes();
  auto origin = origins_.begin();
  while (origin != origins_.end() && origin->id != frame.origin) ++origin;
  if (origin == origins_.end()) {
    origins_.emplace_back();
    origin = std::prev(origins_.end());
    origin->id = frame.origin;
  }
  const Header& header = frame.header;
  auto flow = origin->flows.begin();
  while (flow != origin->flows.end() && !(flow->stream == header.stream && flow->source == header.source &&
                                          flow->destination == header.destination))
    ++flow;
  if (flow == origin->flows.end()) {
    origin->flows.emplace_back();
    flow = std::prev(origin->flows.end());
    flow->source = header.source;
    flow->destination = header.destination;
    flow->stream = header.stream;
  }
  flow->frames.push_back(std::move(frame));
}

const QueuedFrame* FrameScheduler::next() {
  if (origins_.empty()) return nullptr;
  for (;;) {
    Origin& origin = origins_.front();
    take_turn(origin);
    Flow& flow = origin.flows.front();
    take_turn(flow);
    const std::size_t bytes = flow.frames.front().header.wire_bytes();
    if (origin.deficit < bytes) {
      pass_turn(origins_);
    } else if (flow.deficit < bytes) {
      pass_turn(origin.flows);
    } else {
      return &flow.frames.front();
    }
  }
}

QueuedFrame FrameScheduler::pop() {
  const QueuedFrame* chosen = next();
  ASSERT(chosen != nullptr);
  Origin& origin = origins_.front();
  Flow& flow = origin.flows.front();
  const std::size_t bytes = chosen->header.wire_bytes();
  QueuedFrame frame = std::move(flow.frames.front());
  flow.frames.pop_front();
  origin.deficit -= bytes;
  flow.deficit -= bytes;
  bytes_ -= bytes;
  // What is empty leaves, and forgets its deficit: nobody saves up turns while idle.
  if (flow.frames.empty()) origin.flows.pop_front();
  if (origin.flows.empty()) origins_.pop_front();
  return frame;
}

std::deque<QueuedFrame> FrameScheduler::drain() {
  std::deque<QueuedFrame> all;
  while (!empty()) all.push_back(pop());
  return all;
}

}  // namespace banyan
