#include "tests/simulation/invariants.h"

#include <algorithm>
#include <set>

#include "core/text.h"

namespace banyan {

using simulation::Invariant;
using simulation::SimNode;
using simulation::SimTree;
using simulation::StateChecker;

namespace {

const std::uint64_t kWindowBudget = WindowBudget().left;
constexpr std::uint64_t kFairShare = 3 * (kHeaderBytes + kFramePayloadMax);

}  // namespace

// Sees what the classes of core/ keep to themselves.
struct Inspector {
  StateChecker& checker;
  SimTree& tree;
  SimNode& node;
  Router& router;

  Inspector(StateChecker& its_checker, SimNode& its_node)
      : checker(its_checker), tree(its_checker.tree_), node(its_node), router(its_node.router) {}

  template <class... Parts>
  void broken(Invariant invariant, const Parts&... parts) {
    checker.report_(invariant, cat("at node ", node.index, " (id ", node.id, "): ", cat(parts...)));
  }

  // --- 1 ---

  void check_route(const SimNode& other) {
    if (!other.is_known || &other == &node) return;
    const std::optional<ContextId> way = router.way_to(other.id);
    if (!way) return;
    const SimNode* child = tree.find(*way);
    if (child == nullptr || child->parent != &node || !other.is_beneath(*child))
      return broken(Invariant::kRouteSoundness, "the way to ", other.id, " leads through ", *way,
                    ", beneath which it is not");
    // Gone: the news must be on its way. Beneath a liar nothing needs to be told.
    for (const SimNode* at = &other; at != &node; at = at->parent)
      if (at->is_hostile) return;
    for (const SimNode* at = &other; at != &node; at = at->parent) {
      if (at->gone_since != 0 && tree.world().now() > at->gone_since + checker.death_bound)
        return broken(Invariant::kRouteSoundness, "there is a route to ", other.id, " still, and ", at->id,
                      " has been gone for ", (tree.world().now() - at->gone_since) / kMillisecond, " ms");
    }
  }

  // --- 15, 10, 12 ---

  void check_peers() {
    const RouterConfig& config = router.config_;
    std::uint64_t grown = 0;
    std::uint64_t routes = 0;
    for (auto& [serial, peer] : router.peers_) {
      const Link& link = *peer.link;
      if (link.is_open()) grown += link.window_ - link.limits_.window;
      if (std::uint64_t(link.held_) + link.uncredited_ > link.window_ && link.is_open())
        broken(Invariant::kCreditConservation, "a link holds more than its window");
      if (link.window_ > link.limits_.window_max)
        broken(Invariant::kQuota, "a link's window has grown beyond its limit");
      for (const auto& [origin, bytes] : link.control_of_origin_)
        if (bytes > link.limits_.control_queue_max)
          broken(Invariant::kQuota, bytes, " bytes of control of one link wait for another");
      check_fairness(link);
      if (peer.is_parent) continue;
      if (peer.granted.count() > std::max<std::uint64_t>(tree.options().ids_per_link, kFirstGrant))
        broken(Invariant::kQuota, peer.granted.count(), " ids are granted to ", peer.id);
      if (peer.half_way > config.half_way_max)
        broken(Invariant::kQuota, peer.half_way, " unfinished messages of ", peer.id);
      if (peer.contacts.size() > config.contacts_max)
        broken(Invariant::kQuota, peer.contacts.size(), " contacts of ", peer.id);
    }
    std::map<std::uint32_t, std::uint32_t> half_way;
    std::map<ContextId, std::uint32_t> half_way_of;
    for (const auto& [flow, entry] : router.half_way_) {
      ++half_way[entry.from];
      ++half_way_of[flow.source];
    }
    check_shares(router.half_way_share_, half_way_of, " unfinished messages of ");
    for (auto& [serial, peer] : router.peers_)
      if (peer.half_way != half_way[serial])
        broken(Invariant::kQuota, peer.half_way, " unfinished messages of ", peer.id, " are counted, and ",
               half_way[serial], " are there");
    std::map<std::uint32_t, std::size_t> answers;
    for (const auto& [flow, entry] : router.outbox_.flows_) {
      const auto route = router.routes_.find(flow.destination);
      if (flow.stream == kReplyStream && route != router.routes_.end())
        answers[route->second.link] += entry.queue.size();
    }
    for (auto& [serial, peer] : router.peers_)
      if (peer.answers != answers[serial])
        broken(Invariant::kQuota, peer.answers, " answers for ", peer.id, " are counted, and ",
               answers[serial], " wait");
    for (const auto& [id, route] : router.routes_) {
      ++routes;
      const auto peer = router.peers_.find(route.link);
      if (peer == router.peers_.end())
        broken(Invariant::kConvergence, "the route to ", id, " leads to a link that is gone");
      else if (id != peer->second.id && !peer->second.granted.contains(id))
        broken(Invariant::kIdOwnership, "a route to ", id, ", which was not granted beneath ",
               peer->second.id);
    }
    if (router.introductions_.size() > config.introductions_max)
      broken(Invariant::kQuota, "too many introductions");
    check_inbox(grown);
    check_served();
  }

  void check_shares(const FairShare& share, std::map<ContextId, std::uint32_t>& truth, const char* what) {
    if (share.of_source_.size() != truth.size())
      broken(Invariant::kQuota, share.of_source_.size(), " sources have", what, "theirs, and ", truth.size());
    for (const auto& [source, count] : share.of_source_)
      if (count != truth[source])
        broken(Invariant::kQuota, count, what, source, " are counted, and ", truth[source], " are there");
  }

  void check_inbox(std::uint64_t grown) {
    Inbox& inbox = router.inbox_;
    const InboxLimits& limits = inbox.limits_;
    std::map<std::uint32_t, std::uint32_t> streams;
    std::map<ContextId, std::uint32_t> of_source;
    for (const auto& [flow, window] : inbox.windows_) {
      if (flow.stream >= kFirstFreeStream) {
        ++streams[window.link];
        ++of_source[flow.source];
      }
      grown += window.size - limits.stream_window;
      if (std::uint64_t(window.held) + window.uncredited > window.size)
        broken(Invariant::kCreditConservation, "a stream of ", flow.source, " holds more than its window");
      if (window.size > limits.stream_window_max)
        broken(Invariant::kQuota, "a stream's window has grown beyond its limit");
    }
    for (const auto& [link, count] : streams)
      if (count > limits.streams_max) broken(Invariant::kQuota, count, " streams from one link");
    check_shares(inbox.streams_, of_source, " streams of ");
    std::uint64_t reserved = 0;
    for (const auto& [link, share] : inbox.shares_) {
      reserved += share.reserved;
      if (share.streams != streams[link])
        broken(Invariant::kQuota, share.streams, " streams of a link are counted, and ", streams[link],
               " are there");
      if (share.reserved > std::max<std::uint64_t>(limits.assembly_budget / 4, limits.message_max))
        broken(Invariant::kQuota, "one link has reserved ", share.reserved, " bytes");
    }
    if (reserved > inbox.assembly_used_) broken(Invariant::kQuota, "reservations that are not counted");
    if (inbox.assembly_used_ > std::max<std::uint64_t>(limits.assembly_budget, limits.message_max))
      broken(Invariant::kQuota, inbox.assembly_used_, " bytes are reserved for messages");
    if (grown + router.window_budget_.left != kWindowBudget)
      broken(Invariant::kCreditConservation, "windows have grown by ", grown, " bytes, and ",
             router.window_budget_.left, " are left to grow");
  }

  void check_served() {
    std::map<std::uint32_t, std::uint32_t> calls, early;
    for (const auto& [key, call] : router.served_.calls_) ++calls[call.link];
    for (const auto& [key, link] : router.served_.early_) ++early[link];
    const std::uint32_t max = router.config_.served_max;
    if (router.served_.calls_.size() > max) broken(Invariant::kQuota, "more calls are served than allowed");
    for (const auto& [link, share] : router.served_.shares_) {
      if (share.calls != calls[link] || share.early != early[link])
        broken(Invariant::kQuota, "calls of a link: ", share.calls, " and ", share.early,
               " are counted, and ", calls[link], " and ", early[link], " are there");
      if ((link != 0 && share.calls > std::max(max / 4, 1u)) || share.early > 256)
        broken(Invariant::kQuota, share.calls, " calls of one link are served, and ", share.early,
               " cancels remembered");
    }
  }

  // Whoever waits is served before the others of his kind have had three turns each.
  void check_fairness(const Link& link) {
    if (!link.is_open()) return;
    check_fairness(link, link.calls_, true);
    check_fairness(link, link.streams_, false);
  }

  void check_fairness(const Link& link, const FrameScheduler& scheduler, bool of_calls) {
    const std::uint64_t bytes_left = checker.bytes_left_[{&link, of_calls}];
    for (const auto& [serial, origin] : scheduler.origins_) {
      for (const auto& [flow, queued] : origin.flows) {
        if (queued.frames.empty()) continue;
        const std::uint64_t frames_left = checker.frames_left_[{&link, flow}];
        StateChecker::Waiting& waiting = checker.waiting_[{&link, flow}];
        // None of it has left since the last look, so its first frame is the one that waited then.
        if (waiting.share == 0 || waiting.frames_before != frames_left)
          waiting = {frames_left, bytes_left, 0};
        waiting.share = std::max(waiting.share, scheduler.origins_.size() * origin.flows.size());
        if (bytes_left - waiting.bytes_before > kFairShare * (waiting.share + 1))
          broken(Invariant::kFairness, "a frame of ", flow.source, " has waited while ",
                 bytes_left - waiting.bytes_before, " bytes of others left, and ", waiting.share,
                 " had turns");
      }
    }
  }

  // What a sender may still send is what its receiver has room for, less what is on its way.
  void check_credit(SimNode& parent, bool is_quiet) {
    const auto down = parent.router.peers_.find(serial_of(parent.router, node.id));
    const auto up = router.peers_.find(router.parent_);
    if (down == parent.router.peers_.end() || up == router.peers_.end()) return;
    check_link_credit(*down->second.link, *up->second.link, is_quiet);
    check_link_credit(*up->second.link, *down->second.link, is_quiet);
  }

  void check_link_credit(const Link& sender, const Link& receiver, bool is_quiet) {
    if (!sender.is_open() || !receiver.is_open()) return;
    const std::uint64_t taken = std::uint64_t(receiver.held_) + receiver.uncredited_;
    if (sender.credit_ + taken > receiver.window_)
      broken(Invariant::kCreditConservation, "a link has credit for ", sender.credit_,
             ", its other end holds ", taken, " of ", receiver.window_);
    else if (is_quiet && sender.credit_ + taken < receiver.window_)
      broken(Invariant::kCreditConservation, "of a link's window of ", receiver.window_, " only ",
             sender.credit_ + taken, " are accounted for");
  }

  static std::uint32_t serial_of(const Router& parent, ContextId child) {
    const auto route = parent.routes_.find(child);
    return route == parent.routes_.end() ? 0 : route->second.link;
  }

  void check_streams(bool is_quiet) {
    const std::uint64_t first = router.outbox_.first_window_;
    for (const auto& [key, flow] : router.outbox_.flows_) {
      SimNode* receiver = tree.find(key.destination);
      if (receiver == nullptr || receiver == &node || !receiver->is_connected() || receiver->is_tainted() ||
          !node.is_connected())
        continue;
      const auto window = receiver->router.inbox_.windows_.find(key);
      if (window == receiver->router.inbox_.windows_.end() || window->second.ended) continue;
      const Inbox::Window& w = window->second;
      const std::uint64_t sum = flow.credit + w.held + w.uncredited;
      if (sum > std::max<std::uint64_t>(w.size, first))
        broken(Invariant::kCreditConservation, "stream ", key.stream, " to ", key.destination,
               " has credit for ", flow.credit, ", ", w.held + w.uncredited, " are held of ", w.size);
      // A flow of calls that looks as new is forgotten by its sender, and with it what a window has grown.
      const std::uint64_t least =
          key.stream < kFirstFreeStream ? std::min<std::uint64_t>(w.size, first) : w.size;
      if (is_quiet && sum < least)
        broken(Invariant::kCreditConservation, "of the window of stream ", key.stream, " to ",
               key.destination, ", ", w.size, ", only ", sum, " are accounted for");
    }
  }

  // --- 8 ---

  bool is_gone(ContextId id) const {
    const SimNode* other = tree.find(id);
    return other == nullptr || !other->is_connected();
  }

  void check_quiet() {
    std::size_t beneath = 0;
    for (const auto& other : tree.nodes()) {
      if (!other->is_known || other.get() == &node) continue;
      const bool is_there = other->is_connected() && other->is_beneath(node);
      beneath += is_there;
      const bool has_route = router.way_to(other->id).has_value();
      if (is_there != has_route)
        broken(Invariant::kConvergence, has_route ? "a route is left to " : "no route leads to ", other->id);
      else if (is_there && router.parent_of(other->id) != other->parent->id)
        broken(Invariant::kConvergence, "of ", other->id, " another parent is known than ",
               other->parent->id);
    }
    if (router.routes() != beneath)
      broken(Invariant::kConvergence, router.routes(), " routes, and ", beneath, " contexts beneath");
    if (node.parent == nullptr) check_places(beneath);
    for (const auto& [flow, half_way] : router.half_way_)
      broken(Invariant::kConvergence, "a message is half-way still, from ", flow.source, " to ",
             flow.destination, ", stream ", flow.stream);
    if (!router.ended_.empty()) broken(Invariant::kConvergence, "somebody's end is not looked for still");
    for (const auto& [handle, pending] : router.pending_)
      broken(Invariant::kConvergence, "somebody waits still for ", pending.callee);
    for (const auto& [key, call] : router.served_.calls_)
      broken(Invariant::kConvergence, "a call of ", key.source, " is served still");
    for (const auto& [key, link] : router.served_.early_)
      broken(Invariant::kConvergence, "a cancel waits for a call of ", key.source);
    for (const auto& [flow, assembly] : router.inbox_.assemblies_)
      broken(Invariant::kConvergence, assembly.bytes.size(), " bytes of ", assembly.total, " came from ",
             flow.source, " on stream ", flow.stream, " and wait still; ", router.inbox_.assembly_used_,
             " bytes are reserved of ", router.inbox_.limits_.assembly_budget);
    for (const auto& [flow, window] : router.inbox_.windows_)
      if (is_gone(flow.source))
        broken(Invariant::kConvergence, "a window is left for ", flow.source, ", stream ", flow.stream);
    for (const auto& [flow, state] : router.outbox_.flows_) {
      if (is_gone(flow.destination))
        broken(Invariant::kConvergence, "something is left to send to ", flow.destination, ", stream ",
               flow.stream, ", credit ", state.credit);
      else if (!state.queue.empty() || state.in_link != 0)
        broken(Invariant::kProgress, "stream ", flow.stream, " to ", flow.destination, " has ",
               state.queue.size(), " messages that do not leave, credit ", state.credit);
    }
    for (const auto& [pair, nothing] : router.introductions_)
      if (is_gone(pair.one) || is_gone(pair.other))
        broken(Invariant::kConvergence, "an introduction is left of ", pair.one, " and ", pair.other);
    for (auto& [serial, peer] : router.peers_) {
      if (peer.link->has_unsent()) broken(Invariant::kProgress, "a link has something to send still");
      if (peer.link->held() != 0)
        broken(Invariant::kCreditConservation, "a link holds ", peer.link->held(), " bytes that nobody has");
    }
    if (node.ids->waiting() != 0) broken(Invariant::kProgress, "somebody waits for ids still");
    check_grants();
    check_peers();
    check_streams(true);
    if (node.parent != nullptr) check_credit(*node.parent, true);
  }

  void check_places(std::size_t beneath) {
    if (node.routes->size() != beneath)
      broken(Invariant::kConvergence, "the root knows ", node.routes->size(), " places of ", beneath);
    for (const auto& other : tree.nodes()) {
      if (other->parent == nullptr || !other->is_connected()) continue;
      const RouteMonitor::Place* place = node.routes->find(other->id);
      if (place == nullptr || place->parent != other->parent->id || place->name != cat("node ", other->index))
        broken(Invariant::kConvergence, "the root does not know where ", other->id, " is");
    }
  }

  // What was granted to one child was not granted to another, and is ours to grant.
  void check_grants() {
    std::vector<const IdSet*> sets;
    for (const auto& [serial, peer] : router.peers_) {
      if (peer.is_parent) continue;
      const SimNode* child = tree.find(peer.id);
      for (const auto& other : tree.nodes()) {
        if (!other->is_known || !peer.granted.contains(other->id)) continue;
        if (child == nullptr || !other->is_beneath(*child))
          broken(Invariant::kIdOwnership, "id ", other->id, " is granted beneath ", peer.id,
                 ", where it is not");
      }
      for (const IdRange& range : ranges_of(peer.granted)) {
        for (const IdSet* set : sets)
          if (set->overlaps(range))
            broken(Invariant::kIdOwnership, "ids from ", range.first, " are granted to two children");
        if (!is_owned(range)) broken(Invariant::kIdOwnership, "ids from ", range.first, " were not ours");
      }
      if (child != nullptr && !child->is_hostile)
        for (const IdRange& range : ranges_of(child->router.own_))
          if (!is_within(peer.granted, range))
            broken(Invariant::kIdOwnership, peer.id, " has ids from ", range.first, " that are not granted");
      sets.push_back(&peer.granted);
    }
  }

  static std::vector<IdRange> ranges_of(const IdSet& set) { return set.ranges_; }
  static bool is_within(const IdSet& set, IdRange range) {
    return std::any_of(set.ranges_.begin(), set.ranges_.end(), [&](const IdRange& one) {
      return one.contains(range.first) && one.contains(range.first + (range.count - 1));
    });
  }
  bool is_owned(IdRange range) const { return is_within(router.own_, range); }
};

namespace simulation {

std::string_view sentence_of(Invariant invariant) {
  static constexpr std::string_view kSentences[] = {
      "",
      "1 route soundness: a route to X through L means that X is behind L, or that the news of its end is on "
      "its way",
      "2 id ownership: each id is granted once, is announced only from beneath whom it was granted to, and "
      "is never used again",
      "3 authority: a handler runs as A only if A began the message",
      "4 exactly one completion: each call ends once, with its own reply or with a true death",
      "5 at most once: no call runs twice",
      "6 order: each stream arrives in order, without gaps, and nothing after its end",
      "7 no black hole: a call to somebody out of reach ends, dead, in time",
      "8 convergence: when faults stop, the tables are the truth, and nothing refers to who is gone",
      "9 isolation: nobody reaches whom the policy does not let him",
      "10 credit conservation: credit, what is on its way and what is held are the window",
      "11 progress: nothing waits for ever while somebody reads, and no link between the living is lost",
      "12 fairness: each that waits is served within a few turns",
      "13 scope: what was cancelled, or lost its caller, has ended when that is said",
      "14 no amplification: a hostile frame costs no link more than its size and 256 bytes; a dead message "
      "is not answered",
      "15 quota: what one link can make us keep is limited, and counted",
      "16 containment: a liar harms nobody who is not beneath him",
      "17 determinism: one seed, one history",
  };
  return kSentences[std::size_t(invariant)];
}

namespace {

bool is_judged(const SimNode& node) {
  return node.is_up && node.is_alive && !node.is_tainted();
}

}  // namespace

void StateChecker::check_node(SimNode& node) {
  if (!is_judged(node)) return;
  Inspector inspector(*this, node);
  for (const auto& other : tree_.nodes()) inspector.check_route(*other);
  inspector.check_peers();
  inspector.check_streams(false);
  if (node.parent != nullptr) inspector.check_credit(*node.parent, false);
}

void StateChecker::check() {
  for (const auto& node : tree_.nodes()) check_node(*node);
}

void StateChecker::check_quiet() {
  for (const auto& node : tree_.nodes())
    if (is_judged(*node) && node->is_connected()) Inspector(*this, *node).check_quiet();
}

}  // namespace simulation
}  // namespace banyan
