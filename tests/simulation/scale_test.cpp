// Goal: a tree may be large: what a context costs the root stays small, and the end of a hop is known to all
// who care as soon as the wires allow, in few frames. Method: ./dev bench tree/scale in small: a thousand
// production contexts over simulated wires of one length, what the root's objects occupy on the heap, and the
// frames that routers get.

#include <catch2/catch.hpp>

#include "tests/simulation/wide_tree.h"
#include "tests/support/heap.h"

namespace banyan {
namespace {

using namespace simulation;

constexpr std::size_t kHops = 10, kLeaves = 100;

#ifdef BANYAN_HEAP_IS_TOLD
// An entry of the router's table, one of the root's places, names in place, and its share of what was
// announced, with what malloc adds: 210 of these on x86-64. So a quarter as much more is noticed.
constexpr std::uint64_t kBytesPerRouteMax = 256;

TEST_CASE("a route costs the root no more than 256 bytes, the name of its context included") {
  WideTree hops_only({.widths = {kHops}});
  WideTree whole({.widths = {kHops, kLeaves}});
  REQUIRE(hops_only.growth().is_whole);
  REQUIRE(whole.growth().is_whole);

  const std::uint64_t with_leaves = *whole.heap_of_root(), without = *hops_only.heap_of_root();

  REQUIRE(with_leaves > without);
  const std::uint64_t a_route = (with_leaves - without) / (kHops * kLeaves);
  CAPTURE(a_route);
  CHECK(a_route > 32);  // or it was not the routes that were looked at
  CHECK(a_route <= kBytesPerRouteMax);
}
#endif

TEST_CASE("contexts that come up together are known at the root after a few ways, in one frame each") {
  const WideTree tree({.widths = {kHops, kLeaves}});

  REQUIRE(tree.growth().is_whole);
  CHECK(tree.contexts() == kHops + kHops * kLeaves);
  // A hop's hello and its identity; a leaf's hello; twice a request for ids and the answer, because the first
  // is asked for the first leaf alone; and the news.
  CHECK(tree.growth().took <= 8 * WideTree::kOneWay);
  CHECK(tree.growth().frames >= kHops * kLeaves);
  CHECK(tree.growth().frames <= kHops * kLeaves + kHops * 8);
}

TEST_CASE(
    "the end of a hop is known at the root after one way, with all who lay beneath, and costs no frame") {
  WideTree tree({.widths = {kHops, kLeaves}});
  REQUIRE(tree.growth().is_whole);
  const std::vector<SimNode*> callers(kLeaves, &tree.root());

  const WideTree::Course course = tree.end(*tree.root().children[3], callers);

  REQUIRE(course.is_whole);
  CHECK(course.took == WideTree::kOneWay);
  CHECK(course.frames == 0);
}

// 600 of them: more than one frame of DEL_ROUTE names.
TEST_CASE("an end further down is passed on in two frames for six hundred contexts, a way for each level") {
  constexpr std::size_t kBeneath = 600;
  WideTree tree({.widths = {2, 2, kBeneath}});
  REQUIRE(tree.growth().is_whole);
  const std::vector<SimNode*> callers(kBeneath, &tree.root());

  const WideTree::Course course = tree.end(*tree.root().children[0]->children[1], callers);

  REQUIRE(course.is_whole);
  CHECK(course.took == 2 * WideTree::kOneWay);
  CHECK(course.frames == 2);
}

TEST_CASE("who elsewhere has dealt with somebody beneath a hop is told of its end, and nobody else") {
  WideTree tree({.widths = {kHops, kLeaves}, .sideways = Sideways::kPeers});
  REQUIRE(tree.growth().is_whole);
  std::vector<SimNode*> callers;
  for (std::size_t hop = 1; hop < kHops; ++hop) callers.push_back(tree.root().children[hop]->children[hop]);

  const WideTree::Course course = tree.end(*tree.root().children[0], callers);

  REQUIRE(course.is_whole);
  CHECK(course.took == 3 * WideTree::kOneWay);  // to the root, to the hops, to the leaves
  CHECK(course.frames == 2 * callers.size());
}

}  // namespace
}  // namespace banyan
