// tests/simulation/sim_tree.h -- a tree of contexts over simulated loops, grown as production grows it.
//
// Each node is a Router, an IdSource, a RouteMonitor and Links, put together as the agent and the runner do
// it: a child says hello, its parent takes ids for it, answers with its identity, grants, and announces; a
// context whose parent's link ends ends as well. What is true is kept here, by whoever made it so, and never
// asked of the code that is tested: who is whose child, who lives, which wires are whole, who has which id,
// who lies.
//
// Lifetime: the tree outlives all that uses its nodes; nodes live as long as it, dead or not.
#pragma once

#include <map>
#include <memory>
#include <optional>
#include <string>
#include <vector>

#include "core/identity.h"
#include "parent/route_monitor.h"
#include "tests/simulation/sim_loop.h"

namespace banyan::simulation {

class SimTree;

struct SimTreeOptions {
  RouterConfig router{.id = 0, .sideways = Sideways::kVertical, .ancestors = {}, .inbox = {}};
  LinkLimits limits;
  SimWire wire;
  std::uint32_t ids_per_link = kIdsPerLink;
};

class SimNode {
 public:
  SimNode(SimTree& its_tree, SimNode* its_parent, std::uint32_t its_index);
  SimNode(const SimNode&) = delete;
  SimNode& operator=(const SimNode&) = delete;
  ~SimNode();

  SimTree& tree;
  SimLoop& loop;
  SimNode* const parent;
  const std::uint32_t index, depth;
  std::vector<SimNode*> children;
  Router router;
  std::optional<IdSource> ids;
  std::optional<RouteMonitor> routes;

  // The truth.
  ContextId id = 0;       // of whom is_known
  bool is_known = false;  // its parent has given it an id
  bool is_up = false;     // it has heard of it
  bool is_alive = true;
  bool is_hostile = false;
  bool is_ending = false;              // told to, or its parent's link has ended
  bool is_wire_whole = true;           // the one to its parent
  Nanos up_since = 0, gone_since = 0;  // gone: dead, or its wire is
  int up = -1, down = -1;              // descriptors of that wire: ours, and the parent's
  std::string link_ended;              // what it heard of its link to the parent
  std::string lost;                    // what its parent heard

  bool is_beneath(const SimNode& other) const;  // itself included
  bool is_tainted() const;                      // it lies, or somebody above it does
  // Everything from here up to the root, wires too, is as it should be.
  bool is_connected() const;
  SimNode& common_ancestor(SimNode& other);

 private:
  friend class SimTree;
  struct Greeter;
  std::unique_ptr<Greeter> greeter_, doorman_;  // the child's end, the parent's end
};

class SimTree {
 public:
  SimTree(std::uint64_t seed, const SimTreeOptions& options);
  ~SimTree();

  SimWorld& world() { return world_; }
  const SimTreeOptions& options() const { return options_; }
  SimNode& root() { return *nodes_.front(); }
  const std::vector<std::unique_ptr<SimNode>>& nodes() const { return nodes_; }
  SimNode* find(ContextId id) const;  // whose it is, or was

  // REQUIRES: the parent is up and lives. The child is up after some time, or never.
  SimNode& grow(SimNode& parent) { return grow(parent, options_.wire); }
  SimNode& grow(SimNode& parent, const SimWire& wire);

  void kill(SimNode& node);
  void cut(SimNode& node, bool silently);
  // Ends all, as the destructor does, but leaves the root's objects to the caller: what they occupy is seen
  // as they go. Nothing else may be asked of the tree any more. The result dies before the tree.
  std::unique_ptr<SimNode> release_root();
  // Writes beside the link, so whatever comes then is nonsense.
  void garble(SimNode& node, Bytes bytes);

  // One event. False: nothing to do until `limit`.
  bool step(Nanos limit);
  void run_for(Nanos duration);

  // Before its link is the router's: handlers are to be there before anything comes.
  Function<void(SimNode&)> on_up;
  // A data frame leaves by that link.
  Function<void(const Link&, const Header&)> on_data_sent;
  // A link has ended; told by one end of it.
  Function<void(SimNode& child, bool to_parent, const Error&)> on_link_down;
  // What is not as it should be.
  Function<void(std::string_view what)> on_wrong_ids;
  std::size_t dead_with_parent_delay_max_ms = 30;

 private:
  friend class SimNode;
  void say_hello(SimNode& child);
  void on_hello(SimNode& child, const Header& header, Bytes payload);
  void welcome(SimNode& child, IdRange ids);
  void on_identity(SimNode& child, Bytes payload);
  void end(SimNode& node);
  void note_gone(SimNode& node);
  void check_ids(const SimNode& child, IdRange ids);

  SimWorld world_;
  SimTreeOptions options_;
  std::vector<std::unique_ptr<SimNode>> nodes_;
  struct Promise {
    std::uint32_t count;
    const SimNode* node;
  };
  std::map<ContextId, SimNode*> by_id_;
  std::map<ContextId, Promise> promised_;  // first ranges: for whoever is beneath that node
  std::vector<SimNode*> to_kill_;
};

}  // namespace banyan::simulation
