// core/router.h -- how a message finds its way, and how nobody waits for ever.
//
// Every frame, from whatever link, takes the same four steps:
//   1. Whose is it?   From a child: the source must be the child or an id granted beneath it, and the first
//   hop
//                     writes the authority. From the parent: believed, except that it cannot be us or beneath
//                     us.
//   2. Ours?          Then to the handler of its handle, or to the call that waits for it.
//   3. Whose way?     To the link the routes name; without a route up, unless it came from there.
//   4. No way?        Answered dead: reply_to = IS_DEAD, a reason, and who says so. Dead is never answered.
// Frames are forwarded as they come. When a link breaks, every message half-way through it is ended: onward
// with an aborted frame, backward with one dead message; every call waiting on it completes here and now.
//
// Thread: the loop's, all of it. Lifetime: outlives every Charge, StreamSender and call made through it.
// router.cpp has the ways, router_routes.cpp what a route's beginning and end mean, router_calls.cpp what is
// for us: handlers, calls, dead messages. The whole account: docs/protocol.md.
#pragma once

#include <list>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/alive.h"
#include "core/fair_share.h"
#include "core/id_set.h"
#include "core/inbox.h"
#include "core/link.h"
#include "core/outbox.h"
#include "core/served_calls.h"

namespace banyan {

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
  kEnding,     // we are shutting down
  kCancelled,  // the call, before it began
};
constexpr std::uint8_t kDeadReasonCount = 10;
std::string_view name_of(DeadReason reason);

struct Dead {
  DeadReason reason = DeadReason::kGone;
  std::string text;
  ContextId from = 0;  // who says so
};

// Who may talk sideways, from one child of ours to another (docs/protocol.md).
enum class Sideways : std::uint8_t {
  kVertical,    // nobody
  kIntroduced,  // two that an ancestor of both has introduced
  kPeers,       // all
};

// A whole message, as a handler sees it. `header` is its first frame's; `payload` is valid during the call.
struct Incoming {
  const Header& header;
  Bytes payload;
  Charge& charge;      // move it out to hold the sender back; else it ends with the call
  std::uint32_t link;  // serial of the link it came in on; 0: from ourselves
};

using Handler = Function<void(Incoming&)>;

// How a call ended: with a reply, whose bytes are valid during the callback, or dead.
struct Reply {
  Bytes payload;
  const Dead* dead = nullptr;
};
using OnReply = Function<void(const Reply&)>;  // exactly once

// Who may speak to a handle: all, whoever has an ancestor's authority or ours, or one context. Of that one it
// is the source that counts: it was checked at every hop, and one link alone leads there. Its authority may
// be another's, and another may have its (parent/unix_listener.h).
struct Access {
  enum class Kind : std::uint8_t { kAnyone, kAncestors, kOnly } kind;
  ContextId context = 0;
  static Access anyone() { return {Kind::kAnyone}; }
  static Access ancestors() { return {Kind::kAncestors}; }  // by authority: the root down to our parent
  static Access only(ContextId context) { return {Kind::kOnly, context}; }  // by source
};

struct RouterConfig {
  ContextId id = 0;
  Sideways sideways;
  std::vector<ContextId> ancestors;  // nearest first; empty for the root
  InboxLimits inbox;
  std::uint32_t calls_max = 65'536;  // waiting here for a reply
  // Calls being served here, a quarter of them for one link; and answers that wait for one.
  std::uint32_t served_max = 65'536;
  std::uint32_t half_way_max = 65'536;  // unfinished messages one link may have in us: 6 MiB of table
  std::uint32_t contacts_max = 65'536;  // strangers one link may have dealt with: told of every end beyond
  std::uint32_t introductions_max = 65'536;
};

constexpr std::size_t kAncestorsMax = 128;  // how deep a tree may be
// From the loss of the link to the parent, or a signal, to the end; more for each level beneath, which passes
// less on; but not for more levels than people build: how many there are is the word of those beneath.
constexpr Nanos kEndDeadline = 2 * kSecond;
constexpr Nanos kEndOfLevel = 100 * kMillisecond;
constexpr std::size_t kEndLevelsMax = 32;

class Router final : private Link::Owner, private Inbox::Owner, private Outbox::Owner {
 public:
  // There is no default for config.sideways: whoever makes a router decides who may talk.
  Router(Loop& loop, RouterConfig config);
  ~Router();

  ContextId id() const { return config_.id; }
  Loop& loop() { return loop_; }
  const RouterConfig& config() const { return config_; }
  // The parent's identity, when it comes after the router exists. REQUIRES: no links yet.
  void configure(RouterConfig config);

  // --- links ---
  // The router owns the link from here on and tells `on_down` when it has broken, after all that depended on
  // it was failed. Before that, when a child asks to be let go (Error::detached), perhaps more than once.
  using OnLinkDown = Function<void(const Error&)>;
  Link& set_parent(std::unique_ptr<Link> link, OnLinkDown on_down);  // its id: ancestors.front()
  Link& add_child(std::unique_ptr<Link> link, ContextId child, OnLinkDown on_down);
  // The child speaks with our own authority: it came to us through a door of ours (parent/unix_listener.h).
  void lend_authority(ContextId child);
  // It is about to leave the tree and to live on: whoever waits for it hears that when its link ends.
  void let_go(ContextId child);
  // Closes the link to a child as if it had broken; unknown ids are harmless.
  void drop_child(ContextId child, const Error& why);
  Link* link_to(ContextId context);  // the link its route names; nullptr without one
  Link* parent_link();
  WindowBudget& window_budget() { return window_budget_; }
  void for_each_child(const Function<void(ContextId, Link&)>& visit);

  // --- routes, for whoever keeps them (parent/route_monitor.h) ---
  // Ids that were given to us, of which we give to children: nobody above can be one of them.
  void own(IdRange ids);
  bool owns_any(IdRange ids) const { return own_.overlaps(ids); }
  // Ids that only `child` and what lies beneath it can have; without such a child, nobody.
  // REQUIRES: granted to nobody else.
  void grant(ContextId child, IdRange ids);
  std::uint64_t granted(ContextId child);  // how many
  // The way to `id`, a child of `parent`, leads through `child`. What is wrong with that, or nullptr: the id
  // must have been granted to the child and is announced for the first time, the way to `parent` leads
  // through the child, and a tree is only so deep. REQUIRES: `child` is a child.
  const char* add_route(ContextId id, ContextId parent, ContextId child);
  // They are no more, here or (unknown to us) elsewhere. Their routes go at once; soon, for all who end until
  // then: calls to them and from them end, their streams end aborted, what is half-way to them is answered
  // dead.
  void remove_routes(const std::vector<ContextId>& ids);
  // The child the route leads through; nullopt without a route. The parent of one that has a route.
  std::optional<ContextId> way_to(ContextId id);
  std::optional<ContextId> parent_of(ContextId id) const;
  std::size_t routes() const { return routes_.size(); }
  std::size_t height() const;  // levels beneath us
  Nanos end_deadline() const;  // what the end of us and of all beneath us may take
  // These have ended, and what depended on them here: those of a child whose link has broken, its own first,
  // or those of remove_routes(). Each once; who is ours and who was a stranger, owns_any() knows.
  Function<void(const std::vector<ContextId>& ids)> on_ended;
  // Children beneath which somebody has dealt with `id`, from elsewhere in the tree: any may have with an
  // ancestor.
  std::vector<ContextId> contacts_of(ContextId id) const;
  // Whether data frames of these wait for that link; and no more, if they are to be thrown away.
  bool have_frames(const std::vector<ContextId>& ids, Link& link, bool throw_away);

  // --- leaving the tree (parent/detach.h) ---
  // The parent has let us go. From now on neither its SHUTDOWN nor the end of its link ends anything but what
  // those above wait for: what we do for them goes on.
  void disregard_parent();
  // Whether anything of ours, or of those beneath us, has not left for above.
  bool owes_above();
  // Closes the link to the parent, if it is still there. We have no ancestors from now on.
  void leave_parent();
  // Who from elsewhere has dealt with somebody beneath which child. False: more than was remembered.
  bool for_each_stranger(const Function<void(ContextId child, ContextId stranger)>& visit) const;
  void for_each_route(const Function<void(ContextId id, ContextId parent)>& visit) const;

  // Two from beneath us may talk to each other from now on, until either ends: it is noted where their ways
  // part, by us or beneath us.
  void introduce(ContextId one, ContextId other);

  // --- receiving ---
  // REQUIRES: the handle is free.
  void add_handler(Handle handle, Access access, Handler handler);
  // A fresh random handle.
  Handle add_handler(Access access, Handler handler);
  void remove_handler(Handle handle);
  // What to do when the call is cancelled, or its caller is gone; at most once, and the outcome is still
  // owed. No effect on what is no call (it has no reply_to) or was replied to.
  void on_cancel(const Header& call, Function<void()> act) { served_.on_cancel(call, std::move(act)); }
  // SHUTDOWN from the parent.
  Function<void(Nanos remaining)> on_shutdown;
  // Route news and requests for ids from a neighbour himself, for whoever keeps the routes; without one they
  // are answered dead.
  Function<void(Link&, ContextId neighbour, const Header&, Bytes)> on_route_control;

  // --- sending ---
  // One request, one reply: exactly one completion, whatever breaks. The id names it for cancel().
  using CallId = Handle;
  CallId call(ContextId destination, Handle handle, Buffer payload, OnReply on_reply);
  // Asks the callee to end it; the reply still decides. `on_acknowledged`, if given, exactly once: after the
  // outcome, when nothing of the call is left at the callee. Unknown ids are harmless, and acknowledged by
  // ourselves.
  void cancel(CallId call, OnReply on_acknowledged = nullptr);
  // Stops waiting at once, tells the callee, and never completes the call.
  void abandon(CallId call);
  void reply(const Header& to, Buffer payload);
  void reply_dead(const Header& to, DeadReason reason, std::string_view text);
  // Of ours to `caller` that have not left yet.
  std::size_t replies_waiting(ContextId caller) const {
    return outbox_.waiting({config_.id, caller, kReplyStream});
  }
  // A message without an answer. Fragments what is long.
  void send(ContextId destination, Handle handle, Buffer payload, StreamId stream = kCallStream,
            Handle reply_to = kNoReply);
  void send_control(ContextId destination, Handle handle, Bytes payload, Handle reply_to = kNoReply) override;
  // The same to the parent, because of what came in on the link `from`: that one is charged, and closed if
  // the way up has no room for it.
  void pass_up(Link& from, Handle handle, Bytes payload);
  // A request to a neighbour that is itself control, as is its reply.
  CallId control_call(ContextId neighbour, Handle handle, Bytes payload, OnReply on_reply);
  // SHUTDOWN to every child, each told how long it has.
  void shut_down_children(Nanos remaining);

  struct Counters {
    std::uint64_t frames_in = 0, forwarded = 0, delivered = 0, dead_sent = 0, dropped = 0, refused = 0;
    std::uint64_t walks = 0;  // through all that waits, here or for one link, because somebody has ended
  };
  const Counters& counters() const { return counters_; }

 private:
  friend class StreamSender;
  friend struct Inspector;  // of tests/simulation: what ought to be true of the tables

  struct Peer {  // a neighbour
    std::unique_ptr<Link> link;
    ContextId id = 0;
    bool is_parent = false;
    bool is_leaving = false;  // see let_go()
    OnLinkDown on_down;
    ContextId authority = 0;     // a child's: what it speaks with
    std::uint32_t half_way = 0;  // entries of half_way_ that came in here
    std::uint32_t answers = 0;   // of ours, for a child or beneath, that wait until there is room for them
    IdSet granted;               // beneath a child
    // Which of these have been announced, each once for ever: 32 ids an entry, so at most 65,536 and mostly a
    // thirtieth of that.
    Table<std::uint32_t, std::uint32_t> announced;
    // Who from elsewhere has sent to somebody beneath this child, or been sent to: where talk may go
    // sideways, and by whoever has an ancestor's authority without being one.
    Table<ContextId, Nothing> contacts;
    bool knows_everybody = false;  // more than contacts_max
  };
  struct Route {
    std::uint32_t link = 0;  // serial
    ContextId parent = 0;
    std::uint32_t depth = 1;  // levels beneath us
  };
  struct Pair {  // lower id first
    ContextId one, other;
  };
  struct HalfWay {                   // a long message of which some frames have passed
    std::uint32_t from = 0, to = 0;  // serials
    Handle handle = 0, reply_to = 0;
  };
  struct Pending {  // somebody of ours waits for a message
    ContextId callee = 0;
    std::uint32_t link = 0;  // the one it must come from
    OnReply on_reply;
    bool deaths_only = false;  // a stream's: wants no reply, only to know when nobody listens
    bool by_control = false;   // the reply comes as the request went: as control, or as a message
    Handle cancel = kNoReply;  // where the acknowledgement of its cancel is waited for
  };
  struct HandlerEntry {
    Access access;
    Handler run;
  };

  // Link::Owner
  void on_frame(Link& link, const Header& header, Bytes payload) override;
  void on_control_left(Link& link) override;
  void on_sent(Link& link, std::uint32_t origin, const Header& header) override;
  void on_down(Link& link, const Error& error, FrameQueue unsent) override;
  // Inbox::Owner, Outbox::Owner
  bool on_message(std::uint32_t link, const Header& header, Bytes payload, Charge& charge) override;
  void release_link(std::uint32_t link, std::size_t bytes) override;
  void refuse(std::uint32_t link, const Header& header, Refusal why) override;
  void look_later() override;
  void transmit(const Header& header, Bytes payload) override;

  Link& adopt(std::unique_ptr<Link> link, ContextId id, bool is_parent, OnLinkDown on_down);
  Peer* peer(std::uint32_t serial);
  Peer* child_peer(ContextId child);
  std::uint32_t next_hop(ContextId destination) const;  // serial; 0: none
  bool is_ancestor(ContextId id) const;
  bool refuse_more(std::uint32_t link, const Header& header);
  void drop_queued(const Function<bool(ContextId)>& is_gone);
  bool lies_beneath(const Peer& child, ContextId id) const;
  bool lies_on_the_way(ContextId id, ContextId callee) const;
  const char* check_origin(const Peer& from, Header& header) const;  // what is wrong, or nullptr
  bool may_pass(const Peer& from, const Peer& to, const Header& header) const;
  void note_contact(Peer& child, ContextId id);
  void note_contacts(Peer& from, Peer& to, const Header& header);
  void forget_contacts(ContextId id);
  static Pair pair_of(ContextId one, ContextId other);
  void end_introductions(const Function<bool(ContextId)>& is_gone);
  void forward(Peer& from, const Header& header, Bytes payload);
  void forward_control(Peer& from, Peer& to, const Header& header, Bytes payload);
  void pass_up(Link& from, const Header& header, Bytes payload);
  Header control_to(ContextId destination, Handle handle, Handle reply_to, Bytes payload) const;
  void forward_data(Peer& from, std::uint32_t to, const Header& header, Bytes payload);
  void deliver(std::uint32_t from, const Header& header, Bytes payload);
  void deliver_control(std::uint32_t from, const Header& header, Bytes payload);
  void on_dead_message(std::uint32_t from, const Header& header, Bytes payload);
  void answer_half_way(const FlowKey& flow, const HalfWay& half_way, std::string_view text);
  bool is_answer(const Pending& pending, std::uint32_t link, const Header& header) const;
  void on_cancel_message(std::uint32_t link, const Header& header, Bytes payload);
  void acknowledge(ContextId caller, Handle acknowledge_to);
  void sweep();
  void forget(const Function<bool(ContextId)>& is_gone, const std::vector<ContextId>& ids,
              std::string_view text, std::uint32_t link);
  void throw_away(Peer& from, const Header& header);
  void finish_half_way(Table<FlowKey, HalfWay>::Iterator entry);

  CallId expect(ContextId callee, OnReply on_reply, bool deaths_only);
  void complete(Handle handle, const Reply& reply);
  void fail_pending(const Function<bool(const Pending&)>& is_lost, const Dead& dead);
  void answer_dead(std::uint32_t through, const Header& header, DeadReason reason, std::string_view text);
  void drop(std::uint32_t from, const Header& header);
  std::string no_route_text(ContextId destination) const;
  Handle fresh_handle();

  Loop& loop_;
  RouterConfig config_;
  WindowBudget window_budget_;
  Table<std::uint32_t, Peer> peers_;  // by serial
  Table<ContextId, Route> routes_;
  IdSet own_;
  std::uint32_t parent_ = 0;     // serial
  Function<void()> at_parting_;  // set by disregard_parent()
  std::uint32_t next_serial_ = 1;
  StreamId next_stream_ = kFirstFreeStream;
  ServedCalls served_;
  Table<Pair, Nothing> introductions_;
  std::vector<ContextId> ended_;   // since the last sweep()
  Loop::TimerId sweep_timer_ = 0;  // runs while ended_ is not empty
  Nanos next_sweep_ = 0;           // not before
  Table<FlowKey, HalfWay> half_way_;
  FairShare half_way_share_;
  Inbox inbox_;
  Outbox outbox_;
  Loop::TimerId next_look_ = 0;  // of inbox_
  bool is_dropping_ = false;
  std::vector<std::unique_ptr<Link>> graveyard_;  // links whose own call may still be on the stack
  Alive alive_;                                   // for tasks posted by a router that may be gone
  Counters counters_;
  // These last: what callers and handlers have kept, messages and streams, goes while all the rest is there.
  Table<Handle, Pending> pending_;
  Table<Handle, std::shared_ptr<HandlerEntry>> handlers_;
};

}  // namespace banyan
