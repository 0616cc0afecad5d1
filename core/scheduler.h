// core/scheduler.h -- whose frame goes next: deficit round-robin over origins, then over their streams.
//
// An origin is the link a frame came in on (0: ourselves), so one child that floods a shared link takes its
// own share and no more. A turn is worth one full frame, 64 KiB. Order within one (source, destination,
// stream) is kept. Bounded by the windows of the links that feed it. Thread: the loop's.
#pragma once

#include <compare>
#include <cstddef>
#include <cstdint>
#include <list>

#include "core/frame.h"
#include "core/function.h"
#include "core/table.h"

namespace banyan {

// One ordered sequence of messages.
struct FlowKey {
  ContextId source, destination;
  StreamId stream;
  auto operator<=>(const FlowKey&) const = default;
};

inline FlowKey flow_of(const Header& header) {
  return {header.source, header.destination, header.stream};
}

struct QueuedFrame {
  Header header;
  Buffer payload;
  std::uint32_t origin = 0;
};

using FrameQueue = std::list<QueuedFrame>;

class FrameScheduler {
 public:
  void push(QueuedFrame frame);
  // The frame whose turn it is, or nullptr when empty; pop() takes that one.
  const QueuedFrame* next();
  QueuedFrame pop();
  bool empty() const { return bytes_ == 0; }
  std::size_t bytes() const { return bytes_; }  // wire bytes queued
  bool has_frames(const Function<bool(ContextId)>& of_source) const;
  // Takes those of such sources out, in order within each stream.
  FrameQueue remove(const Function<bool(ContextId)>& is_gone);
  // Takes everything out, in no particular order between streams.
  FrameQueue drain();

 private:
  friend struct Inspector;  // of tests/simulation
  // Who waits for a turn, in a circle; the front one has it.
  template <class Member>
  class Ring {
   public:
    bool empty() const { return last_ == nullptr; }
    Member& front() { return *last_->next; }
    void push_back(Member& member);
    void pop_front();
    void pass_turn();
    Member& take_turn();  // of the front one

   private:
    Member* last_ = nullptr;
  };
  // A child may fill its window with empty frames, each of another flow: so a flow is found by a look into
  // a table, and costs no more memory than it must.
  struct Flow {
    FrameQueue frames;
    std::size_t deficit = 0;
    bool has_turn = false;
    Flow* next = nullptr;
  };
  struct Origin {
    Table<FlowKey, Flow> flows;
    Ring<Flow> ring;
    std::size_t deficit = 0;
    bool has_turn = false;
    Origin* next = nullptr;
  };

  Table<std::uint32_t, Origin> origins_;
  Ring<Origin> ring_;
  std::size_t bytes_ = 0;
};

}  // namespace banyan
