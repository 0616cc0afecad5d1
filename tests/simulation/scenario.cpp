#include "tests/simulation/scenario.h"

#include <algorithm>
#include <cstring>

#include "core/text.h"
#include "tests/simulation/hostile_node.h"

namespace banyan::simulation {

namespace {

constexpr Nanos kLongestSilence = 24 * kSecond;  // after a silent cut: the child's 20 s, and a check's period
constexpr std::size_t kSmallTree = 12;           // so many can be checked all the time
constexpr int kPatience = 600;                   // seconds, at the end, until all that was begun is over

Error why(std::string_view text) {
  return Error{ErrorClass::kLost, Phase::kLink, text, {}};
}

}  // namespace

std::string Outcome::report() const {
  if (!broken) return cat("seed ", seed, ": holds");
  return cat("seed ", seed, " breaks ", sentence_of(*broken), "\n  ", detail,
             "\n  replay: build/tests/simulator/simulator --seed=", seed, " --trace");
}

Scenario::Scenario(std::uint64_t seed, std::FILE* trace) : trace_(trace) {
  outcome_.seed = seed;
}

Scenario::~Scenario() {
  liars_.clear();
  kept_.clear();
  for (const auto& stream : streams_) stream->out.reset();
}

void Scenario::write_note(const std::string& line) {
  std::fprintf(trace_, "%12lld us  ---- %s\n", static_cast<long long>(world().now() / kMicrosecond),
               line.c_str());
}

void Scenario::broken(Invariant invariant, std::string detail) {
  if (is_over()) return note("  and: ", detail);
  note("BROKEN ", sentence_of(invariant), ": ", detail);
  outcome_.broken = invariant;
  outcome_.detail =
      cat("after ", world().now() / kMicrosecond, " us, ", tree_->nodes().size(), " nodes: ", detail);
}

// --- the plan ---

void Scenario::choose_options() {
  // What the plan draws does not shift what the world draws.
  SimWorld dice(outcome_.seed * 2 + 1);
  const std::uint64_t kind = dice.below(100);
  size_ = kind < 60   ? 2 + dice.below(7)
          : kind < 92 ? 6 + dice.below(14)
          : kind < 99 ? 15 + dice.below(40)
                      : 60 + dice.below(141);
  steps_ = size_ < 60 ? 60 + dice.below(60) : 40;
  with_faults_ = !dice.one_in(4);
  with_liars_ = dice.one_in(2);
  has_small_limits_ = dice.one_in(4);
  options_.router.sideways = Sideways(dice.below(3));
  options_.wire.latency_max = Nanos(10 + dice.below(4'000)) * kMicrosecond;
  if (dice.one_in(3)) options_.wire.capacity = 500 + dice.below(8'000);
  if (dice.one_in(3)) options_.wire.bytes_per_second = 200'000 + dice.below(5'000'000);
  if (!has_small_limits_ && dice.one_in(3)) {  // a window that a single frame fills
    options_.limits.window = kHeaderBytes + kFramePayloadMax + std::uint32_t(dice.below(20'000));
    options_.limits.window_max = 4 * options_.limits.window;
  }
  is_crowded_ = !has_small_limits_ && size_ < 12 && dice.one_in(12);
  if (is_crowded_) options_.wire.bytes_per_second = 2'000'000;
  if (has_small_limits_) {
    options_.ids_per_link = 17 + std::uint32_t(dice.below(400));
    options_.router.served_max = 4 + std::uint32_t(dice.below(60));
    options_.router.half_way_max = 200 + std::uint32_t(dice.below(20));
    options_.router.contacts_max = 1 + std::uint32_t(dice.below(10));
    options_.router.calls_max = 4 + std::uint32_t(dice.below(60));
    options_.router.inbox.message_max = 20'000 + std::uint32_t(dice.below(300'000));
    options_.router.inbox.streams_max = 1 + std::uint32_t(dice.below(8));
    options_.router.inbox.assembly_budget = 100'000 + dice.below(400'000);
  }
}

Outcome Scenario::run() {
  choose_options();
  tree_ = std::make_unique<SimTree>(outcome_.seed, options_);
  if (trace_ != nullptr) world().trace_to(trace_);
  checker_ = std::make_unique<StateChecker>(
      *tree_, [this](Invariant invariant, std::string detail) { broken(invariant, std::move(detail)); });
  tree_->on_data_sent = [this](const Link& link, const Header& header) { checker_->note_sent(link, header); };
  tree_->on_up = [this](SimNode& node) { on_up(node); };
  tree_->on_link_down = [this](SimNode& child, bool to_parent, const Error& error) {
    on_link_down(child, to_parent, error);
  };
  tree_->on_wrong_ids = [this](std::string_view what) { broken(Invariant::kIdOwnership, std::string(what)); };
  on_up(tree_->root());
  note("a tree of ", size_, ", policy ", int(options_.router.sideways), with_faults_ ? ", faults" : "",
       with_liars_ ? ", liars" : "", has_small_limits_ ? ", small limits" : "");
  grow_first();
  if (is_crowded_) crowd();
  for (std::size_t step = 0; step < steps_ && !is_over(); ++step) act();
  if (!is_over()) settle();
  if (is_over() && trace_ != nullptr) checker_->check_quiet();  // what else there is to see
  outcome_.nodes = tree_->nodes().size();
  outcome_.trace_hash = world().trace_hash();
  outcome_.events = world().events();
  return outcome_;
}

void Scenario::grow_first() {
  const bool is_deep = one_in(4);
  const std::size_t deepest = 1 + below(12);
  for (int tries = 0; tree_->nodes().size() < size_ && tries < 2'000 && !is_over(); ++tries) {
    const auto& nodes = tree_->nodes();
    SimNode& parent = is_deep ? *nodes.back() : *nodes[below(nodes.size())];
    if (!parent.is_up || !parent.is_alive || parent.depth >= deepest + (is_deep ? 12 : 0)) {
      run_for(Nanos(below(options_.wire.latency_max)));
      continue;
    }
    tree_->grow(parent);
    if (one_in(3)) run_for(Nanos(below(options_.wire.latency_max)));
  }
  run_for(4 * options_.wire.latency_max);
  if (!with_liars_) return;
  for (std::uint64_t liars = 1 + below(3); liars > 0; --liars) {
    SimNode& node = *tree_->nodes()[below(tree_->nodes().size())];
    if (node.parent == nullptr || !node.is_up || node.is_hostile) continue;
    note(node.id, " is a liar");
    node.is_hostile = true;
    liars_.push_back(std::make_unique<HostileNode>(*this, node));
  }
}

void Scenario::on_up(SimNode& node) {
  note("node ", node.index, " is up as ", node.id, ", beneath ",
       node.parent != nullptr ? node.parent->id : 0);
  node.router.add_handler(kEcho, Access::anyone(), [this, &node](Incoming& m) { on_call(node, m); });
  node.router.add_handler(kSink, Access::anyone(), [this, &node](Incoming& m) { on_message(node, m); });
  node.router.add_handler(kFromAbove, Access::ancestors(),
                          [this, &node](Incoming& m) { on_from_above(node, m); });
}

// No link between two who live and are honest may be lost, unless its wire was.
void Scenario::on_link_down(SimNode& child, bool to_parent, const Error& error) {
  note("the link of ", child.id, " is down, says its ", to_parent ? "child" : "parent", ": ", error.text);
  if (child.is_tainted()) return;
  const bool is_expected = !child.is_wire_whole || !child.is_alive || child.is_ending ||
                           !child.parent->is_alive || child.parent->is_ending;
  if (!is_expected)
    broken(with_liars_ ? Invariant::kContainment : Invariant::kProgress,
           cat("the link of ", child.id, " is lost, says its ", to_parent ? "child" : "parent", ": ",
               error.text));
}

void Scenario::act() {
  const std::uint64_t what = below(100);
  if (what < 34) {
    for (std::uint64_t many = 1 + below(3); many > 0; --many) call_somebody();
  } else if (what < 46) {
    cancel_some();
  } else if (what < 54) {
    open_stream();
  } else if (what < 62) {
    move_some_stream();
  } else if (what < 70) {
    for (std::uint64_t many = below(4); many > 0 && !kept_.empty(); --many) kept_.pop_front();
  } else if (what < 76) {
    SimNode* parent = somebody();
    if (parent != nullptr && tree_->nodes().size() < size_ * 2) tree_->grow(*parent);
  } else if (what < 80) {
    introduce();
  } else if (what < 84) {
    fault();
  } else {
    for (const auto& liar : liars_)
      for (std::uint64_t many = below(4); many > 0; --many) liar->attack();
  }
  run_for(one_in(4) ? 0 : Nanos(below(2 * kMillisecond)));
}

void Scenario::run_for(Nanos duration) {
  const Nanos limit = world().now() + duration;
  const bool is_small = tree_->nodes().size() <= kSmallTree;
  for (std::uint64_t events = 0; !is_over() && tree_->step(limit); ++events)
    if (is_small && events % 8 == 0) checker_->check_node(*tree_->nodes()[below(tree_->nodes().size())]);
  if (is_over()) return;
  world().run_for(limit - world().now());
  if (is_small || one_in(16)) return checker_->check();
  checker_->check_node(*tree_->nodes()[below(tree_->nodes().size())]);
}

// --- faults ---

void Scenario::fault() {
  if (!with_faults_ || tree_->nodes().size() < 2) return;
  SimNode& victim = *tree_->nodes()[1 + below(tree_->nodes().size() - 1)];
  if (!victim.is_alive) return;
  ++outcome_.faults;
  switch (below(6)) {
    case 0:
      note(victim.id, " is killed");
      return tree_->kill(victim);
    case 1:
    case 2:
      note("the wire of ", victim.id, " is cut");
      return tree_->cut(victim, false);
    case 3:
      note("the wire of ", victim.id, " is cut silently");
      was_cut_silently_ = true;
      return tree_->cut(victim, true);
    case 4:
      note(victim.id, " is stopped");
      world().stop(victim.loop);
      stopped_.push_back(&victim);
      return;
    default:
      if (!victim.is_known || victim.is_ending || !victim.parent->is_alive || !victim.is_connected()) return;
      if (one_in(2)) {
        note(victim.id, " is told to end");
        victim.is_ending = true;
        victim.gone_since = world().now();
        return victim.parent->router.send_control(victim.id, kShutdown, Buffer{0x91, 0x64});
      }
      note(victim.id, " is dropped");
      victim.is_ending = true;
      victim.gone_since = world().now();
      victim.parent->router.drop_child(victim.id, why("dropped"));
  }
}

void Scenario::introduce() {
  SimNode* one = somebody();
  SimNode* other = somebody();
  if (one == nullptr || other == nullptr || one == other) return;
  SimNode* above = &one->common_ancestor(*other);
  while (above->parent != nullptr && one_in(2)) above = above->parent;
  if (!above->is_connected() || above->is_hostile) return;
  const Two pair{std::min(one->index, other->index), std::max(one->index, other->index)};
  note(above->id, " introduces ", one->id, " and ", other->id);
  introduced_.insert(pair);
  if (is_way_known(*above, *one) && is_way_known(*above, *other) && !has_small_limits_)
    surely_introduced_.insert(pair);
  above->router.introduce(one->id, other->id);
}

// --- the quiet end ---

void Scenario::settle() {
  note("faults stop");
  for (SimNode* node : stopped_) world().resume(node->loop);
  for (const auto& liar : liars_) {
    if (!liar->node().is_alive) continue;
    tree_->kill(*tree_->nodes()[liar->node().index]);
  }
  is_resting_ = true;
  readers_are_prompt_ = true;
  kept_.clear();
  run_for(kSecond);
  kept_.clear();
  run_for(was_cut_silently_ ? kLongestSilence : kSecond);
  // However little gets through at a time: thirty megabytes of a crowd, too, pass a wire that holds 500 bytes
  // for 4 ms.
  for (int tries = 0; tries < kPatience && !is_over(); ++tries) {
    cancel_rest();
    run_for(kSecond);
    const bool all_answered = std::all_of(calls_.begin(), calls_.end(), [](const auto& one) {
      return (one->answers > 0 || one->is_abandoned) && one->acknowledgements >= one->acknowledgements_wanted;
    });
    if (all_answered && tries >= 2) break;
  }
  if (is_over()) return;
  check_all_answered();
  for (int tries = 0; tries < kPatience && !is_over(); ++tries) {
    const bool all_ended = std::all_of(streams_.begin(), streams_.end(), [](const auto& one) {
      return one->has_ended || one->was_cut_off || one->is_dead || one->is_aborted;
    });
    if (all_ended) break;
    run_for(kSecond);
  }
  if (is_over()) return;
  check_streams();
  if (is_over()) return;
  probe();
  if (is_over()) return;
  close_streams();
  come_to_rest();
}

// Everybody left can be called by whom the policy lets, and by nobody else.
void Scenario::probe() {
  const std::size_t first = calls_.size();
  for (int i = 0; i < 16; ++i) {
    SimNode* caller = somebody();
    SimNode* callee = somebody();
    if (caller == nullptr || callee == nullptr || !caller->is_connected() || !callee->is_connected())
      continue;
    call(*caller, callee->id, 0, Mode::kAtOnce);
  }
  for (const Two& pair : surely_introduced_) {
    SimNode& one = *tree_->nodes()[pair.first];
    SimNode& other = *tree_->nodes()[pair.second];
    if (one.is_connected() && other.is_connected() && !one.is_tainted() && !other.is_tainted())
      call(one, other.id, 0, Mode::kAtOnce);
  }
  run_for(2 * kSecond);
  if (is_over()) return;
  for (std::size_t i = first; i < calls_.size(); ++i) {
    const Call& call = *calls_[i];
    const Two pair{std::min(call.caller->index, call.callee->index),
                   std::max(call.caller->index, call.callee->index)};
    const bool is_vertical = call.caller->is_beneath(*call.callee) || call.callee->is_beneath(*call.caller);
    const bool must_run =
        is_vertical || options_.router.sideways == Sideways::kPeers ||
        (options_.router.sideways == Sideways::kIntroduced && surely_introduced_.contains(pair));
    if (call.answers != 1)
      broken(Invariant::kNoBlackHole,
             cat("call ", call.number, " from ", call.caller->id, " to ", call.id, " has no end"));
    else if (must_run && call.executions != 1 && !has_small_limits_)
      broken(Invariant::kConvergence,
             cat("call ", call.number, " from ", call.caller->id, " to ", call.id, " did not run"));
  }
}

void Scenario::come_to_rest() {
  run_for(2 * kSecond);
  if (is_over()) return;
  for (int tries = 0; tries < 20 && !world().run_until_idle(kSecond); ++tries) {
  }
  kept_.clear();
  world().run_until_idle(10 * kSecond);
  checker_->check_quiet();
}

// --- what is true ---

Buffer Scenario::stamped(const Stamp& stamp, std::size_t bytes) {
  Buffer out(std::max(bytes, kStampBytes), std::uint8_t(stamp.number));
  store_le<std::uint64_t>(out.data(), stamp.number ^ kSeal);
  store_le<std::uint32_t>(out.data() + 8, stamp.origin);
  store_le<std::uint32_t>(out.data() + 12, stamp.detail);
  return out;
}

std::optional<Scenario::Stamp> Scenario::stamp_of(Bytes payload) {
  if (payload.size() < kStampBytes) return std::nullopt;
  const std::uint64_t number = load_le<std::uint64_t>(payload.data()) ^ kSeal;
  if (number > kForged || number == 0) return std::nullopt;  // what a liar has put together
  return Stamp{number, load_le<std::uint32_t>(payload.data() + 8),
               load_le<std::uint32_t>(payload.data() + 12)};
}

// Who is behind it, by its stamp, against who it says it is. False: nothing of it counts.
bool Scenario::check_origin(SimNode& node, const Header& header, const Stamp& stamp) {
  if (stamp.origin >= tree_->nodes().size()) return false;
  if (node.is_tainted())
    return stamp.number == kForged || stamp.number <= std::max(calls_.size(), streams_.size());
  const SimNode& origin = *tree_->nodes()[stamp.origin];
  for (const ContextId claimed : {header.source, header.authority}) {
    const SimNode* who = tree_->find(claimed);
    const bool is_true = origin.is_tainted() ? who == nullptr || who->is_tainted() : who == &origin;
    if (!is_true)
      broken(Invariant::kAuthority, cat("a message of ", origin.id, " comes to ", node.id, " as if from ",
                                        header.source, " with the authority of ", header.authority));
  }
  if (!is_allowed(origin, node))
    broken(Invariant::kIsolation, cat("a message of ", origin.id, " comes to ", node.id));
  return true;
}

bool Scenario::is_allowed(const SimNode& one, const SimNode& other) const {
  if (options_.router.sideways == Sideways::kPeers) return true;
  if (one.is_beneath(other) || other.is_beneath(one)) return true;
  if (options_.router.sideways == Sideways::kVertical) return false;
  // A liar speaks for all beneath it.
  if (one.is_tainted() || other.is_tainted()) return true;
  return introduced_.contains({std::min(one.index, other.index), std::max(one.index, other.index)});
}

bool Scenario::is_path_whole(SimNode& one, SimNode& other) const {
  const SimNode& top = one.common_ancestor(other);
  if (!top.is_alive || top.is_ending) return false;
  for (const SimNode* from : {&one, &other})
    for (const SimNode* at = from; at != &top; at = at->parent)
      if (!at->is_alive || !at->is_up || at->is_ending || !at->is_wire_whole) return false;
  // An end further up is on its way to them.
  return top.is_connected();
}

bool Scenario::is_path_honest(SimNode& one, SimNode& other) const {
  const SimNode& top = one.common_ancestor(other);
  return !one.is_tainted() && !other.is_tainted() && !top.is_tainted();
}

bool Scenario::is_way_known(SimNode& one, SimNode& other) const {
  if (!one.is_up || !other.is_up || &one == &other) return &one == &other;
  SimNode& top = one.common_ancestor(other);
  for (SimNode* at = &other; at != &top; at = at->parent)
    if (!at->parent->router.way_to(other.id)) return false;
  for (SimNode* at = &one; at != &top; at = at->parent)
    if (!at->parent->router.way_to(one.id)) return false;
  return true;
}

SimNode* Scenario::somebody(bool may_lie) {
  for (int tries = 0; tries < 20; ++tries) {
    SimNode& node = *tree_->nodes()[below(tree_->nodes().size())];
    if (node.is_alive && node.is_up && !node.is_ending && (may_lie || !node.is_hostile)) return &node;
  }
  return nullptr;
}

}  // namespace banyan::simulation
