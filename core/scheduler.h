// core/scheduler.h -- whose frame goes next: deficit round-robin over origins, then over their streams.
//
// An origin is the link a frame came in on (0: ourselves), so one child that floods a shared link takes its
// own share and no more. A turn is worth one full frame, 64 KiB. Order within one (source, destination,
// stream) is kept. Bounded by the windows of the links that feed it. Thread: the loop's.
#pragma once

#include <cstddef>
#include <cstdint>
#include <deque>
#include <list>
#include <optional>

#include "core/frame.h"

namespace banyan {

struct QueuedFrame {
  Header header;
  Buffer payload;
  std::uint32_t origin = 0;
};

class FrameScheduler {
 public:
  void push(QueuedFrame frame);
  // The frame whose turn it is, or nullptr when empty; pop() takes that one.
  const QueuedFrame* next();
  QueuedFrame pop();
  bool empty() const { return bytes_ == 0; }
  std::size_t bytes() const { return bytes_; }  // wire bytes queued
  // Takes everything out, in no particular order between streams.
  std::deque<QueuedFrame> drain();

 private:
  struct Flow {
    ContextId source, destination;
    StreamId stream;
    std::deque<QueuedFrame> frames;
    std::size_t deficit = 0;
    bool has_turn = false;
  };
  struct Origin {
    std::uint32_t id;
    std::list<Flow> flows;  // the front one has the turn
    std::size_t deficit = 0;
    bool has_turn = false;
  };

  std::list<Origin> origins_;  // the front one has the turn
  std::size_t bytes_ = 0;
};

}  // namespace banyan
