#include "tests/simulation/wide_tree.h"

#include "core/assert.h"
#include "tests/support/heap.h"

namespace banyan::simulation {

namespace {

constexpr std::uint64_t kSeed = 1;  // nothing is left to chance but the order of those who are ready at once
constexpr Handle kSilent = 500;     // never answers
constexpr Nanos kPatience = 60 * kSecond;
constexpr Nanos kQuiet = kSecond;             // for the last of it
constexpr std::size_t kCapacity = 16u << 20;  // of a wire: so that it is never full

std::size_t beneath(const SimNode& node) {
  std::size_t count = 0;
  for (const SimNode* child : node.children) count += 1 + beneath(*child);
  return count;
}

void collect_leaves(SimNode& node, std::vector<SimNode*>& leaves) {
  if (node.children.empty()) leaves.push_back(&node);
  for (SimNode* child : node.children) collect_leaves(*child, leaves);
}

}  // namespace

SimTreeOptions WideTree::options_of(const Options& options) {
  SimTreeOptions out;
  out.router.sideways = options.sideways;
  out.ids_per_link = options.ids_per_link;
  out.wire.latency_min = out.wire.latency_max = kOneWay;
  out.wire.capacity = kCapacity;
  out.wire.is_rough = false;
  return out;
}

WideTree::WideTree(const Options& options) : tree_(kSeed, options_of(options)) {
  tree_.world().set_round_cost(0);
  const Nanos began = tree_.world().now();
  std::vector<SimNode*> level = {&root()};
  growth_.is_whole = true;
  for (const std::size_t width : options.widths) {
    std::vector<SimNode*> next;
    for (SimNode* parent : level)
      for (std::size_t i = 0; i < width; ++i) next.push_back(&tree_.grow(*parent));
    contexts_ += next.size();
    growth_.is_whole &= run_until([this] { return root().routes->size() == contexts_; });
    growth_.took = tree_.world().now() - began;
    growth_.is_whole &= tree_.world().run_until_idle(kPatience);  // the last identities arrive
    level = std::move(next);
  }
  growth_.frames = frames();
}

bool WideTree::run_until(const Function<bool()>& condition) {
  const Nanos limit = tree_.world().now() + kPatience;
  while (!condition())
    if (!tree_.step(limit)) return false;
  return true;
}

std::uint64_t WideTree::frames() const {
  std::uint64_t frames = 0;
  for (const auto& node : tree_.nodes()) frames += node->router.counters().frames_in;
  return frames;
}

WideTree::Course WideTree::end(SimNode& hop, const std::vector<SimNode*>& callers) {
  std::vector<SimNode*> leaves;
  collect_leaves(hop, leaves);
  std::size_t asked = 0;
  told_ = 0;
  for (SimNode* caller : callers) {
    SimNode& callee = *leaves[asked++ % leaves.size()];
    if (asked <= leaves.size()) callee.router.add_handler(kSilent, Access::anyone(), [](Incoming&) {});
    caller->router.call(callee.id, kSilent, {},
                        [this](const Reply& reply) { told_ += reply.dead != nullptr; });
  }
  Course course;
  if (!tree_.world().run_until_idle(kPatience) || told_ != 0) return course;
  const std::size_t left = root().routes->size() - 1 - beneath(hop);
  const std::uint64_t before = frames();
  const Nanos began = tree_.world().now();

  tree_.kill(hop);

  course.is_whole = run_until([&] { return root().routes->size() == left && told_ == callers.size(); });
  course.took = tree_.world().now() - began;
  tree_.run_for(kQuiet);
  course.is_whole &= root().routes->size() == left;
  course.frames = frames() - before;
  return course;
}

std::optional<std::uint64_t> WideTree::heap_of_root() {
  std::unique_ptr<SimNode> root = tree_.release_root();
  const std::optional<std::uint64_t> before = test::heap_in_use();
  root.reset();
  const std::optional<std::uint64_t> after = test::heap_in_use();
  if (!before) return std::nullopt;
  return *before - *after;
}

}  // namespace banyan::simulation
