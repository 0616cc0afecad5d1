// tests/simulation/raw_hop.h -- a router between a parent and children whose frames are all written by hand.
#pragma once

#include <memory>

#include "core/router.h"
#include "tests/simulation/raw_peer.h"
#include "tests/support/routers.h"

namespace banyan::simulation {

// Whoever derives gives it its neighbours, and what they may say.
struct RawHop {
  SimWorld world;
  SimLoop& loop;
  SimLoop& others;
  Router router;
  std::unique_ptr<RawPeer> parent, child, sibling;

  RawHop(std::uint64_t seed, const RouterConfig& config)
      : world(seed), loop(world.add_loop()), others(world.add_loop()), router(loop, config) {}

  std::unique_ptr<RawPeer> add_parent(Router::OnLinkDown on_down) {
    const auto [ours, theirs] = world.make_pair(loop, others);
    router.set_parent(test::make_link(loop, ours, router, true), std::move(on_down));
    return std::make_unique<RawPeer>(others, theirs);
  }
  std::unique_ptr<RawPeer> add_child(ContextId id, Router::OnLinkDown on_down) {
    const auto [ours, theirs] = world.make_pair(loop, others);
    router.add_child(test::make_link(loop, ours, router, false), id, std::move(on_down));
    return std::make_unique<RawPeer>(others, theirs);
  }
  void settle() { CHECK(world.run_until_idle()); }
};

// How many dead messages it was sent for that handle.
inline std::size_t dead(const RawPeer& peer, Handle handle) {
  std::size_t count = 0;
  for (const Header& header : peer.frames) count += header.is_dead() && header.handle == handle;
  return count;
}

}  // namespace banyan::simulation
