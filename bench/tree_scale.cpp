// A hundred thousand contexts: simulated, since no machine of ours holds so many processes.

#include <malloc.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#include <optional>

#include "bench/groups.h"
#include "bench/measure.h"
#include "bench/processes.h"
#include "core/fd.h"
#include "tests/simulation/wide_tree.h"

namespace banyan::bench {

namespace {

using simulation::SimNode;
using simulation::WideTree;

constexpr std::size_t kHops = 100, kLeaves = 1'000;
constexpr std::size_t kDeepHops = 10;        // of each of two levels: a hundred again
constexpr std::uint32_t kManyIds = 1 << 20;  // a link: of those, each has ten thousand contexts beneath it
constexpr double kMib = 1 << 20;
constexpr double kMemoryMib = 4096;  // all of it together, in one process

struct Timed {
  WideTree::Course course;
  double seconds = 0;
};

Timed end(WideTree& tree, SimNode& hop, const std::vector<SimNode*>& callers) {
  const double began = now_us();
  Timed timed{tree.end(hop, callers), 0};
  timed.seconds = (now_us() - began) / 1e6;
  if (!timed.course.is_whole) die("the end of a hop was not known to all in time");
  return timed;
}

std::string shown(const WideTree::Course& course) {
  return format("%.0f ms, %llu frames", double(course.took) / kMillisecond,
                static_cast<unsigned long long>(course.frames));
}

void add_end(Table& table, const std::string& what, const WideTree::Course& course, int ways) {
  const double least = double(ways) * double(WideTree::kOneWay);
  table.plain(what, shown(course),
              format("%d x %.0f ms, one way", ways, double(WideTree::kOneWay) / kMillisecond),
              double(course.took) / least);
}

void measure_here() {
  Table table(
      "A hundred thousand contexts, simulated",
      format("Every context is a router with its ids, route monitor and links, as the agent has them, over "
             "simulated "
             "wires in one process (tests/simulation/wide_tree.h): %.0f ms each way, and nothing else takes "
             "time. A "
             "root with %zu hops of %zu leaves each; and one with %zu hops of %zu hops of %zu leaves, whose "
             "links may "
             "have more ids than by default. Frames are what routers get because of it, all together. "
             "Memory: what "
             "is given back to the heap when the root's router, ids and route monitor are destroyed, "
             "malloc's own "
             "bytes included, less the same of a root that has the hops only.",
             double(WideTree::kOneWay) / kMillisecond, kHops, kLeaves, kDeepHops, kDeepHops, kLeaves));
  std::uint64_t hops_only = 0;
  {
    WideTree tree({.widths = {kHops}});
    hops_only = tree.heap_of_root().value_or(0);
  }
  const double began = now_us();
  // Whoever may talk to anybody, so that there is somebody to tell.
  std::optional<WideTree> tree(std::in_place, WideTree::Options{{kHops, kLeaves}, Sideways::kPeers});
  const double grown = (now_us() - began) / 1e6;
  if (!tree->growth().is_whole) die("the tree did not grow in time");
  table.plain(format("%zu contexts come up", tree->contexts()), shown(tree->growth()), "", 0);

  const std::vector<SimNode*>& hops = tree->root().children;
  const std::vector<SimNode*> only_root(kLeaves, &tree->root());
  std::vector<SimNode*> one_each;
  for (std::size_t i = 2; i < kHops; ++i) one_each.push_back(hops[i]->children[i]);
  const Timed alone = end(*tree, *hops[0], only_root);
  const Timed known = end(*tree, *hops[1], one_each);
  add_end(table, "a hop dies, 1,000 calls of the root to leaves of it wait", alone.course, 1);
  add_end(table, "a hop dies, a leaf of each other hop waits for one of its", known.course, 3);
  const double peak = kib_in("/proc/self/status", "VmHWM") / 1024;
  const std::size_t routes = tree->root().routes->size();
  const double whole = double(tree->heap_of_root().value_or(0));
  tree.reset();

  WideTree deep({.widths = {kDeepHops, kDeepHops, kLeaves}, .ids_per_link = kManyIds});
  if (!deep.growth().is_whole) die("the tree did not grow in time");
  const std::vector<SimNode*> deep_root(kLeaves, &deep.root());
  const Timed below = end(deep, *deep.root().children[0]->children[0], deep_root);
  add_end(table, "a hop beneath a hop dies, 1,000 calls of the root wait", below.course, 2);

  const double of_leaves = whole - double(hops_only);
  table.plain("memory of the root for a route, the name of the context included",
              format("%.0f bytes", of_leaves / double(routes - (kHops - 2))), "", 0);
  table.plain(format("memory of the root for all %zu", routes - (kHops - 2)),
              format("%.1f MiB", of_leaves / kMib), "", 0);
  table.note(format(
      "Real time and memory of the simulation, the first tree: %.1f s to grow, %.2f and %.2f s for the "
      "two ends, %.0f MiB.",
      grown, alone.seconds, known.seconds, peak));
}

}  // namespace

// In a process of its own: so much memory, in pieces of which little is touched, is nothing for the others.
void measure_tree_scale() {
  if (kib_in("/proc/meminfo", "MemAvailable") / 1024 < kMemoryMib) {
    std::printf("\ntree/scale is not measured: it wants %.0f MiB of memory\n", kMemoryMib);
    return;
  }
  std::fflush(stdout);
  const pid_t pid = ::fork();
  if (pid < 0) die("cannot fork");
  if (pid == 0) {
    // Each link has a read buffer of which a page or two are touched: huge pages would be all of it, and a
    // mapping for each is more than the kernel allows.
    ::prctl(PR_SET_THP_DISABLE, 1, 0, 0, 0);
    ::mallopt(M_MMAP_MAX, 0);
    measure_here();
    std::fflush(stdout);
    ::_exit(0);
  }
  int status = 0;
  retry([&] { return ::waitpid(pid, &status, 0); });
  if (status != 0) die("the simulation failed");
}

}  // namespace banyan::bench
