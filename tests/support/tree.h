// tests/support/tree.h -- routers of one process joined by real sockets on one loop: the smallest tree.
#pragma once

#include "tests/support/routers.h"
#include "tests/support/run_until.h"

namespace banyan::test {

// Joins them by a socketpair. The child is ancestors.front()'s child by its own configuration.
inline void join(Loop& loop, Router& parent, Router& child, Router::OnLinkDown parent_hears = {},
                 Router::OnLinkDown child_hears = {}, const LinkLimits& limits = {}) {
  auto ends = make_socketpair();
  parent.add_child(make_link(loop, ends->first.release(), parent, false, limits), child.id(),
                   std::move(parent_hears));
  child.set_parent(make_link(loop, ends->second.release(), child, true, limits), std::move(child_hears));
}

}  // namespace banyan::test
