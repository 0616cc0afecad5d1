// core/outbox.h -- what this context sends: messages cut into frames, as far as stream windows allow.
//
// Frames of one (destination, stream) leave strictly in order; different streams do not wait for each other.
// Only a few frames of a flow are in its link's queue at a time, so the rest of a long message is held once.
//
// Thread: the loop's. Part of the Router.
#pragma once

#include <cstdint>
#include <list>

#include "core/id_set.h"
#include "core/inbox.h"

namespace banyan {

class StreamSender;

class Outbox {
 public:
  class Owner {
   public:
    // Gives a frame to the link its destination's route names; on_sent() follows when it has left.
    virtual void transmit(const Header& header, Bytes payload) = 0;
    virtual void send_control(ContextId destination, Handle handle, Bytes payload,
                              Handle reply_to = kNoReply) = 0;

   protected:
    ~Owner() = default;
  };

  Outbox(Owner& owner, std::uint32_t stream_window) : owner_(owner), first_window_(stream_window) {}
  void set_stream_window(std::uint32_t bytes) { first_window_ = bytes; }

  // `header` names source, destination, stream, handle, reply_to; flags and length are written here.
  void post(const Header& header, Buffer payload);
  // The same for a stream that has room() for it: leaves at once, and is copied only where the kernel is
  // full.
  void send_now(Header header, Bytes payload);
  void on_sent(const Header& header);
  void on_credit(const FlowKey& flow, std::uint64_t bytes);
  // These never reached the window of their destination. What was granted beyond the first window is not
  // known of one that is gone.
  void on_refused(const FlowKey& flow, std::uint64_t bytes);
  // Nothing we send there arrives, so nothing gives its credit back: let what waits go and be answered.
  void refill(IdRange destinations);
  // There is nobody of that id: its flows need not be remembered once nothing is on its way.
  void forget(ContextId destination);
  // Throws away what was queued for flows that match, and forgets their windows.
  void drop(const Function<bool(const FlowKey&)>& matches);
  // Whether something of a flow that matches waits for its window.
  bool holds(const Function<bool(const FlowKey&)>& matches) const;
  std::size_t queued_bytes() const { return queued_bytes_; }
  std::size_t flows() const { return flows_.size(); }
  std::size_t waiting(const FlowKey& flow) const;  // messages whose last frame has not been given to a link

  // For StreamSender (core/stream.h), which registers itself to be told about room.
  void attach(const FlowKey& flow, StreamSender& sender);
  void detach(const FlowKey& flow, bool keep_queue);
  std::size_t room(const FlowKey& flow);

 private:
  friend struct Inspector;  // of tests/simulation
  struct Message {
    Header header;
    Buffer payload;
    std::size_t at = 0;  // sent so far
    bool begun = false;
  };
  struct Flow {
    std::uint64_t credit = 0;
    std::uint32_t in_link = 0;  // frames given to the link that have not left
    std::list<Message> queue;
    StreamSender* sender = nullptr;
    bool blocked_told = false;  // since the last credit
    bool detached = false;      // its sender is gone: forget the flow once it is empty
    bool pumping = false;
  };

  Flow& flow(const FlowKey& key);
  void pump(const FlowKey& key);
  bool send_next_frame(const FlowKey& key, Flow& flow);
  void tell_blocked(const FlowKey& key, Flow& flow);
  void abort_front(Flow& flow);
  void settle(const FlowKey& key);

  Owner& owner_;
  std::uint32_t first_window_;
  Table<FlowKey, Flow> flows_;
  std::size_t queued_bytes_ = 0;
};

}  // namespace banyan
