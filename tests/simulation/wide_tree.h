// tests/simulation/wide_tree.h -- a tree as wide as one likes: what a route costs the root, how the end of a
// hop spreads.
//
// All of it is SimTree's: each context has its router, ids and route monitor. The wires are smooth and take
// kOneWay, and nothing else takes time. So what is measured in the simulated world is how often something had
// to cross a wire before something else could; and frames, which nobody's processor makes more or fewer.
#pragma once

#include <memory>
#include <optional>
#include <vector>

#include "tests/simulation/sim_tree.h"

namespace banyan::simulation {

class WideTree {
 public:
  static constexpr Nanos kOneWay = 10 * kMillisecond;

  struct Options {
    std::vector<std::size_t> widths;  // {100, 1000}: a hundred hops, with a thousand leaves each
    Sideways sideways = Sideways::kVertical;
    std::uint32_t ids_per_link = kIdsPerLink;
  };
  // What happened in the simulated world. `is_whole` false: not all of it, in a minute.
  struct Course {
    bool is_whole = false;
    Nanos took = 0;            // until it was so
    std::uint64_t frames = 0;  // that routers got because of it, all together
  };

  // Grows level by level; all of a level say hello at once.
  explicit WideTree(const Options& options);

  SimTree& tree() { return tree_; }
  SimNode& root() { return tree_.root(); }
  std::size_t contexts() const { return contexts_; }  // beneath the root
  const Course& growth() const { return growth_; }    // until the root knew all

  // Kills a hop while each of the callers waits for an answer of somebody beneath it. Ends when the root has
  // forgotten the hop and all beneath it, and every caller knows; the frames are those until all is quiet.
  Course end(SimNode& hop, const std::vector<SimNode*>& callers);

  // Takes all down, and tells what the root had of the heap; nullopt where the C library does not tell.
  // Once, and the last.
  std::optional<std::uint64_t> heap_of_root();

 private:
  static SimTreeOptions options_of(const Options& options);
  void grow(SimNode& parent, const std::vector<std::size_t>& widths);
  std::uint64_t frames() const;
  bool run_until(const Function<bool()>& condition);

  SimTree tree_;
  std::size_t contexts_ = 0;
  std::size_t told_ = 0;  // callers, of an end
  Course growth_;
};

}  // namespace banyan::simulation
