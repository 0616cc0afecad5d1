// tests/support/tree.h -- routers of one process joined by real sockets on one loop: the smallest tree.
#pragma once

#include <functional>
#include <memory>
#include <vector>

#include "core/epoll_loop.h"
#include "core/router.h"

namespace banyan::test {

inline RouterConfig config_of(ContextId id, std::vector<ContextId> ancestors = {}) {
  return RouterConfig{
      .id = id, .sideways = Sideways::kVertical, .ancestors = std::move(ancestors), .inbox = {}};
}

// Joins them by a socketpair. The child is ancestors.front()'s child by its own configuration.
inline void join(Loop& loop, Router& parent, Router& child, Router::OnLinkDown parent_hears = {},
                 Router::OnLinkDown child_hears = {}, const LinkLimits& limits = {}) {
  auto ends = make_socketpair();
  const int up = ends->first.release(), down = ends->second.release();
  // Made with any owner: the router takes its place.
  struct Nobody final : Link::Owner {
    void on_frame(Link&, const Header&, Bytes) override {}
    void on_sent(Link&, std::uint32_t, const Header&) override {}
    void on_down(Link&, const Error&, FrameQueue) override {}
  };
  static Nobody nobody;
  parent.add_child(
      std::make_unique<Link>(loop, LinkFds{up, up}, nobody, limits, parent.window_budget(), false),
      child.id(), std::move(parent_hears));
  child.set_parent(
      std::make_unique<Link>(loop, LinkFds{down, down}, nobody, limits, child.window_budget(), true),
      std::move(child_hears));
}

// Rounds of the loop until `done`, or until the deadline: then false.
inline bool run_until(EpollLoop& loop, const std::function<bool()>& done, Nanos within = 10 * kSecond) {
  const Nanos deadline = loop.now() + within;
  while (!done()) {
    if (loop.now() > deadline) return false;
    loop.run_once(10 * kMillisecond);
  }
  return true;
}

}  // namespace banyan::test
