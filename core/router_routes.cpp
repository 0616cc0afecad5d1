// Router: routes, from their beginning to what their end means for whoever depended on them.
#include <algorithm>
#include <utility>

#include "core/assert.h"
#include "core/msgpack.h"
#include "core/router.h"
#include "core/text.h"

namespace banyan {

namespace {

// Between two sweeps, for each entry that the last one may have looked at and for each byte of control that
// waits: ten times what it took. And at most, however much there is: the news of an end is late by no more.
constexpr Nanos kSweepPause = kMicrosecond;
constexpr Nanos kSweepPauseMax = 100 * kMillisecond;
constexpr std::uint32_t kNoLink = UINT32_MAX;  // 0 is for ourselves

// A crowd, to be asked about one after the other.
class AnyOf {
 public:
  explicit AnyOf(const std::vector<ContextId>& ids) {
    for (const ContextId id : ids) ids_[id];
  }
  Function<bool(ContextId)> asked() const {
    return [this](ContextId id) { return ids_.contains(id); };
  }

 private:
  Table<ContextId, Nothing> ids_;
};

}  // namespace

// --- what is granted, and what is announced ---

// What we have sent to one of them reached nobody, and nobody will give its window back.
void Router::own(IdRange ids) {
  own_.add(ids);
  outbox_.refill(ids);
}

void Router::grant(ContextId child, IdRange ids) {
  if (Peer* found = child_peer(child)) found->granted.add(ids);
}

std::uint64_t Router::granted(ContextId child) {
  const Peer* found = child_peer(child);
  return found == nullptr ? 0 : found->granted.count();
}

const char* Router::add_route(ContextId id, ContextId parent, ContextId child) {
  Peer* found = child_peer(child);
  ASSERT(found != nullptr);
  if (!found->granted.contains(id)) return "a child announces an id it was not granted";
  std::uint32_t& announced = found->announced[id / 32];
  const std::uint32_t bit = 1u << id % 32;
  if ((announced & bit) != 0) return "a child announces an id that is there already, or was";
  const auto above = routes_.find(parent);
  if (above == routes_.end() || above->second.link != found->link->serial())
    return "a child announces a context beneath one that is not its own";
  const std::uint32_t depth = above->second.depth + 1;
  if (config_.ancestors.size() + depth > kAncestorsMax)
    return "a child announces a context deeper than a tree is";
  announced |= bit;
  routes_[id] = {found->link->serial(), parent, depth};
  found->link->add_voices(1);
  return nullptr;
}

std::optional<ContextId> Router::way_to(ContextId id) {
  const auto route = routes_.find(id);
  if (route == routes_.end()) return std::nullopt;
  return peer(route->second.link)->id;
}

std::optional<ContextId> Router::parent_of(ContextId id) const {
  const auto route = routes_.find(id);
  if (route == routes_.end()) return std::nullopt;
  return route->second.parent;
}

// As the routes tell it, so of a way that leads up nothing is known.
bool Router::lies_on_the_way(ContextId id, ContextId callee) const {
  std::optional<ContextId> at = parent_of(callee);
  for (std::size_t depth = 0; at && depth < kAncestorsMax; ++depth) {
    if (*at == id) return true;
    at = parent_of(*at);
  }
  return false;
}

std::size_t Router::height() const {
  std::size_t highest = 0;
  for (const auto& [id, route] : routes_) highest = std::max<std::size_t>(highest, route.depth);
  return highest;
}

Nanos Router::end_deadline() const {
  return kEndDeadline + Nanos(std::min(height(), kEndLevelsMax)) * kEndOfLevel;
}

// At once goes what decides about the frames that follow the news, on whatever link: the route. Without it a
// frame from the ended is dropped, one to it is answered dead, an announcement beneath it ends its link; and
// a message half-way to it is answered by the next of its frames (forward()). An id never comes back
// (add_route()), so no later word can mean the same id alive, and its end may be told later than other news.
// What remains is to tell those who wait, here and elsewhere: that looks at every table, so it is done once
// for all who end in one round of the loop, and not again before it has been paid for. They only wait a
// little longer; nothing of the ended reaches them any more, and what they send it meets the missing route.
void Router::remove_routes(const std::vector<ContextId>& ids) {
  for (const ContextId id : ids) {
    ended_.push_back(id);
    const auto route = routes_.find(id);
    if (route == routes_.end()) continue;
    Peer& way = *peer(route->second.link);
    way.link->add_voices(-1);
    way.answers -= std::min(way.answers, std::uint32_t(outbox_.waiting({config_.id, id, kReplyStream})));
    routes_.erase(route);
  }
  if (sweep_timer_ == 0)
    sweep_timer_ = loop_.after(std::max(next_sweep_ - loop_.now(), Nanos(0)), [this] { sweep(); });
}

void Router::sweep() {
  loop_.cancel(std::exchange(sweep_timer_, 0));
  if (ended_.empty()) return;
  const std::vector<ContextId> ids = std::move(ended_);
  ended_.clear();
  const AnyOf any_of(ids);
  std::size_t cost =
      half_way_.size() + outbox_.flows() + inbox_.streams() + served_.size() + ids.size() * peers_.size();
  if (const Link* up = parent_link()) cost += up->backlog();
  next_sweep_ = loop_.now() + std::min(Nanos(cost) * kSweepPause, kSweepPauseMax);
  ++counters_.walks;

  forget(any_of.asked(), ids, "the context is gone", kNoLink);
}

// All that depended on them, or on that link: `ids` are those of them that had a route.
void Router::forget(const Function<bool(ContextId)>& is_gone, const std::vector<ContextId>& ids,
                    std::string_view text, std::uint32_t link) {
  // Half-way through us: onward an aborted end, in the order of its frames; backward one dead message.
  for (auto entry = half_way_.begin(); entry != half_way_.end();) {
    const auto here = entry++;
    const FlowKey& flow = here->first;
    const HalfWay& half_way = here->second;
    if (half_way.to == link || is_gone(flow.destination)) {
      answer_half_way(flow, half_way, text);
      finish_half_way(here);  // what still comes of it finds no way
    } else if (half_way.from == link || is_gone(flow.source)) {
      Peer* onward = half_way.from == link ? peer(half_way.to) : nullptr;  // else the news itself says it
      if (onward != nullptr) {
        Header header;
        header.flags = kAborted | kLast;
        header.source = header.authority = flow.source;
        header.destination = flow.destination;
        header.stream = flow.stream;
        header.handle = half_way.handle;
        onward->link->send(link, header, {});
      }
      finish_half_way(here);
    }
  }
  end_introductions(is_gone);
  drop_queued(is_gone);
  if (link == kNoLink) {
    inbox_.cut(is_gone);
  } else {
    inbox_.cut(link);
  }
  fail_pending([&](const Pending& pending) { return pending.link == link || is_gone(pending.callee); },
               Dead{DeadReason::kGone, std::string(text), config_.id});
  served_.forget(is_gone);
  if (!ids.empty() && on_ended) on_ended(ids);
  for (const ContextId id : ids) forget_contacts(id);
}

// Answers among it are counted no more, whatever is still said of them.
void Router::drop_queued(const Function<bool(ContextId)>& is_gone) {
  is_dropping_ = true;
  outbox_.drop([&](const FlowKey& flow) { return is_gone(flow.destination); });
  is_dropping_ = false;
}

void Router::answer_half_way(const FlowKey& flow, const HalfWay& half_way, std::string_view text) {
  Header header;
  header.source = flow.source;
  header.reply_to = half_way.reply_to;
  answer_dead(half_way.from, header, DeadReason::kGone, text);
}

bool Router::have_frames(const std::vector<ContextId>& ids, Link& link, bool throw_away) {
  ++counters_.walks;
  const AnyOf any_of(ids);
  if (!throw_away) return link.has_frames(any_of.asked());
  for (const QueuedFrame& frame : link.discard_frames(any_of.asked())) drop(frame.origin, frame.header);
  return false;
}

// --- strangers ---

// Who is told of the end of `id`: neither an ancestor nor anybody beneath the child, of whom it knows anyway.
void Router::note_contact(Peer& child, ContextId id) {
  if (child.knows_everybody || id == config_.id || is_ancestor(id) || lies_beneath(child, id)) return;
  child.contacts[id];
  if (child.contacts.size() <= config_.contacts_max) return;
  child.knows_everybody = true;
  child.contacts.clear();
}

// Where nobody may talk sideways, a child's word of whom it writes to counts only if it has our authority.
void Router::note_contacts(Peer& from, Peer& to, const Header& header) {
  if (!from.is_parent && (config_.sideways != Sideways::kVertical || header.authority == config_.id))
    note_contact(from, header.destination);
  if (!to.is_parent) note_contact(to, header.source);
}

std::vector<ContextId> Router::contacts_of(ContextId id) const {
  std::vector<ContextId> children;
  const bool is_above = is_ancestor(id);
  for (const auto& [serial, peer] : peers_)
    if (!peer.is_parent &&
        (is_above || peer.contacts.contains(id) || (peer.knows_everybody && !lies_beneath(peer, id))))
      children.push_back(peer.id);
  return children;
}

void Router::forget_contacts(ContextId id) {
  for (auto& [serial, peer] : peers_) peer.contacts.erase(id);
}

Router::Pair Router::pair_of(ContextId one, ContextId other) {
  return one < other ? Pair{one, other} : Pair{other, one};
}

void Router::introduce(ContextId one, ContextId other) {
  const auto way_to_one = routes_.find(one), way_to_other = routes_.find(other);
  if (way_to_one == routes_.end() || way_to_other == routes_.end()) return;
  if (way_to_one->second.link == way_to_other->second.link) {
    const ContextId below = peer(way_to_one->second.link)->id;
    if (below != one && below != other)
      send_control(below, kIntroduce, Packer().array(2).number(one).number(other).buffer());
  } else if (introductions_.size() < config_.introductions_max) {
    introductions_[pair_of(one, other)];
  }
}

void Router::end_introductions(const Function<bool(ContextId)>& is_gone) {
  for (auto at = introductions_.begin(); at != introductions_.end();) {
    const auto here = at++;
    if (is_gone(here->first.one) || is_gone(here->first.other)) introductions_.erase(here);
  }
}

// --- leaving the tree ---

// Nobody above will hear of the outcome, and nobody there may end it any more.
void Router::disregard_parent() {
  on_shutdown = nullptr;
  if (Peer* up = peer(parent_)) up->on_down = nullptr;
  at_parting_ = [this] {
    served_.disown([this](ContextId id) { return id != config_.id && !routes_.contains(id); });
    const Dead dead{DeadReason::kNoHandle, "this context has detached", config_.id};
    const std::uint32_t up = parent_;
    fail_pending([up](const Pending& pending) { return pending.deaths_only && pending.link == up; }, dead);
  };
}

bool Router::owes_above() {
  const Link* up = parent_link();
  if (up == nullptr) return false;
  return up->has_unsent() || outbox_.holds([this](const FlowKey& flow) {
    return flow.destination != config_.id && !routes_.contains(flow.destination);
  });
}

void Router::leave_parent() {
  if (Peer* up = peer(parent_))
    up->link->fail(Error{ErrorClass::kCancelled, Phase::kLink, "this context has detached", {}});
  config_.ancestors.clear();
  for (auto& [serial, peer] : peers_) {
    for (auto at = peer.contacts.begin(); at != peer.contacts.end();)
      at = routes_.contains(at->first) ? ++at : peer.contacts.erase(at);
  }
}

bool Router::for_each_stranger(const Function<void(ContextId child, ContextId stranger)>& visit) const {
  for (const auto& [serial, peer] : peers_) {
    if (peer.knows_everybody) return false;
    for (const auto& [id, nothing] : peer.contacts)
      if (!routes_.contains(id)) visit(peer.id, id);
  }
  return true;
}

void Router::for_each_route(const Function<void(ContextId id, ContextId parent)>& visit) const {
  for (const auto& [id, route] : routes_) visit(id, route.parent);
}

// --- the end of a link ---

void Router::on_down(Link& link, const Error& error, FrameQueue unsent) {
  sweep();  // who ended before was one of us still
  const std::uint32_t serial = link.serial();
  auto found = peers_.find(serial);
  ASSERT(found != peers_.end());
  // Out of the tables first: what follows calls strangers, who may call us.
  Peer gone = std::move(found->second);
  peers_.erase(found);
  if (gone.is_parent && at_parting_) std::exchange(at_parting_, nullptr)();
  std::vector<ContextId> lost;
  if (!gone.is_parent) lost.push_back(gone.id);
  for (const auto& [id, route] : routes_)
    if (route.link == serial && id != gone.id) lost.push_back(id);
  for (const ContextId id : lost) routes_.erase(id);
  on_control_left(link);
  if (parent_ == serial) parent_ = 0;
  const std::string text =
      cat("the link to ", gone.id, gone.is_leaving ? " ended, as it has detached: " : " broke: ", error.text);

  for (const QueuedFrame& frame : unsent) {
    if (frame.origin == 0) continue;  // ours: the calls below are told
    if (frame.header.has(kLast)) answer_dead(frame.origin, frame.header, DeadReason::kGone, text);
    drop(frame.origin, frame.header);
  }

  const auto was_behind = [&](ContextId id) {
    if (!gone.is_parent) return id == gone.id || gone.granted.contains(id);
    return id != config_.id && !routes_.contains(id);
  };
  forget(was_behind, lost, text, serial);
  served_.forget_link(serial);
  graveyard_.push_back(std::move(gone.link));
  loop_.post([this, alive = alive_] {
    if (*alive) graveyard_.clear();
  });
  if (gone.on_down) gone.on_down(error);  // the last: it may destroy us
}

}  // namespace banyan
