#include "core/router.h"

#include <algorithm>

#include "core/assert.h"
#include "core/msgpack.h"
#include "core/text.h"

namespace banyan {

namespace {

// How many of those beneath a child raise what its link may say: of them all, a child that lies could have as
// many as it has ids. One less at each level, so that what one child says, passed on, leaves something to its
// parent and its siblings; and far above what honest ones say, whose credit is paid for by data.
constexpr std::size_t kVoicesMax = 32, kVoicesMin = 8;

// Control that travels end to end; everything else is between neighbours and is never passed on.
bool is_end_to_end(const Header& header) {
  return header.is_dead() || header.handle == kStreamCredit || header.handle == kStreamBlocked ||
         header.handle == kCancel;
}

}  // namespace

std::string_view name_of(DeadReason reason) {
  static constexpr std::string_view kNames[kDeadReasonCount] = {"no-route",  "no-handle", "refused", "policy",
                                                                "too-large", "busy",      "gone",    "quota",
                                                                "ending",    "cancelled"};
  return kNames[static_cast<std::uint8_t>(reason)];
}

Router::Router(Loop& loop, RouterConfig config)
    : loop_(loop),
      config_(std::move(config)),
      served_(config_.served_max),
      inbox_(*this, window_budget_, config_.inbox),
      outbox_(*this, config_.inbox.stream_window) {}

Router::~Router() {
  *alive_ = false;
  inbox_.close();
  loop_.cancel(sweep_timer_);
  loop_.cancel(next_look_);
}

void Router::configure(RouterConfig config) {
  ASSERT(peers_.empty());
  config_ = std::move(config);
  inbox_.set_limits(config_.inbox);
  served_.set_max(config_.served_max);
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
  routes_[child] = {adopted.serial(), config_.id, 1};
  peer(adopted.serial())->authority = child;
  return adopted;
}

void Router::lend_authority(ContextId child) {
  Peer* found = child_peer(child);
  ASSERT(found != nullptr);
  found->authority = config_.id;
}

Link& Router::adopt(std::unique_ptr<Link> link, ContextId id, bool is_parent, OnLinkDown on_down) {
  Link& adopted = *link;
  adopted.set_serial(next_serial_++);
  adopted.set_owner(*this);
  const std::size_t level = std::min(config_.ancestors.size(), kVoicesMax - kVoicesMin);
  adopted.set_voices_max(std::uint32_t(kVoicesMax - level));
  Peer& neighbour = peers_[adopted.serial()];
  neighbour.link = std::move(link);
  neighbour.id = id;
  neighbour.is_parent = is_parent;
  neighbour.on_down = std::move(on_down);
  return adopted;
}

void Router::let_go(ContextId child) {
  Peer* found = child_peer(child);
  if (found == nullptr) return;
  found->is_leaving = true;
  Error asks;
  asks.detached = true;
  if (found->on_down) found->on_down(asks);
}

void Router::drop_child(ContextId child, const Error& why) {
  if (Peer* found = child_peer(child)) found->link->fail(why);
}

Router::Peer* Router::peer(std::uint32_t serial) {
  auto found = peers_.find(serial);
  return found == peers_.end() ? nullptr : &found->second;
}

// A child of ours is the only one with its id on its own link.
Router::Peer* Router::child_peer(ContextId child) {
  const auto route = routes_.find(child);
  Peer* found = route == routes_.end() ? nullptr : peer(route->second.link);
  return found != nullptr && found->id == child ? found : nullptr;
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
  if (route != routes_.end()) return route->second.link;
  return own_.contains(destination) ? 0 : parent_;
}

bool Router::is_ancestor(ContextId id) const {
  for (const ContextId ancestor : config_.ancestors)
    if (ancestor == id) return true;
  return false;
}

bool Router::lies_beneath(const Peer& child, ContextId id) const {
  return id == child.id || child.granted.contains(id);
}

// --- every frame ---

// A child speaks for itself and what lies beneath it. The parent speaks for everybody else.
const char* Router::check_origin(const Peer& from, Header& header) const {
  if (from.is_parent) {
    for (const ContextId id : {header.source, header.authority})
      if (id == config_.id || own_.contains(id)) return "the parent speaks in the name of our own subtree";
    return nullptr;
  }
  if (!lies_beneath(from, header.source)) return "a child speaks in the name of a stranger";
  if (header.source == from.id) {
    header.authority = from.authority;
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
  // Not announced, or ended: of him nobody would ever be told that he is gone.
  if (!from->is_parent && !routes_.contains(header.source)) {
    ++counters_.refused;
    if (!header.has(kControl)) drop(link.serial(), header);
    return;
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
  const bool is_lost = route == routes_.end() && (from.is_parent || own_.contains(header.destination));
  const std::uint32_t out = route != routes_.end() ? route->second.link : is_lost ? 0 : parent_;
  // The parent knew a way, and is about to hear that it has ended; or it is nobody's, beneath where this
  // came from.
  DeadReason reason =
      from.is_parent || lies_beneath(from, header.destination) ? DeadReason::kGone : DeadReason::kNoRoute;
  std::string text;
  if (out == 0) {
    text = no_route_text(header.destination);
  } else if (out == in) {
    reason = DeadReason::kGone;
    text = cat("the route to ", header.destination, " leads back to where this came from");
  } else if (!may_pass(from, *peer(out), header)) {
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
  // Whatever was begun on this flow while it had a way ends here, too; and is answered here, as the sweep
  // will not see it.
  const auto entry = half_way_.find(flow_of(header));
  if (entry != half_way_.end()) {
    answer_half_way(entry->first, entry->second, text);
    finish_half_way(entry);
  }
  // Of one that is gone nobody waits for a window.
  reason == DeadReason::kGone ? drop(in, header) : throw_away(from, header);
  if (header.has(kFirst)) answer_dead(in, header, reason, text);
}

// Thrown away on its way, so no window of its destination's will give it back: we do, in that one's name.
void Router::throw_away(Peer& from, const Header& header) {
  drop(from.link->serial(), header);
  if (header.has(kAborted)) return;
  const Buffer payload = pack_credit(header.stream, header.wire_bytes(), true);
  Header credit = control_to(header.source, kStreamCredit, kNoReply, payload);
  credit.source = header.destination;
  from.link->send_control(credit, payload);
}

// Only where a message turns from one child's link to another's is the policy asked. A child that speaks with
// our own authority may as much as we, and is answered by whom it has dealt with.
bool Router::may_pass(const Peer& from, const Peer& to, const Header& header) const {
  if (from.is_parent || to.is_parent || config_.sideways == Sideways::kPeers) return true;
  if (header.authority == config_.id) return true;
  if (to.authority == config_.id && header.destination == to.id &&
      (to.knows_everybody || to.contacts.contains(header.source)))
    return true;
  return config_.sideways == Sideways::kIntroduced &&
         introductions_.contains(pair_of(header.source, header.destination));
}

// Control has no window, so what waits of a child's is limited for each link it came in on: a flood never
// costs another neighbour its link. The parent's is taken as our own, and a child that does not read it is
// closed.
void Router::forward_control(Peer& from, Peer& to, const Header& header, Bytes payload) {
  ++counters_.forwarded;
  if (header.handle == kCancel) note_contacts(from, to, header);  // remembered there until its call comes
  if (from.is_parent) return to.link->send_control(header, payload);
  if (to.is_parent) return pass_up(*from.link, header, payload);
  if (to.link->forward_control(from.link->serial(), header, payload)) return;
  // Between two children it is theirs alone: which of them is at fault cannot be known, and both live on.
  --counters_.forwarded;
  ++counters_.dropped;
}

void Router::pass_up(Link& from, const Header& header, Bytes payload) {
  Link* up = parent_link();
  if (up == nullptr) return;
  if (up->forward_control(from.serial(), header, payload)) {
    // The child passes it on, as it must: not read for a while, it hears from whom it has too much. And who
    // announces (that goes on in our name) may have grown faster than the way up tells.
    const Peer* child = peer(from.serial());
    const bool is_its_own = child == nullptr || header.source == child->id;
    if (!is_its_own && up->is_crowded_by(from.serial())) from.pause();
    return;
  }
  from.fail(Error{ErrorClass::kProtocol, Phase::kLink, "more control than the way up takes", {}});
}

void Router::on_control_left(Link& link) {
  if (link.serial() != parent_) return;
  for (auto& [serial, peer] : peers_) peer.link->resume();
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
    const bool is_too_large = load_le<std::uint64_t>(payload.data()) > config_.inbox.message_max;
    // The neighbour cannot help it that somebody behind it begins too many: they are answered, and it lives.
    if (is_too_large || !half_way_share_.take(header.source, from.half_way, config_.half_way_max)) {
      refuse(in, header, is_too_large ? Refusal::kTooLarge : Refusal::kBusy);
      return throw_away(from, header);
    }
    half_way_[flow_of(header)] = HalfWay{in, to, header.handle, header.reply_to};
  } else if (!header.has(kFirst)) {
    const bool stream_abort = header.has(kAborted) && entry == half_way_.end();
    if (!stream_abort) {
      if (entry == half_way_.end()) return throw_away(from, header);
      to = entry->second.to;
      if (header.has(kLast)) finish_half_way(entry);
    }
  }
  ++counters_.forwarded;
  Peer& onward = *peer(to);
  note_contacts(from, onward, header);
  onward.link->send(in, header, payload);
}

void Router::finish_half_way(Table<FlowKey, HalfWay>::Iterator entry) {
  Peer* const from = peer(entry->second.from);
  std::uint32_t of_nobody = 1;
  half_way_share_.give_back(entry->first.source, from != nullptr ? from->half_way : of_nobody);
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

// --- sending ---

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
  if (stream == kReplyStream) {
    const auto route = routes_.find(destination);
    if (route != routes_.end()) ++peer(route->second.link)->answers;
  }
  outbox_.post(header, std::move(payload));
}

Header Router::control_to(ContextId destination, Handle handle, Handle reply_to, Bytes payload) const {
  Header header;
  header.flags = kControl | kFirst | kLast;
  header.length = std::uint32_t(payload.size());
  header.destination = destination;
  header.source = header.authority = config_.id;
  header.handle = handle;
  header.reply_to = reply_to;
  return header;
}

void Router::send_control(ContextId destination, Handle handle, Bytes payload, Handle reply_to) {
  transmit(control_to(destination, handle, reply_to, payload), payload);
}

void Router::pass_up(Link& from, Handle handle, Bytes payload) {
  pass_up(from, control_to(config_.ancestors.front(), handle, kNoReply, payload), payload);
}

void Router::transmit(const Header& header, Bytes payload) {
  if (header.destination != config_.id) {
    if (Peer* hop = peer(next_hop(header.destination))) {
      if (header.has(kControl)) return hop->link->send_control(header, payload);
      if (header.stream == kReplyStream && header.has(kLast) && !is_dropping_ && hop->answers > 0)
        --hop->answers;
      return hop->link->send(0, header, payload);
    }
  }
  // To ourselves, or nowhere: from the loop, so that no caller is called back before it returns.
  loop_.post([this, alive = alive_, header, copy = Buffer(payload.begin(), payload.end())] {
    if (!*alive) return;
    const bool to_us = header.destination == config_.id;
    if (!header.has(kControl)) {
      // It reached nobody's window.
      if (!to_us && !header.has(kAborted)) outbox_.on_refused(flow_of(header), header.wire_bytes());
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
