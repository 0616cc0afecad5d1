#include "core/router.h"

#include <algorithm>

#include "core/assert.h"
#include "core/msgpack.h"
#include "core/text.h"

namespace banyan {

namespace {

constexpr std::size_t kDeadTextMax = 512;  // enough for a sentence; the peer's word is not worth more memory

// Control that travels end to end; everything else is between neighbours and is never passed on.
bool is_end_to_end(const Header& header) {
  return header.is_dead() || header.handle == kStreamCredit || header.handle == kStreamBlocked ||
         header.handle == kCancel;
}

}  // namespace

std::string_view name_of(DeadReason reason) {
  static constexpr std::string_view kNames[kDeadReasonCount] = {
      "no-route", "no-handle", "refused", "policy", "too-large", "busy", "gone", "quota", "ending"};
  return kNames[static_cast<std::uint8_t>(reason)];
}

Router::Router(Loop& loop, RouterConfig config)
    : loop_(loop),
      config_(std::move(config)),
      inbox_(*this, window_budget_, config_.inbox),
      outbox_(*this, config_.inbox.stream_window) {}

Router::~Router() {
  *alive_ = false;
}

void Router::configure(RouterConfig config) {
  ASSERT(peers_.empty());
  config_ = std::move(config);
  inbox_.set_limits(config_.inbox);
  outbox_.set_stream_window(config_.inbox.stream_window);
}

// --- links ---

Link& Router::set_parent(std::unique_ptr<Link> link, OnLinkDown on_down) {
  ASSERT(parent_ == 0 && !config_.ancestors.empty());
  Link& adopted = adopt(std::move(link), config_.ancestors.front(), true, std::move(on_down));
  parent_ = adopted.serial();
  return adopted;
}

Link& Router::add_child(std::unique_ptr<Link> link, ContextId child, OnLinkDown on_down) {
  ASSERT(child != config_.id && !routes_.contains(child));
  Link& adopted = adopt(std::move(link), child, false, std::move(on_down));
  routes_[child] = adopted.serial();
  return adopted;
}

Link& Router::adopt(std::unique_ptr<Link> link, ContextId id, bool is_parent, OnLinkDown on_down) {
  Link& adopted = *link;
  adopted.set_serial(next_serial_++);
  adopted.set_owner(*this);
  peers_[adopted.serial()] = Peer{std::move(link), id, is_parent, std::move(on_down)};
  return adopted;
}

void Router::drop_child(ContextId child, const Error& why) {
  for (auto& [serial, peer] : peers_)
    if (!peer.is_parent && peer.id == child) return peer.link->fail(why);
}

void Router::add_route(ContextId id, ContextId child) {
  auto route = routes_.find(child);
  ASSERT(route != routes_.end() && id != config_.id && !routes_.contains(id));
  routes_[id] = route->second;
}

Router::Peer* Router::peer(std::uint32_t serial) {
  auto found = peers_.find(serial);
  return found == peers_.end() ? nullptr : &found->second;
}

Link* Router::link_to(ContextId context) {
  Peer* neighbour = peer(next_hop(context));
  return neighbour ? neighbour->link.get() : nullptr;
}

Link* Router::parent_link() {
  Peer* neighbour = peer(parent_);
  return neighbour ? neighbour->link.get() : nullptr;
}

void Router::for_each_child(const Function<void(ContextId, Link&)>& visit) {
  for (auto& [serial, peer] : peers_)
    if (!peer.is_parent) visit(peer.id, *peer.link);
}

std::uint32_t Router::next_hop(ContextId destination) const {
  auto route = routes_.find(destination);
  return route == routes_.end() ? parent_ : route->second;
}

bool Router::lies_beneath(const Peer& child, ContextId id) const {
  if (id == child.id) return true;
  auto route = routes_.find(id);
  return route != routes_.end() && route->second == child.link->serial();
}

// --- every frame ---

// A child speaks for itself and what lies beneath it. The parent speaks for everybody else.
const char* Router::check_origin(const Peer& from, Header& header) const {
  if (from.is_parent) {
    for (const ContextId id : {header.source, header.authority})
      if (id == config_.id || routes_.contains(id)) return "the parent speaks in the name of our own subtree";
    return nullptr;
  }
  if (!lies_beneath(from, header.source)) return "a child speaks in the name of a stranger";
  if (header.source == from.id) {
    header.authority = header.source;
  } else if (!lies_beneath(from, header.authority)) {
    return "a child claims an authority it does not have";
  }
  return nullptr;
}

void Router::on_frame(Link& link, const Header& received, Bytes payload) {
  ++counters_.frames_in;
  Peer* from = peer(link.serial());
  ASSERT(from != nullptr);
  Header header = received;
  if (const char* wrong = check_origin(*from, header)) {
    ++counters_.refused;
    return link.fail(Error{ErrorClass::kProtocol, Phase::kLink, wrong, {}});
  }
  if (header.destination == config_.id) {
    deliver(link.serial(), header, payload);
  } else {
    forward(*from, header, payload);
  }
}

void Router::forward(Peer& from, const Header& header, Bytes payload) {
  const std::uint32_t in = from.link->serial();
  auto route = routes_.find(header.destination);
  // What came from the parent is never passed back up, as if the parent knew better.
  const std::uint32_t out = route != routes_.end() ? route->second : from.is_parent ? 0 : parent_;
  const bool sideways = out != 0 && out != parent_ && !from.is_parent;
  DeadReason reason = DeadReason::kNoRoute;
  std::string text;
  if (out == 0) {
    text = no_route_text(header.destination);
  } else if (out == in) {
    reason = DeadReason::kGone;
    text = cat("the route to ", header.destination, " leads back to where this came from");
  } else if (sideways && config_.sideways == Sideways::kVertical) {
    reason = DeadReason::kPolicy;
    text = cat("contexts ", header.source, " and ", header.destination, " may not talk to each other");
  }
  if (header.has(kControl)) {
    if (!is_end_to_end(header)) {
      ++counters_.refused;
    } else if (!text.empty()) {
      answer_dead(in, header, reason, text);
    } else {
      forward_control(from, *peer(out), header, payload);
    }
    return;
  }
  if (text.empty()) return forward_data(from, out, header, payload);
  // Whatever was begun on this flow while it had a way ends here, too.
  auto entry = half_way_.find(flow_of(header));
  if (entry != half_way_.end() && header.has(kLast)) finish_half_way(entry);
  if (header.has(kFirst)) answer_dead(in, header, reason, text);
  drop(in, header);
}

// Control has no window, so what waits of a child's is limited for each link it came in on: a flood never
// costs another neighbour its link. The parent's is taken as our own, and a child that does not read it is
// closed.
void Router::forward_control(Peer& from, Peer& to, const Header& header, Bytes payload) {
  ++counters_.forwarded;
  if (from.is_parent) return to.link->send_control(header, payload);
  if (to.link->forward_control(from.link->serial(), header, payload)) return;
  --counters_.forwarded;
  ++counters_.dropped;
  // Between two children it is theirs alone: which of them is at fault cannot be known, and both live on.
  if (to.is_parent)
    from.link->fail(Error{ErrorClass::kProtocol, Phase::kLink, "more control than the way up takes", {}});
}

// Frames are passed on as they come. What is remembered of a long message is only where it goes.
void Router::forward_data(Peer& from, std::uint32_t to, const Header& header, Bytes payload) {
  const std::uint32_t in = from.link->serial();
  auto entry = half_way_.find(flow_of(header));
  if (header.has(kFirst) && entry != half_way_.end()) {  // the one before was never finished
    finish_half_way(entry);
    entry = half_way_.end();
  }
  if (header.has(kFirst) && !header.has(kLast)) {
    if (load_le<std::uint64_t>(payload.data()) > config_.inbox.message_max) {
      answer_dead(in, header, DeadReason::kTooLarge,
                  cat("messages end at ", config_.inbox.message_max, " bytes"));
      return drop(in, header);
    }
    if (from.half_way >= config_.half_way_max)
      return from.link->fail(Error{ErrorClass::kProtocol, Phase::kLink, "too many unfinished messages", {}});
    ++from.half_way;
    half_way_[flow_of(header)] = HalfWay{in, to, false, header.handle, header.reply_to};
  } else if (!header.has(kFirst)) {
    const bool stream_abort = header.has(kAborted) && entry == half_way_.end();
    if (!stream_abort) {
      if (entry == half_way_.end()) return drop(in, header);
      to = entry->second.to;
      const bool dropping = entry->second.dropping || peer(to) == nullptr;
      if (header.has(kLast)) finish_half_way(entry);
      if (dropping) return drop(in, header);
    }
  }
  ++counters_.forwarded;
  peer(to)->link->send(in, header, payload);
}

void Router::finish_half_way(Table<FlowKey, HalfWay>::Iterator entry) {
  if (Peer* from = peer(entry->second.from)) --from->half_way;
  half_way_.erase(entry);
}

void Router::drop(std::uint32_t from, const Header& header) {
  ++counters_.dropped;
  release_link(from, header.wire_bytes());
}

void Router::release_link(std::uint32_t link, std::size_t bytes) {
  if (Peer* from = peer(link)) from->link->release(bytes);
}

void Router::on_sent(Link&, std::uint32_t origin, const Header& header) {
  if (origin == 0) return outbox_.on_sent(header);
  release_link(origin, header.wire_bytes());
}

// --- for us ---

void Router::deliver(std::uint32_t from, const Header& header, Bytes payload) {
  ++counters_.delivered;
  if (header.has(kControl)) return deliver_control(from, header, payload);
  inbox_.accept(from, header, payload);
}

void Router::deliver_control(std::uint32_t from, const Header& header, Bytes payload) {
  if (header.is_dead()) return on_dead_message(from, header, payload);
  Unpacker in(payload);
  switch (header.handle) {
    case kStreamCredit: {
      if (in.array() != 2) return;
      const auto stream = StreamId(in.number(UINT32_MAX));
      const std::uint64_t bytes = in.number();
      if (in.finish()) outbox_.on_credit({config_.id, header.source, stream}, bytes);
      return;
    }
    case kStreamBlocked: {
      if (in.array() != 1) return;
      const auto stream = StreamId(in.number(UINT32_MAX));
      if (in.finish()) inbox_.on_blocked({header.source, config_.id, stream});
      return;
    }
    case kCancel: {
      if (in.array() != 1) return;
      const Handle call = in.number();
      if (in.finish() && on_cancel) on_cancel(header.source, call);
      return;
    }
    case kShutdown: {
      // The parent's alone to say.
      if (from != parent_ || in.array() != 1) return;
      const std::uint64_t milliseconds = in.number(UINT32_MAX);
      if (in.finish() && on_shutdown) on_shutdown(Nanos(milliseconds) * kMillisecond);
      return;
    }
    case kAddRoute:
    case kDelRoute:
    case kAllocateId: {
      Peer* neighbour = peer(from);
      if (neighbour != nullptr && on_route_control)
        return on_route_control(*neighbour->link, neighbour->id, header, payload);
      break;
    }
    default:
      break;
  }
  answer_dead(from, header, DeadReason::kNoHandle, cat("no handle ", header.handle, " for control"));
}

void Router::on_message(std::uint32_t link, const Header& header, Bytes payload, Charge& charge) {
  auto waiting = pending_.find(header.handle);
  if (waiting != pending_.end()) {
    // A reply counts only from the callee and by the way the call went.
    const Pending& pending = waiting->second;
    if (pending.link == link && pending.callee == header.source && !pending.deaths_only &&
        !header.has(kAborted))
      return complete(header.handle, Reply{payload});
    ++counters_.refused;
    return;
  }
  auto found = handlers_.find(header.handle);
  if (found == handlers_.end())
    return answer_dead(link, header, DeadReason::kNoHandle, cat("nothing listens at handle ", header.handle));
  const std::shared_ptr<HandlerEntry> handler = found->second;  // it may remove itself while it runs
  const Access& access = handler->access;
  const bool allowed = access.kind == Access::Kind::kAnyone || header.authority == config_.id ||
                       (access.kind == Access::Kind::kOnly && header.authority == access.context) ||
                       (access.kind == Access::Kind::kAncestors &&
                        std::find(config_.ancestors.begin(), config_.ancestors.end(), header.authority) !=
                            config_.ancestors.end());
  if (!allowed) {
    ++counters_.refused;
    return answer_dead(link, header, DeadReason::kRefused,
                       cat("context ", header.authority, " may not speak to this handle"));
  }
  Incoming incoming{header, payload, charge, link};
  handler->run(incoming);
}

void Router::refuse_too_large(std::uint32_t link, const Header& header) {
  answer_dead(link, header, DeadReason::kTooLarge,
              cat("messages end at ", config_.inbox.message_max, " bytes"));
}

void Router::refuse_stream(std::uint32_t link, const Header& header, bool overrun) {
  ++counters_.refused;
  Peer* from = peer(link);
  // The neighbour itself knows better; of somebody behind it only the stream suffers.
  if (overrun && from != nullptr && from->id == header.source)
    return from->link->fail(Error{ErrorClass::kProtocol, Phase::kLink, "a stream window was overrun", {}});
  answer_dead(link, header, DeadReason::kQuota, overrun ? "a stream window was overrun" : "too many streams");
}

void Router::add_handler(Handle handle, Access access, Handler handler) {
  ASSERT(!handlers_.contains(handle));
  handlers_[handle] = std::make_shared<HandlerEntry>(HandlerEntry{access, std::move(handler)});
}

Handle Router::add_handler(Access access, Handler handler) {
  const Handle handle = fresh_handle();
  add_handler(handle, access, std::move(handler));
  return handle;
}

void Router::remove_handler(Handle handle) {
  handlers_.erase(handle);
}

Handle Router::fresh_handle() {
  for (;;) {
    const Handle handle = loop_.random();
    if (handle >= kFirstDynamicHandle && !handlers_.contains(handle) && !pending_.contains(handle))
      return handle;
  }
}

// --- dead ---

std::string Router::no_route_text(ContextId destination) const {
  return cat("no route to ", destination, ", this is ", config_.id);
}

// To whoever sent `header`, back through the link it came in on (0: it was ourselves).
void Router::answer_dead(std::uint32_t through, const Header& header, DeadReason reason,
                         std::string_view text) {
  if (header.reply_to == kNoReply || header.is_dead()) return;
  ++counters_.dead_sent;
  const Buffer payload =
      Packer().array(2).number(std::uint8_t(reason)).text(text.substr(0, kDeadTextMax)).take();
  Header dead;
  dead.flags = kControl | kFirst | kLast;
  dead.length = std::uint32_t(payload.size());
  dead.destination = header.source;
  dead.source = dead.authority = config_.id;
  dead.handle = header.reply_to;
  dead.reply_to = kIsDead;
  if (Peer* back = peer(through)) return back->link->send_control(dead, payload);
  if (header.source == config_.id) transmit(dead, payload);
}

void Router::on_dead_message(std::uint32_t from, const Header& header, Bytes payload) {
  auto waiting = pending_.find(header.handle);
  if (waiting == pending_.end()) return;
  // News of a death counts from the callee, from us, from an ancestor, or from who lies on the way; a way
  // that leads up is not known here, so there the link and the unguessable handle decide.
  const Pending& pending = waiting->second;
  const Peer* neighbour = peer(from);
  const bool from_us = from == 0;
  const bool by_the_way =
      neighbour != nullptr && pending.link == from &&
      (neighbour->is_parent || header.source == pending.callee || lies_beneath(*neighbour, header.source));
  const bool believed = from_us || by_the_way;
  Unpacker in(payload);
  const bool well_formed = in.array() == 2;
  const auto reason = std::uint8_t(in.number(kDeadReasonCount - 1));
  const std::string_view text = in.text();
  if (!believed || !well_formed || !in.finish()) {
    ++counters_.refused;
    return;
  }
  const Dead dead{DeadReason(reason), std::string(text.substr(0, kDeadTextMax)), header.source};
  // What went that way reached no window that could give it back; and ids are never reused, so nothing else
  // will.
  const bool never_arrives = dead.reason == DeadReason::kNoRoute || dead.reason == DeadReason::kGone ||
                             dead.reason == DeadReason::kPolicy;
  if (never_arrives && header.source != pending.callee) outbox_.refill(pending.callee);
  complete(header.handle, Reply{{}, &dead});
}

void Router::complete(Handle handle, const Reply& reply) {
  auto waiting = pending_.find(handle);
  if (waiting == pending_.end()) return;
  const OnReply on_reply = std::move(waiting->second.on_reply);
  pending_.erase(waiting);
  on_reply(reply);
}

void Router::fail_pending(std::uint32_t link, const Dead& dead) {
  std::list<Handle> failed;
  for (const auto& [handle, pending] : pending_)
    if (pending.link == link) failed.push_back(handle);
  for (const Handle handle : failed) complete(handle, Reply{{}, &dead});
}

void Router::on_down(Link& link, const Error& error, FrameQueue unsent) {
  const std::uint32_t serial = link.serial();
  auto found = peers_.find(serial);
  ASSERT(found != peers_.end());
  // Out of the tables first: what follows calls strangers, who may call us.
  Peer gone = std::move(found->second);
  peers_.erase(found);
  std::list<ContextId> lost;
  for (const auto& [id, by] : routes_)
    if (by == serial) lost.push_back(id);
  for (const ContextId id : lost) routes_.erase(id);
  if (parent_ == serial) parent_ = 0;
  const std::string text = cat("the link to ", gone.id, " broke: ", error.text);

  // Half-way through us: onward an aborted end, in the order of its frames; backward one dead message.
  for (auto entry = half_way_.begin(); entry != half_way_.end();) {
    const auto here = entry++;
    HalfWay& half_way = here->second;
    if (half_way.to == serial && !half_way.dropping) {
      half_way.dropping = true;
      Header header;
      header.source = here->first.source;
      header.reply_to = half_way.reply_to;
      answer_dead(half_way.from, header, DeadReason::kGone, text);
    } else if (half_way.from == serial) {
      Peer* onward = half_way.dropping ? nullptr : peer(half_way.to);
      if (onward != nullptr) {
        Header header;
        header.flags = kAborted | kLast;
        header.source = header.authority = here->first.source;
        header.destination = here->first.destination;
        header.stream = here->first.stream;
        header.handle = half_way.handle;
        onward->link->send(serial, header, {});
      }
      half_way_.erase(here);
    }
  }
  for (const QueuedFrame& frame : unsent) {
    if (frame.origin == 0) continue;  // ours: the calls below are told
    if (frame.header.has(kLast)) answer_dead(frame.origin, frame.header, DeadReason::kGone, text);
    drop(frame.origin, frame.header);
  }

  const Dead dead{DeadReason::kGone, text, config_.id};
  outbox_.drop([&](const FlowKey& flow) {
    if (gone.is_parent) return flow.destination != config_.id && !routes_.contains(flow.destination);
    return std::find(lost.begin(), lost.end(), flow.destination) != lost.end();
  });
  inbox_.cut(serial);
  fail_pending(serial, dead);
  if (gone.on_down) gone.on_down(error);

  graveyard_.push_back(std::move(gone.link));
  loop_.post([this, alive = alive_] {
    if (*alive) graveyard_.clear();
  });
}

// --- sending ---

Router::CallId Router::expect(ContextId callee, OnReply on_reply, bool deaths_only) {
  const Handle handle = fresh_handle();
  pending_[handle] =
      Pending{callee, callee == config_.id ? 0 : next_hop(callee), std::move(on_reply), deaths_only};
  return handle;
}

Router::CallId Router::call(ContextId destination, Handle handle, Buffer payload, OnReply on_reply) {
  const bool is_full = pending_.size() >= config_.calls_max;
  const CallId id = expect(destination, std::move(on_reply), false);
  if (is_full) {
    // Answered like everybody else: later, from the loop.
    loop_.post([this, alive = alive_, id] {
      const Dead dead{DeadReason::kBusy, "too many calls are waiting here", config_.id};
      if (*alive) complete(id, Reply{{}, &dead});
    });
    return id;
  }
  send(destination, handle, std::move(payload), kCallStream, id);
  return id;
}

void Router::cancel(CallId call) {
  auto waiting = pending_.find(call);
  if (waiting != pending_.end())
    send_control(waiting->second.callee, kCancel, Packer().array(1).number(call).buffer());
}

void Router::abandon(CallId call) {
  cancel(call);
  pending_.erase(call);
}

void Router::reply(const Header& to, Buffer payload) {
  if (to.reply_to != kNoReply) send(to.source, to.reply_to, std::move(payload), kReplyStream);
}

void Router::reply_dead(const Header& to, DeadReason reason, std::string_view text) {
  answer_dead(to.source == config_.id ? 0 : next_hop(to.source), to, reason, text);
}

void Router::send(ContextId destination, Handle handle, Buffer payload, StreamId stream, Handle reply_to) {
  Header header;
  header.stream = stream;
  header.destination = destination;
  header.source = header.authority = config_.id;
  header.handle = handle;
  header.reply_to = reply_to;
  if (payload.size() > config_.inbox.message_max) {
    loop_.post([this, alive = alive_, header] {
      if (*alive)
        answer_dead(0, header, DeadReason::kTooLarge,
                    cat("messages end at ", config_.inbox.message_max, " bytes"));
    });
    return;
  }
  outbox_.post(header, std::move(payload));
}

void Router::send_control(ContextId destination, Handle handle, Bytes payload, Handle reply_to) {
  Header header;
  header.flags = kControl | kFirst | kLast;
  header.length = std::uint32_t(payload.size());
  header.destination = destination;
  header.source = header.authority = config_.id;
  header.handle = handle;
  header.reply_to = reply_to;
  transmit(header, payload);
}

void Router::transmit(const Header& header, Bytes payload) {
  if (header.destination != config_.id) {
    if (Peer* hop = peer(next_hop(header.destination))) {
      if (header.has(kControl)) return hop->link->send_control(header, payload);
      return hop->link->send(0, header, payload);
    }
  }
  // To ourselves, or nowhere: from the loop, so that no caller is called back before it returns.
  loop_.post([this, alive = alive_, header, copy = Buffer(payload.begin(), payload.end())] {
    if (!*alive) return;
    const bool to_us = header.destination == config_.id;
    if (!header.has(kControl)) {
      if (!to_us) outbox_.on_credit(flow_of(header), header.wire_bytes());  // it reached nobody's window
      outbox_.on_sent(header);
    }
    if (to_us) return deliver(0, header, copy);
    if (header.has(kFirst)) answer_dead(0, header, DeadReason::kNoRoute, no_route_text(header.destination));
  });
}

void Router::shut_down_children(Nanos remaining) {
  const Buffer payload = Packer().array(1).number(std::uint64_t(remaining / kMillisecond)).take();
  for (auto& [serial, peer] : peers_)
    if (!peer.is_parent) send_control(peer.id, kShutdown, payload);
}

}  // namespace banyan
