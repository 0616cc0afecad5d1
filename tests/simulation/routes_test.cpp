// Goal: who may be reached, who is told of an end, and what a tree passes down, each rule by itself.
// Method: small simulated trees of production routers, ids and route monitors (tree_invariants_test tries all
// rules at once, in random ones).

#include <algorithm>
#include <catch2/catch.hpp>
#include <string>
#include <vector>

#include "tests/simulation/sim_tree.h"

namespace banyan {
namespace {

using namespace simulation;

constexpr Handle kEcho = 500, kNever = 501, kFromAbove = 502;

struct Wood {
  SimTree tree;
  std::vector<ContextId> told_gone;  // at the root, in order

  explicit Wood(Sideways sideways = Sideways::kVertical, std::uint32_t message_max = 16 << 20)
      : tree(31, options(sideways, message_max)) {
    tree.on_up = [](SimNode& node) { serve(node); };
    serve(tree.root());
    tree.root().routes->on_change = [this](ContextId id, bool is_there) {
      if (!is_there) told_gone.push_back(id);
    };
  }
  static SimTreeOptions options(Sideways sideways, std::uint32_t message_max) {
    SimTreeOptions options;
    options.router.sideways = sideways;
    options.router.inbox.message_max = message_max;
    return options;
  }
  static void serve(SimNode& node) {
    const auto echo = [&node](Incoming& call) { node.router.reply(call.header, {}); };
    node.router.add_handler(kEcho, Access::anyone(), echo);
    node.router.add_handler(kFromAbove, Access::ancestors(), echo);
    node.router.add_handler(kNever, Access::anyone(), [](Incoming&) {});
  }
  SimNode& grow(SimNode& parent) {
    SimNode& child = tree.grow(parent);
    CHECK(tree.world().run_until([&] { return child.is_up && tree.root().router.way_to(child.id); },
                                 60 * kSecond));
    return child;
  }
};

struct Outcome {
  int answers = 0;
  bool is_dead = false;
  DeadReason reason{};
  ContextId from = 0;
  std::string text;
};

void call(SimNode& from, ContextId to, Handle handle, Outcome& outcome, Buffer payload = {}) {
  from.router.call(to, handle, std::move(payload), [&outcome](const Reply& reply) {
    ++outcome.answers;
    outcome.is_dead = reply.dead != nullptr;
    if (!outcome.is_dead) return;
    outcome.reason = reply.dead->reason;
    outcome.from = reply.dead->from;
    outcome.text = reply.dead->text;
  });
}

Outcome outcome_of(Wood& wood, SimNode& from, ContextId to, Handle handle = kEcho, Buffer payload = {}) {
  Outcome outcome;
  call(from, to, handle, outcome, std::move(payload));
  CHECK(wood.tree.world().run_until([&] { return outcome.answers > 0; }, 60 * kSecond));
  return outcome;
}

bool is_answered(Wood& wood, SimNode& from, SimNode& to, Handle handle = kEcho) {
  return !outcome_of(wood, from, to.id, handle).is_dead;
}

// --- nobody there ---

TEST_CASE(
    "a context that has ended is answered for as one that never was: dead, by the caller's own router") {
  Wood wood;
  SimNode& child = wood.grow(wood.tree.root());
  CHECK(is_answered(wood, wood.tree.root(), child));
  wood.tree.kill(child);
  wood.tree.run_for(kSecond);

  const Outcome once_there = outcome_of(wood, wood.tree.root(), child.id);
  const Outcome never_there = outcome_of(wood, wood.tree.root(), 4'000'000);
  CHECK(once_there.is_dead);
  CHECK(once_there.reason == DeadReason::kNoRoute);
  CHECK(once_there.from == 0);
  CHECK(never_there.reason == DeadReason::kNoRoute);
  CHECK(never_there.from == 0);
}

TEST_CASE("who waits for a grandchild is told when it dies, and when the child between dies") {
  for (const bool is_between : {false, true}) {
    CAPTURE(is_between);
    Wood wood;
    SimNode& child = wood.grow(wood.tree.root());
    SimNode& grandchild = wood.grow(child);
    Outcome outcome;
    call(wood.tree.root(), grandchild.id, kNever, outcome);
    wood.tree.run_for(kSecond);
    CHECK(outcome.answers == 0);

    wood.tree.kill(is_between ? child : grandchild);
    wood.tree.run_for(kSecond);

    CHECK(outcome.answers == 1);
    CHECK(outcome.is_dead);
    CHECK(outcome.reason == DeadReason::kGone);
  }
}

TEST_CASE("who waits for a sibling, or a cousin, is told when it dies") {
  Wood wood(Sideways::kPeers);
  SimNode& one = wood.grow(wood.tree.root());
  SimNode& other = wood.grow(wood.tree.root());
  SimNode& cousin = wood.grow(other);
  Outcome of_sibling, of_cousin;
  call(one, other.id, kNever, of_sibling);
  call(one, cousin.id, kNever, of_cousin);
  wood.tree.run_for(kSecond);

  wood.tree.kill(cousin);
  wood.tree.run_for(kSecond);
  CHECK(of_cousin.answers == 1);
  CHECK(of_cousin.reason == DeadReason::kGone);
  CHECK(of_sibling.answers == 0);
  wood.tree.kill(other);
  wood.tree.run_for(kSecond);
  CHECK(of_sibling.answers == 1);
  CHECK(of_sibling.reason == DeadReason::kGone);
}

// --- the news of an end ---

TEST_CASE("the end of a hop is told once for each context beneath it, its own first") {
  Wood wood;
  SimNode& above = wood.grow(wood.tree.root());
  SimNode& hop = wood.grow(above);
  std::vector<ContextId> beneath{hop.id};
  for (int i = 0; i < 5; ++i) beneath.push_back(wood.grow(hop).id);
  SimNode& deep = wood.grow(*wood.tree.find(beneath.back()));
  beneath.push_back(deep.id);

  wood.tree.kill(hop);
  wood.tree.run_for(5 * kSecond);

  REQUIRE(wood.told_gone.size() == beneath.size());
  CHECK(wood.told_gone.front() == hop.id);
  std::vector<ContextId> told = wood.told_gone;
  std::sort(told.begin(), told.end());
  std::sort(beneath.begin(), beneath.end());
  CHECK(told == beneath);
  CHECK(wood.tree.root().router.routes() == 1);
}

TEST_CASE("told of an end is who has dealt with it, and nobody else") {
  Wood wood(Sideways::kPeers);
  SimNode& root = wood.tree.root();
  SimNode& caller = wood.grow(root);
  SimNode& callee = wood.grow(root);
  SimNode& stranger = wood.grow(root);
  CHECK(root.router.contacts_of(callee.id).empty());
  CHECK(is_answered(wood, caller, callee));
  CHECK(is_answered(wood, stranger, root));

  // Both have dealt with the other: one has asked, one has answered.
  CHECK(root.router.contacts_of(callee.id) == std::vector<ContextId>{caller.id});
  CHECK(root.router.contacts_of(caller.id) == std::vector<ContextId>{callee.id});
  CHECK(root.router.contacts_of(stranger.id).empty());
}

// --- who may talk to whom ---

TEST_CASE("siblings may not talk in a vertical tree: neither at the root, nor beneath a hop") {
  Wood wood;
  SimNode& hop = wood.grow(wood.tree.root());
  SimNode& uncle = wood.grow(wood.tree.root());
  SimNode& one = wood.grow(hop);
  SimNode& other = wood.grow(hop);

  const Outcome at_hop = outcome_of(wood, one, other.id);
  CHECK(at_hop.is_dead);
  CHECK(at_hop.reason == DeadReason::kPolicy);
  CHECK(at_hop.from == hop.id);
  const Outcome at_root = outcome_of(wood, one, uncle.id);
  CHECK(at_root.is_dead);
  CHECK(at_root.reason == DeadReason::kPolicy);
  CHECK(at_root.from == 0);
  CHECK(is_answered(wood, one, hop));
  CHECK(is_answered(wood, one, wood.tree.root()));
  CHECK(is_answered(wood, hop, other));
}

TEST_CASE("whom the policy lets through still meets the handler's own rule") {
  Wood wood(Sideways::kPeers);
  SimNode& one = wood.grow(wood.tree.root());
  SimNode& other = wood.grow(wood.tree.root());
  SimNode& child = wood.grow(one);

  const Outcome sideways = outcome_of(wood, one, other.id, kFromAbove);
  CHECK(sideways.is_dead);
  CHECK(sideways.reason == DeadReason::kRefused);
  CHECK(sideways.from == other.id);
  const Outcome upward = outcome_of(wood, child, one.id, kFromAbove);
  CHECK(upward.reason == DeadReason::kRefused);
  CHECK(is_answered(wood, one, child, kFromAbove));
  CHECK(is_answered(wood, wood.tree.root(), child, kFromAbove));
}

TEST_CASE("two that an ancestor has introduced may talk, until one ends, and nobody else may") {
  Wood wood(Sideways::kIntroduced);
  SimNode& hop = wood.grow(wood.tree.root());
  SimNode& one = wood.grow(hop);
  SimNode& other = wood.grow(hop);
  SimNode& third = wood.grow(hop);
  CHECK_FALSE(is_answered(wood, one, other));

  wood.tree.root().router.introduce(one.id, other.id);
  wood.tree.run_for(kSecond);

  CHECK(is_answered(wood, one, other));
  CHECK(is_answered(wood, other, one));
  CHECK_FALSE(is_answered(wood, one, third));
  CHECK_FALSE(is_answered(wood, third, other));
  wood.tree.kill(other);
  wood.tree.run_for(kSecond);
  CHECK(outcome_of(wood, one, other.id).is_dead);
}

// --- what is passed down, and up ---

TEST_CASE("the root's limit of a message holds for children and grandchildren") {
  Wood wood(Sideways::kVertical, 100'000);
  SimNode& child = wood.grow(wood.tree.root());
  SimNode& grandchild = wood.grow(child);
  for (SimNode* callee : {&child, &grandchild}) {
    CAPTURE(callee->depth);
    CHECK(callee->router.config().inbox.message_max == 100'000);
    const Outcome too_large = outcome_of(wood, *callee, 0, kEcho, Buffer(100'001));
    CHECK(too_large.is_dead);
    CHECK(too_large.reason == DeadReason::kTooLarge);
    CHECK_FALSE(outcome_of(wood, *callee, 0, kEcho, Buffer(100'000)).is_dead);
  }
}

TEST_CASE("a context's children need no word with its parent, until its first ids are used up") {
  Wood wood;
  SimNode& hop = wood.grow(wood.tree.root());
  wood.tree.world().stop(wood.tree.root().loop);
  std::vector<SimNode*> children;
  const auto grow = [&](SimNode& parent) {
    children.push_back(&wood.tree.grow(parent));
    return wood.tree.world().run_until([&] { return children.back()->is_up; }, 5 * kSecond);
  };

  CHECK(grow(hop));
  CHECK(grow(hop));
  CHECK(grow(*children.front()));  // from its own
  CHECK(children.front()->id == hop.id + 1);
  CHECK_FALSE(grow(hop));

  // The one that waits gets its ids when the root goes on, and no id is in two hands.
  wood.tree.world().resume(wood.tree.root().loop);
  CHECK(wood.tree.world().run_until([&] { return children.back()->is_up; }, 5 * kSecond));
  wood.tree.run_for(kSecond);
  for (SimNode* child : children) CHECK(is_answered(wood, wood.tree.root(), *child));
}

TEST_CASE("the root knows parent and name of everybody, however deep") {
  Wood wood;
  SimNode* at = &wood.tree.root();
  for (int depth = 0; depth < 12; ++depth) {
    SimNode& child = wood.grow(*at);
    const RouteMonitor::Place* place = wood.tree.root().routes->find(child.id);
    REQUIRE(place != nullptr);
    CHECK(place->parent == at->id);
    CHECK(place->name == "node " + std::to_string(child.index));
    at = &child;
  }
  CHECK(wood.tree.root().router.height() == 12);
}

// --- small things ---

TEST_CASE("a handle is free again once its handler is removed") {
  Wood wood;
  SimNode& root = wood.tree.root();
  root.router.remove_handler(kEcho);
  CHECK(outcome_of(wood, root, 0).reason == DeadReason::kNoHandle);
  root.router.add_handler(kEcho, Access::anyone(),
                          [&](Incoming& again) { root.router.reply(again.header, {}); });
  CHECK_FALSE(outcome_of(wood, root, 0).is_dead);
}

TEST_CASE("dropping a child ends it, and dropping one that is gone or never was harms nobody") {
  Wood wood;
  SimNode& child = wood.grow(wood.tree.root());
  SimNode& other = wood.grow(wood.tree.root());
  const Error why{ErrorClass::kCancelled, Phase::kLink, "no longer wanted", {}};
  wood.tree.root().router.drop_child(child.id, why);
  wood.tree.root().router.drop_child(child.id, why);
  wood.tree.root().router.drop_child(12'345, why);
  wood.tree.run_for(kSecond);

  CHECK_FALSE(child.is_alive);
  CHECK(wood.told_gone == std::vector<ContextId>{child.id});
  CHECK(outcome_of(wood, wood.tree.root(), child.id).reason == DeadReason::kNoRoute);
  CHECK(is_answered(wood, wood.tree.root(), other));
}

TEST_CASE("a tree that is told to shut down does so from its leaves, and its ids answer no more") {
  Wood wood;
  SimNode& hop = wood.grow(wood.tree.root());
  SimNode& leaf = wood.grow(hop);
  wood.tree.root().router.shut_down_children(2 * kSecond);
  wood.tree.run_for(4 * kSecond);

  CHECK_FALSE(hop.is_alive);
  CHECK_FALSE(leaf.is_alive);
  CHECK(wood.tree.root().router.routes() == 0);
  CHECK(outcome_of(wood, wood.tree.root(), leaf.id).reason == DeadReason::kNoRoute);
}

}  // namespace
}  // namespace banyan
