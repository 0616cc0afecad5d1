// parent/adoption.h -- what makes a process that has said hello a child of ours, whatever it came by.
//
// Thread: the loop's.
#pragma once

#include <memory>
#include <string_view>

#include "core/identity.h"
#include "parent/route_monitor.h"

namespace banyan {

// Whether there may be another level beneath us.
bool may_have_children(const Router& router);

// Tells it who it is, and everybody above that it is there; the link is the router's from here on. Of `ids`
// the first is its own, the rest, if there are any, are for its children. Of the identity the caller says
// name, log level and limits. `has_our_authority`: it is a client of a socket of ours
// (parent/unix_listener.h).
void adopt(Router& router, RouteMonitor& routes, std::unique_ptr<Link>&& link, IdRange ids,
           Identity& identity, bool has_our_authority, Router::OnLinkDown&& on_down);

}  // namespace banyan
