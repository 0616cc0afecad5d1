// core/router.h -- how a message finds its way, and how nobody waits for ever.
//
// Every frame, from whatever link, takes the same four steps:
//   1. Whose is it?   From a child: the source must be the child or an id granted beneath it, and the first hop
//                     writes the authority. From the parent: believed, except that it cannot be us or beneath us.
//   2. Ours?          Then to the handler of its handle, or to the call that waits for it.
//   3. Whose way?     To the link the routes name; without a route up, unless it came from there.
//   4. No way?        Answered dead: reply_to = IS_DEAD, a reason, and who says so. Dead is never answered.
// Frames are forwarded as they come. When a link breaks, every message half-way through it is ended: onward with
// an aborted frame, backward with one dead message; every call waiting on it completes here and now.
//
// Thread: the loop's, all of it. Lifetime: outlives every Message charge, StreamSender and call made through it.
// The whole account: docs/protocol.md.
#pragma once

#include <array>
#include <functional>
#include <map>
#include <memory>
#include <string>
#include <unordered_map>
#include <vector>

#include "core/link.h"

namespace banyan {

class Router;

// Why a message was not delivered. On the wire: the first element of a dead message.
enum class DeadReason : std::uint8_t {
  kNoRoute,    // nobody of that id is known here
  kNoHandle,   // nothing listens there
  kRefused,    // the handler's rule: this authority may not
  kPolicy,     // the tree's rule: these two may not talk
  kTooLarge,   // beyond the message limit
  kBusy,       // the callee's table is full
  kGone,       // it was there, and its link broke
  kQuota,      // ids, table entries
  kShutdown,   // we are ending
};
constexpr std::uint8_t kDeadReasonCount = 9;
std::string_view name_of(DeadReason reason);

struct Dead {
  DeadReason reason = DeadReason::kGone;
  std::string text;
  ContextId from = 0;  // who says so
};

// Who may talk sideways, child to child. Has no default: whoever makes a router decides (docs/protocol.md).
enum class Sideways : std::uint8_t { kVertical, kPeers };

// The window a received message occupies, given back when this dies. Keep it as long as you keep the bytes.
class Charge {
 public:
  Charge() = default;
  Charge(Charge&& other) noexcept;
  Charge& operator=(Charge&& other) noexcept;
  ~Charge();

 private:
  friend class Router;
  Router* router_ = nullptr;
  std::uint32_t link = 0;   // serial; 0: no link window is held
  ContextId source = 0;
  StreamId stream = 0;
  std::uint32_t bytes = 0;  // of link and stream window
  std::uint32_t reserved = 0;  // of the assembly budget
};

// A whole message, as a handler sees it. `header` is its first frame's; `payload` is valid during the call.
struct Incoming {
  const Header& header;
  Bytes payload;
  Charge& charge;      // move it out to hold the sender back; else it ends with the call
  std::uint32_t link;  // serial of the link it came in on; 0: from ourselves
};

using Handler = std::function<void(Incoming&)>;
using OnReply = std::function<void(Result<Bytes>, const Dead*)>;  // exactly once; the Dead with an Error

// Who may speak to a handle.
struct Access {
  enum class Kind : std::uint8_t { kAnyone, kAncestors, kOnly } kind;
  ContextId context = 0;
  static Access anyone() { return {Kind::kAnyone}; }
  static Access ancestors() { return {Kind::kAncestors}; }  // by authority: the root down to our parent
  static Access only(ContextId context) { return {Kind::kOnly, context}; }  // by authority
};

struct RouterConfig {
  ContextId id = 0;
  Sideways sideways = Sideways::kVertical;
  std::vector<ContextId> ancestors;  // nearest first; empty for the root
  std::uint32_t message_max = kMessageMax;
  std::uint32_t stream_window = 64 << 10;       // first window of a stream
  std::uint32_t stream_window_max = 16 << 20;
  std::uint64_t assembly_budget = 64 << 20;     // long messages being put together, all links
  std::uint32_t calls_max = 65'536;             // waiting here
  std::uint32_t half_way_max = 4'096;           // long messages a link may have half-way through us
};

// One direction of bytes or values to one handle of one context, with its own window and its own order. An empty
// message ends it; the destructor sends an aborted end if finish() was not called.
class StreamSender {
 public:
  StreamSender(Router& router, ContextId destination, Handle handle);
  StreamSender(const StreamSender&) = delete;
  StreamSender& operator=(const StreamSender&) = delete;
  ~StreamSender();

  // Payload bytes that may be sent now; 0 until on_writable. Never more than fits one frame.
  std::size_t room() const;
  // REQUIRES: 0 < bytes.size() <= room().
  void send(Bytes bytes);
  void finish();
  bool is_dead() const { return dead_; }

  std::function<void()> on_writable;           // room() has become positive
  std::function<void(const Dead&)> on_dead;    // the other end has stopped listening; once, nothing more is sent

 private:
  friend class Router;
  Router& router_;
  const ContextId destination_;
  const Handle handle_;
  const StreamId stream_;
  Handle dead_handle_ = 0;  // where news of the other end's death comes to
  bool finished_ = false;
  bool dead_ = false;
  bool starved_ = false;  // told there was no room; on_writable is owed
};

class Router final : private Link::Owner {
 public:
  Router(Loop& loop, RouterConfig config);
  ~Router();

  ContextId id() const { return config_.id; }
  Loop& loop() { return loop_; }
  const RouterConfig& config() const { return config_; }
  // The parent's identity, when it comes after the router exists. REQUIRES: no links yet.
  void configure(RouterConfig config);

  // --- links ---
  // The router owns the link from here on and tells `on_down` when it has broken, after all that depended on it
  // was failed.
  using OnLinkDown = std::function<void(const Error&)>;
  Link& set_parent(std::unique_ptr<Link> link, ContextId parent, OnLinkDown on_down);
  Link& add_child(std::unique_ptr<Link> link, ContextId child, OnLinkDown on_down);
  // Closes the link to a child as if it had broken; unknown ids are harmless.
  void drop_child(ContextId child, const Error& why);
  Link* link_to(ContextId context);  // the link its route names; nullptr without one
  Link* parent_link();
  WindowBudget& window_budget() { return window_budget_; }
  void for_each_child(const std::function<void(ContextId, Link&)>& visit);

  // --- receiving ---
  // REQUIRES: the handle is free.
  void add_handler(Handle handle, Access access, Handler handler);
  // A fresh random handle.
  Handle add_handler(Access access, Handler handler);
  void remove_handler(Handle handle);
  // `cancel` frames: `handle` is the reply_to the cancelled call carried. Last one set wins.
  std::function<void(ContextId source, Handle handle)> on_cancel;
  // SHUTDOWN from the parent.
  std::function<void(Nanos remaining)> on_shutdown;
  // Route news from a child or the parent; core has no use for them (parent/route_monitor.h has).
  std::function<void(Link&, ContextId neighbour, const Header&, Bytes)> on_route_control;

  // --- sending ---
  // One request, one reply: exactly one completion, whatever breaks. The id names it for cancel().
  using CallId = Handle;
  CallId call(ContextId destination, Handle handle, Bytes payload, OnReply on_reply);
  // Asks the callee to end it; the reply still decides. Unknown ids are harmless.
  void cancel(CallId call);
  // Stops waiting at once, tells the callee, and never completes the call.
  void abandon(CallId call);
  void reply(const Header& to, Bytes payload);
  void reply_dead(const Header& to, DeadReason reason, std::string_view text);
  // A message without an answer. Fragments what is long.
  void send(ContextId destination, Handle handle, Bytes payload, StreamId stream = kCallStream,
            Handle reply_to = kNoReply);
  void send_control(ContextId destination, Handle handle, Bytes payload, Handle reply_to = kNoReply);
  // SHUTDOWN to every child, each told how long it has.
  void shut_down_children(Nanos remaining);

  struct Counters {
    std::uint64_t frames_in = 0, forwarded = 0, delivered = 0, dead_sent = 0, dropped = 0, refused = 0;
  };
  const Counters& counters() const { return counters_; }

 private:
  friend class Charge;
  friend class StreamSender;

  // Details below; the public part ends here.
