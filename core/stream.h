// core/stream.h -- one direction of bytes or values to one handle of one context, with its own window and
// order.
//
// The receiver is an ordinary handler that keeps each message's Charge until it has used the bytes. An empty
// message ends the stream; kAborted means it was cut off.
//
// Thread: the loop's. The router outlives it.
#pragma once

#include "core/router.h"

namespace banyan {

class StreamSender {
 public:
  StreamSender(Router& router, ContextId destination, Handle handle);
  StreamSender(const StreamSender&) = delete;
  StreamSender& operator=(const StreamSender&) = delete;
  ~StreamSender();  // without finish(): the other end sees an aborted stream

  // Payload bytes that may be sent now as one frame. 0: not now; on_writable will tell.
  std::size_t room();
  // REQUIRES: 0 < bytes.size() <= room().
  void send(Bytes bytes);
  // REQUIRES: not finished. Needs no room.
  void finish();
  bool is_dead() const { return dead_; }

  // Both come from the loop, and may destroy the sender.
  Function<void()> on_writable;         // room() has become positive after it was 0
  Function<void(const Dead&)> on_dead;  // nobody listens any more; once; room() stays 0

 private:
  friend class Outbox;
  Header header() const;  // of its messages
  void room_may_have_come();
  void die(const Dead& dead);

  Router& router_;
  const FlowKey flow_;
  const Handle handle_;
  Handle news_ = 0;  // where the other end's death is reported to
  bool finished_ = false;
  bool dead_ = false;
  bool starved_ = false;  // room() said 0: on_writable is owed
  Alive alive_;
};

}  // namespace banyan
