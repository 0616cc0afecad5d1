#include "cli/paths.h"

#include <algorithm>
#include <utility>

#include "cli/recipes.h"
#include "core/text.h"
#include "transports/relayed_ssh.h"
#include "transports/sudo.h"

namespace banyan::cli {
namespace {

// A start fails with its hop, and a moment later is known what became of that: its process is reaped first.
constexpr Nanos kExplanationMax = 3 * kSecond;
constexpr Nanos kFarewell = 2 * kSecond;  // for a hop to end, when nothing is beneath it any more

Error cancelled() {
  return Error{ErrorClass::kCancelled, Phase::kHello, "cancelled", {}};
}

}  // namespace

Paths::Paths(Loop& loop, Router& router, Runner& runner, Reach& reach, Becoming& becoming,
             const RelayParts& relay)
    : loop_(loop),
      router_(router),
      runner_(runner),
      reach_(reach),
      becoming_(becoming),
      secrets_(relay.secrets),
      remote_(router),
      relay_(loop, remote_, relay),
      connect_timeout_(relay.ssh.connect_timeout) {}

Paths::~Paths() {
  *alive_ = false;
  for (const auto& [id, node] : nodes_) loop_.cancel(node.timer);
}

void Paths::expect(const std::vector<Target>& targets) {
  for (const Target& target : targets) {
    bool has_transport = target.method != Method::kLocal;
    for (const Target* hop = target.hop.get(); hop != nullptr; hop = hop->hop.get()) {
      if (has_transport) hops_.insert(hop->name);
      has_transport = has_transport || hop->method != Method::kLocal;
    }
  }
}

ImageKind Paths::kind_of(const Target& target) const {
  return hops_.contains(target.name) ? ImageKind::kHop : ImageKind::kAgent;
}

Paths::Id Paths::start(const Target& target, Runner::OnUp on_up, Runner::OnLost on_lost, WayRecord* record) {
  return use(target, 0, std::move(on_up), std::move(on_lost), record);
}

Paths::Id Paths::use(const Target& target, NodeId beneath, Runner::OnUp on_up, Runner::OnLost on_lost,
                     WayRecord* record) {
  const Id id = next_++;
  const NodeId node = node_of(target, record);
  users_[id] = User{node, beneath, false, std::move(on_up), std::move(on_lost)};
  Node& used = nodes_.at(node);
  used.users.push_back(id);
  ways_[id] = top_of(used).way;
  // From the loop: whoever asks does not know the number yet.
  if (used.child)
    loop_.post([this, alive = alive_, id] {
      if (*alive) tell_up(id);
    });
  return id;
}

Paths::NodeId Paths::node_of(const Target& target, WayRecord* record) {
  if (const auto found = by_name_.find(target.name); found != by_name_.end()) return found->second;
  const NodeId id = next_++;
  by_name_[target.name] = id;
  Node& node = nodes_[id];
  node.target = target;
  node.began = secrets_.machine_time();
  node.record = record;
  if (record != nullptr) record->began = loop_.now();
  const auto lost = [this, alive = alive_, id](ContextId, const Error& error) {
    if (*alive) on_lost(id, error);
  };
  if (!target.hop) {
    node.way = reach_.start(
        target, kind_of(target), [this, id](const Result<Child>& child) { on_up(id, child); }, lost, record);
    return id;
  }
  const Target& hop = *target.hop;
  node.hop = use(
      hop, id,
      [this, id, &hop](const Result<Child>& child) {
        if (child) return start_at(id, child->id, child->hello.architecture);
        on_hop_gone(id, hop, child.error());
      },
      [this, id, &hop](ContextId, const Error& error) { on_hop_gone(id, hop, error); }, nullptr);
  return id;
}

void Paths::start_at(NodeId id, ContextId at, std::string_view architecture) {
  Node& node = nodes_.at(id);
  node.at = at;
  if (node.record != nullptr) node.record->began = loop_.now();
  Nanos left = connect_timeout_;
  if (left > 0) left = std::max(left - (secrets_.machine_time() - node.began), Nanos(kMillisecond));
  Runner::OnUp up = [this, alive = alive_, id](const Result<Child>& child) {
    if (*alive) on_up(id, child);
  };
  Runner::OnLost lost = [this, alive = alive_, id](ContextId, const Error& error) {
    if (*alive) on_lost(id, error);
  };
  if (node.target.method == Method::kSsh) {
    node.relay = relay_.start(at, node.target, kind_of(node.target), left, std::move(up), std::move(lost),
                              node.record);
    return;
  }
  Recipe recipe = recipe_beneath(node.target, loop_.random(), architecture, left, node.not_entered);
  recipe.kind = kind_of(node.target);
  if (is_become(node.target)) node.answerer = becoming_.let_ask(node.target, recipe, node.on_terminal);
  node.start = remote_.start(at, std::move(recipe), std::move(up), std::move(lost));
}

// The hop has no ssh: then its sshd passes us on, if there are but such before it. False: there are others.
bool Paths::start_tunnel(NodeId id) {
  Node& node = nodes_.at(id);
  const std::optional<std::string> jumps = jumps_to(node.target, relay_.ssh());
  if (!jumps) return false;
  node.relay = 0;
  node.at = 0;
  const Id hop = std::exchange(node.hop, 0);  // it lies beneath the root then
  Target target = node.target;
  target.name = last_name(node.target);
  if (node.record != nullptr) *node.record = {};
  node.way = reach_.start(
      target, kind_of(node.target), [this, id](const Result<Child>& child) { on_up(id, child); },
      [this, alive = alive_, id](ContextId, const Error& error) {
        if (*alive) on_lost(id, error);
      },
      node.record, *jumps);
  leave(hop, kFarewell, [] {});
  return true;
}

void Paths::on_up(NodeId id, const Result<Child>& child) {
  Node& node = nodes_.at(id);
  if (!child && node.relay != 0 && !node.failed && lacks_ssh(child.error()) && start_tunnel(id)) return;
  const auto answerer = std::exchange(node.answerer, nullptr);
  if (answerer && child) answerer->came_through();
  if (!child) {
    const Error told = answerer ? answerer->ended(child.error()) : child.error();
    if (node.failed) return fail(id, *node.failed);
    // Nothing has happened there yet, and without the guess it tells what it is.
    if (node.at != 0 && node.relay == 0 && told.wrong_guess && has_second_try(node.target) &&
        !std::exchange(node.no_second_try, true)) {
      if (node.target.method == Method::kContainer) node.not_entered = told.text;
      return start_at(id, node.at, {});
    }
    if (node.at != 0 && node.target.method == Method::kSudo && wants_terminal(told) && !node.is_cancelled &&
        !std::exchange(node.on_terminal, true))
      return start_at(id, node.at, {});
    const Error error = error_of_start(node.target, told, node.not_entered);
    const bool by_hop = node.at != 0 && !router_.way_to(node.at);
    if (!by_hop) return fail(id, error);
    node.failed = error;
    node.timer = loop_.after(kExplanationMax, [this, id, error] {
      nodes_.at(id).timer = 0;
      fail(id, error);
    });
    return;
  }
  node.child = *child;
  const std::list<Id> users = node.users;
  for (const Id user : users) tell_up(user);
}

void Paths::tell_up(Id id) {
  const auto user = users_.find(id);
  if (user == users_.end() || std::exchange(user->second.is_told, true)) return;
  const Node& node = nodes_.at(user->second.node);
  const Child child = *node.child;
  const Runner::OnUp on_up = std::move(user->second.on_up);
  on_up(child);
}

// Nothing is left of the attempt: its users are told, and are users no more.
void Paths::fail(NodeId id, const Error& why) {
  Node& node = nodes_.at(id);
  const Result<Child> failed(why);  // which may be of the node, and that goes
  std::list<Runner::OnUp> told;
  pass_blame(node);
  for (const Id user : std::exchange(node.users, {})) {
    told.push_back(std::move(users_.at(user).on_up));
    users_.erase(user);
  }
  forget(id);
  for (const Runner::OnUp& on_up : told) on_up(failed);
}

void Paths::on_lost(NodeId id, const Error& error) {
  const auto found = nodes_.find(id);
  if (found == nodes_.end() || std::exchange(found->second.is_lost, true)) return;
  Node& node = found->second;
  if (const auto named = by_name_.find(node.target.name); named != by_name_.end() && named->second == id)
    by_name_.erase(named);
  const ContextId context = node.child->id;
  const std::list<Id> users = node.users;
  pass_blame(node);
  for (const Id user : users) {
    const auto at = users_.find(user);
    if (at == users_.end()) continue;
    if (!at->second.is_told) tell_up(user);
    if (at->second.on_lost) std::exchange(at->second.on_lost, nullptr)(context, error);
  }
  remote_.lost(context, error);
}

// What lies beneath it names who is to blame, which may be further up.
void Paths::pass_blame(const Node& node) {
  for (const Id user : node.users)
    if (const auto beneath = nodes_.find(users_.at(user).beneath); beneath != nodes_.end())
      beneath->second.hop_fell_with_its = node.fell_with_hop;
}

// It was not reached, or is lost: so is what was to be, or is, beneath it.
void Paths::on_hop_gone(NodeId id, const Target& hop, Error error) {
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return;
  Node& node = found->second;
  const bool is_itself = node.target.shown == hop.name;  // to the person: -b
  if (!is_itself && !node.hop_fell_with_its && error.error_class != ErrorClass::kCancelled)
    error.text = cat("hop ", hop.name, ": ", error.text);
  node.fell_with_hop = true;
  if (node.record != nullptr) node.record->hop_failed = true;
  if (node.child) return on_lost(id, error);
  if (node.at == 0 || node.failed) return fail(id, error);
  // Its start is about to fail.
  node.failed = error;
}

void Paths::cancel(Id id) {
  const auto found = users_.find(id);
  if (found == users_.end() || found->second.is_told) return;
  Node& node = nodes_.at(found->second.node);
  if (node.users.size() > 1) {
    node.users.remove(id);
    Runner::OnUp on_up = std::move(found->second.on_up);
    users_.erase(found);
    return loop_.post([alive = alive_, on_up = std::move(on_up)] {
      if (*alive) on_up(cancelled());
    });
  }
  if (node.way != 0) return reach_.cancel(node.way);
  if (node.at == 0) return cancel(node.hop);
  if (node.relay != 0) return relay_.cancel(node.relay);
  node.no_second_try = node.is_cancelled = true;
  remote_.cancel(node.start);
}

void Paths::leave(Id id, Nanos within, Loop::Task done) {
  const auto found = users_.find(id);
  if (found == users_.end()) return loop_.post(std::move(done));
  const NodeId at = found->second.node;
  Node& node = nodes_.at(at);
  users_.erase(found);
  node.users.remove(id);
  if (!node.users.empty()) return loop_.post(std::move(done));
  end(at, within, std::move(done));
}

void Paths::end(NodeId id, Nanos within, Loop::Task done) {
  Node& node = nodes_.at(id);
  ASSERT(node.child);
  if (!node.is_lost) by_name_.erase(node.target.name);  // who comes now finds a new one
  Loop::Task ended = [this, alive = alive_, id, done = std::move(done)] {
    if (!*alive) return;
    forget(id);
    if (done) done();
  };
  if (node.is_lost) return loop_.post(std::move(ended));
  if (node.hop == 0) return runner_.shut_down(node.child->id, within, std::move(ended));
  remote_.shut_down(node.child->id, within, std::move(ended));
}

void Paths::forget(NodeId id) {
  const auto found = nodes_.find(id);
  if (found == nodes_.end()) return;
  loop_.cancel(found->second.timer);
  const Id hop = found->second.hop;
  if (const auto named = by_name_.find(found->second.target.name);
      named != by_name_.end() && named->second == id)
    by_name_.erase(named);
  nodes_.erase(found);
  if (hop != 0) leave(hop, kFarewell, [] {});
}

// --- what is asked about them ---

const Paths::Node& Paths::top_of(const Node& node) const {
  const Node* at = &node;
  while (at->hop != 0) {
    const auto user = users_.find(at->hop);
    if (user == users_.end()) break;
    at = &nodes_.at(user->second.node);
  }
  return *at;
}

std::vector<std::string> Paths::jumps_of(Id id) const {
  const auto way = ways_.find(id);
  return way == ways_.end() ? std::vector<std::string>() : reach_.jumps_of(way->second);
}

Phase Paths::phase_of(Id id) const {
  const auto found = users_.find(id);
  if (found == users_.end()) return Phase::kLink;
  const Node& node = nodes_.at(found->second.node);
  if (node.child) return Phase::kLink;
  if (node.relay != 0) return relay_.is_asking_for_settings(node.relay) ? Phase::kResolve : Phase::kConnect;
  if (node.at != 0)
    return is_become(node.target) || node.target.method == Method::kContainer ? Phase::kBecome
                                                                              : Phase::kHello;
  return node.way != 0 ? reach_.phase_of(node.way) : phase_of(node.hop);
}

bool Paths::is_waiting(Id id) const {
  const auto found = users_.find(id);
  if (found == users_.end()) return false;
  const Node& node = nodes_.at(found->second.node);
  if (node.relay != 0 && !node.child) return relay_.is_waiting(node.relay);
  const Node& top = top_of(node);
  return !top.child && reach_.is_waiting(top.way);
}

std::size_t Paths::idle() const {
  return std::size_t(std::ranges::count_if(users_, [this](const auto& entry) {
    const auto& [id, user] = entry;
    if (user.beneath != 0 || user.is_told) return false;
    const Node& top = top_of(nodes_.at(user.node));
    return !top.child && reach_.is_idle(top.way);
  }));
}

std::vector<Child> Paths::hops_of(Id id) const {
  std::vector<Child> hops;
  for (Id above = nodes_.at(users_.at(id).node).hop; above != 0;) {
    const Node& node = nodes_.at(users_.at(above).node);
    hops.insert(hops.begin(), *node.child);
    above = node.hop;
  }
  return hops;
}

std::string Paths::name_of(ContextId context) const {
  for (const auto& [id, node] : nodes_)
    if (node.child && node.child->id == context) return shown_name(node.target);
  return {};
}

}  // namespace banyan::cli
