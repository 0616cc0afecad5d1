// tests/support/routers.h -- what a test makes a router of: its configuration, and its links.
#pragma once

#include <memory>
#include <vector>

#include "core/link.h"
#include "core/router.h"

namespace banyan::test {

inline RouterConfig config_of(ContextId id, std::vector<ContextId> ancestors = {}) {
  return RouterConfig{
      .id = id, .sideways = Sideways::kVertical, .ancestors = std::move(ancestors), .inbox = {}};
}

// One end of a wire as a link, whose `fd` is from now on. `to_parent`: for set_parent(), else for
// add_child().
inline std::unique_ptr<Link> make_link(Loop& loop, int fd, Router& router, bool to_parent,
                                       const LinkLimits& limits = {}) {
  // Made with any owner: the router takes its place.
  struct Nobody final : Link::Owner {
    void on_frame(Link&, const Header&, Bytes) override {}
    void on_sent(Link&, std::uint32_t, const Header&) override {}
    void on_down(Link&, const Error&, FrameQueue) override {}
  };
  static Nobody nobody;
  return std::make_unique<Link>(loop, LinkFds{fd, fd}, nobody, limits, router.window_budget(), to_parent);
}

}  // namespace banyan::test
