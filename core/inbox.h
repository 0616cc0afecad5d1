// core/inbox.h -- what arrives for this context: stream windows kept, long messages put together.
//
// The window of a stream starts at 64 KiB and widens only while its reader keeps up, out of the process's one
// WindowBudget. A message of several frames reserves its whole length at its first frame, in order of
// arrival: until it has, its frames stay within their stream's window, so two half-arrived messages cannot
// wait for each other, and nobody makes us allocate what he has not sent (docs/design/001-windows.md). One
// that has reserved and does not come, while others wait, loses it. What one frame costs does not depend on
// how many messages wait, but for the first of one that has to: it looks at those of its link, a few hundred.
//
// Thread: the loop's. Part of the Router, which outlives every Charge.
#pragma once

#include <cstdint>
#include <list>

#include "core/fair_share.h"
#include "core/frame.h"
#include "core/link.h"
#include "core/table.h"

namespace banyan {

class Inbox;

// The window a received message occupies, given back when this dies. Keep it as long as you keep the bytes;
// let it die on the loop's thread.
class Charge {
 public:
  Charge() = default;
  Charge(Charge&& other) noexcept { *this = std::move(other); }
  Charge& operator=(Charge&& other) noexcept;
  ~Charge() { settle(); }
  void settle();  // gives it back now

 private:
  friend class Inbox;
  Inbox* inbox_ = nullptr;
  std::uint32_t link_ = 0;  // serial; 0: it came from ourselves
  FlowKey flow_{};
  std::uint32_t window_bytes_ = 0;    // of link and stream window
  std::uint32_t assembly_bytes_ = 0;  // of the assembly budget
  bool holds_link_ = true;            // its link's window, too
};

struct InboxLimits {
  std::uint32_t message_max = kMessageMax;
  std::uint32_t stream_window = 64 << 10;
  std::uint32_t stream_window_max = 16 << 20;
  std::uint64_t assembly_budget = 64 << 20;  // of all links; each may reserve a quarter, or one message
  std::uint32_t streams_max = 8'192;         // that one link may have open towards us, each with at most one
                                             // unfinished message; beside those of calls and replies
};

// A reserved message that grows by less than its sixty-fourth part in such a time, while others wait, loses
// what it has reserved: longer than whoever is silent so long lives, and half an hour for the longest.
constexpr Nanos kProgressEvery = 15 * kSecond;

// The payload of kStreamCredit. `refused`: the bytes reached no window of their destination.
Buffer pack_credit(StreamId stream, std::uint64_t bytes, bool refused);

class Inbox {
 public:
  // What the inbox needs of the router.
  class Owner {
   public:
    // A whole message. With kAborted: the stream was cut off, there is no payload. False: nobody took it.
    virtual bool on_message(std::uint32_t link, const Header& header, Bytes payload, Charge& charge) = 0;
    // Frames of this link are done with: give it their bytes back.
    virtual void release_link(std::uint32_t link, std::size_t bytes) = 0;
    // An end-to-end control frame to the far end of a stream.
    virtual void send_control(ContextId destination, Handle handle, Bytes payload,
                              Handle reply_to = kNoReply) = 0;
    enum class Refusal : std::uint8_t {
      kTooLarge,
      kBusy,     // as much as may be waits for room already, or it did not use what it had
      kStreams,  // more streams than streams_max
      kOverrun,  // more bytes than the window of this one
    };
    virtual void refuse(std::uint32_t link, const Header& header, Refusal why) = 0;
    // To call look_at_progress() after kProgressEvery.
    virtual void look_later() = 0;

   protected:
    ~Owner() = default;
  };

  Inbox(Owner& owner, WindowBudget& budget, const InboxLimits& limits);
  void set_limits(const InboxLimits& limits) { limits_ = limits; }

  // One data frame for us that came in on `link` (0: from ourselves).
  void accept(std::uint32_t link, const Header& header, Bytes payload);
  // The sender says it has more and no credit.
  void on_blocked(const FlowKey& flow);
  // Whether what is reserved was used, if anybody waits for it.
  void look_at_progress();
  // The owner is about to be destroyed: no credit is given from now on, whatever is given back.
  void close() { is_closed_ = true; }
  // Everything from behind that link is cut off: half-arrived messages are dropped, streams end aborted.
  void cut(std::uint32_t link);
  // The same for what comes from these contexts, whatever the link.
  void cut(const Function<bool(ContextId)>& is_gone);

  std::size_t streams() const { return windows_.size(); }
  std::uint64_t assembly_used() const { return assembly_used_; }
  std::uint64_t waits_looked_at() const { return waits_looked_at_; }  // what the order of waiting has cost

 private:
  friend class Charge;
  friend struct Inspector;  // of tests/simulation

  // What one stream may still send us: window - held - uncredited.
  struct Window {
    std::uint32_t link = 0;
    Handle handle = 0;  // that its messages go to
    std::uint32_t size = 0, held = 0, uncredited = 0, received_since_growth = 0;
    bool ended = false;         // nothing more will come; the entry goes with its last charge
    bool sender_waits = false;  // it said it is blocked, and has sent nothing since
  };
  struct Wait {
    FlowKey flow;
    std::uint32_t round;     // each source has one message in each
    std::uint32_t may_hold;  // the window of its stream
  };
  struct Assembly {
    enum class Place : std::uint8_t {
      kNone,      // too large: the rest is thrown away
      kWaiting,   // in its link's list
      kReserved,  // has its share of the budget: frames are credited as they come
    };
    Header first;
    Buffer bytes;
    std::uint64_t total = 0;
    Place place = Place::kNone;
    std::list<Wait>::iterator waits_at;  // while it does
    std::list<Charge> charges;           // held until it is reserved
    std::uint64_t due = 0;               // bytes that must have come when it is looked at next
    std::uint32_t link = 0;
  };
  // What one link has of us; goes when the link does.
  struct Share {
    std::uint32_t streams = 0;
    std::uint64_t reserved = 0;  // of the assembly budget
    std::list<Wait> waiting;     // for a reservation; sources in turn, each in order of their first frames
    std::uint64_t may_hold = 0;  // of all of these
    std::uint32_t round = 0;     // of the last that reserved, and whose that was
    ContextId served = 0;
    bool has_turn = false;  // stands in turns_
  };

  bool admit(std::uint32_t link, const Header& header);
  void deliver(std::uint32_t link, const Header& header, Bytes payload, Charge charge);
  void hold(Assembly& assembly, Charge charge);
  void begin(std::uint32_t link, const Header& header, Bytes payload, Charge charge);
  void go_on(std::uint32_t link, const Header& header, Bytes payload, Charge charge);
  bool wait(const FlowKey& flow, Assembly& assembly, Share& share);
  bool may_reserve(const Share& share) const;
  void reserve_next(std::uint32_t link);
  void unreserve(std::uint32_t link, std::uint64_t bytes);
  void forget(const FlowKey& flow);  // its assembly, with what it reserved
  void give_back(Charge& charge);
  void give_credit(const FlowKey& flow, Window& window, std::uint32_t growth);
  std::uint32_t grow(Window& window);
  void end_stream(const FlowKey& flow);
  using CutOff = std::list<std::pair<std::uint32_t, Header>>;  // streams, with their links
  void tell(const CutOff& streams);
  void cut_flows(const Function<bool(std::uint32_t link, const FlowKey&)>& is_cut);
  void erase_window(Table<FlowKey, Window>::Iterator window);

  Owner& owner_;
  WindowBudget& budget_;
  InboxLimits limits_;
  Table<FlowKey, Window> windows_;
  Table<FlowKey, Assembly> assemblies_;
  Table<std::uint32_t, Share> shares_;  // by link
  FairShare streams_;
  std::list<std::uint32_t> turns_;  // links that wait for nothing but room in the budget
  std::uint64_t assembly_used_ = 0;
  std::uint64_t waits_looked_at_ = 0;
  bool is_looking_ = false;  // look_at_progress() will come
  bool is_closed_ = false;
};

}  // namespace banyan
