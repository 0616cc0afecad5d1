// parent/route_monitor.h -- who is beneath us, announced upward; who has ended, told to all who dealt with
// him.
//
// When a child says hello, its route is there and ADD_ROUTE has gone up before any byte of it is passed on;
// links are ordered, so nobody can see a message of somebody he has not heard of. When its link breaks,
// DEL_ROUTE goes up for everybody who was behind it, and down every link beneath which somebody has dealt
// with one of them; whoever waited for them is answered. Announced can be only what was granted beneath that
// link: never an ancestor, never a neighbour's, nor anybody twice; whoever tries is cut off.
//
// After Mitogen's RouteMonitor; what differs is in docs/protocol.md. Thread: the loop's. Lifetime: the router
// and the ids outlive it; it registers itself with the router.
#pragma once

#include <string>
#include <string_view>
#include <vector>

#include "core/table.h"
#include "parent/ids.h"

namespace banyan {

class RouteMonitor {
 public:
  RouteMonitor(Router& router, IdSource& source);
  RouteMonitor(const RouteMonitor&) = delete;
  RouteMonitor& operator=(const RouteMonitor&) = delete;
  ~RouteMonitor();

  // A child has just become the router's: to be said before anything else happens.
  void announce(ContextId child, std::string_view name);

  // We leave the tree ourselves, and are the root of what is beneath us: everybody there is told that there
  // is nobody else any more. Names of those who are there already were for the root of old alone.
  void leave_tree();

  // What the root knows of everybody, to draw the tree.
  struct Place {
    ContextId parent = 0;
    std::string name;  // as its parent calls it; for display only: show it escaped
  };
  const Place* find(ContextId id) const;
  void for_each(const Function<void(ContextId, const Place&)>& visit) const;
  std::size_t size() const { return places_.size(); }
  // After each change, at the root.
  Function<void(ContextId id, bool is_there)> on_change;

 private:
  void on_control(Link& link, ContextId neighbour, const Header& header, Bytes payload);
  void on_add_route(Link& link, ContextId child, Bytes payload);
  void on_del_route(Link& link, ContextId neighbour, Bytes payload);
  void on_ended(const std::vector<ContextId>& ids);
  void add(Link* origin, ContextId id, ContextId parent, std::string_view name);
  using Audience = Table<ContextId, std::vector<ContextId>>;  // by neighbour
  Audience audience_of(const std::vector<ContextId>& ids) const;
  void tell(Audience audience);
  void tell(ContextId neighbour, std::vector<ContextId> ids, int looks);
  bool is_root() const { return router_.config().ancestors.empty(); }
  ContextId parent() const { return router_.config().ancestors.front(); }

  Router& router_;
  IdSource& ids_;
  Alive alive_;
  Table<ContextId, Place> places_;  // the root's alone: others need no more than the route
};

}  // namespace banyan
