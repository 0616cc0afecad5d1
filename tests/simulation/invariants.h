// tests/simulation/invariants.h -- what holds in every tree, whatever happens to it and whoever lies in it.
//
// Each has a number and a sentence, which is what a broken one is reported by. Those that a message shows are
// checked where it arrives (scenario.cpp); those that the tables of a context show are checked here, against
// the truth the tree keeps.
#pragma once

#include <functional>
#include <map>
#include <string>
#include <string_view>
#include <utility>

#include "tests/simulation/sim_tree.h"

namespace banyan {
struct Inspector;  // invariants.cpp: sees what the classes of core/ keep to themselves
}

namespace banyan::simulation {

enum class Invariant : std::uint8_t {
  kRouteSoundness = 1,
  kIdOwnership,
  kAuthority,
  kOneCompletion,
  kAtMostOnce,
  kOrder,
  kNoBlackHole,
  kConvergence,
  kIsolation,
  kCreditConservation,
  kProgress,
  kFairness,
  kScope,
  kNoAmplification,
  kQuota,
  kContainment,
  kDeterminism,
};
std::string_view sentence_of(Invariant invariant);

// Tells of each that is broken. Honest nodes outside of every hostile subtree only.
using Report = std::function<void(Invariant, std::string)>;

// At any moment: routes, quotas, credit, fairness.
class StateChecker {
 public:
  StateChecker(SimTree& tree, Report report) : tree_(tree), report_(std::move(report)) {}
  void check();
  // The same for one node: when checking all would take too long.
  void check_node(SimNode& node);
  // When faults have stopped and all is quiet: tables equal the truth, and refer to nobody who is gone.
  // `grace` is how long ago the last fault was.
  void check_quiet();

  // How long the end of a node may be unknown to those above, from its wire's end on.
  Nanos death_bound = 30 * kSecond;

 private:
  friend struct banyan::Inspector;
  SimTree& tree_;
  Report report_;
  struct FlowOnLink {
    const Link* link;
    FlowKey flow;
    auto operator<=>(const FlowOnLink&) const = default;
  };
  struct Waiting {
    std::uint64_t frames_before = 0, bytes_before = 0;
    std::size_t share = 0;
  };
  std::map<FlowOnLink, Waiting> waiting_;
  // What has left: frames by flow; wire bytes of calls and replies, and of all other streams.
  std::map<FlowOnLink, std::uint64_t> frames_left_;
  std::map<std::pair<const Link*, bool>, std::uint64_t> bytes_left_;

 public:
  // A data frame leaves.
  void note_sent(const Link& link, const Header& header) {
    ++frames_left_[{&link, flow_of(header)}];
    bytes_left_[{&link, header.stream < kFirstFreeStream}] += header.wire_bytes();
  }
};

}  // namespace banyan::simulation
