// parent/detach.h -- leaving the tree, and living on: the child's side.
//
//   0. Ids for a life without anybody to ask: as many as a context may ask for at once, or what there is.
//   1. DETACHING to the parent. It lets us go: neither kills us nor takes our end for a loss, if we have left
//      within two seconds.
//   2. What we still have to send leaves, for a second at most. The parent's SHUTDOWN, and the end of its
//      link, do not concern us any more.
//   3. The link is closed. We have no ancestors, and are the root of what is beneath us: children, their ids
//      and what we have them do live on. Ids that are left may still be given to children; no others come.
//
// What is being served here for those above goes on, and nobody hears of its outcome. Contexts beneath us are
// told that everybody above has ended: their calls to those are answered, and what they do for those is
// cancelled, as when any caller ends. The whole account: docs/protocol.md.
//
// Knows routers, not processes: a program uses ChildContext::detach(). Thread: the loop's. Lifetime: all
// outlive it; destroyed before it is done, it tells nobody. Not part of the agent.
#pragma once

#include "parent/route_monitor.h"

namespace banyan {

class Detach {
 public:
  using OnDone = Function<void(const Result<Done>&)>;

  Detach(Router& router, IdSource& ids, RouteMonitor& routes) : router_(router), ids_(ids), routes_(routes) {}
  Detach(const Detach&) = delete;
  Detach& operator=(const Detach&) = delete;
  ~Detach();

  // Once. `done` exactly once, from the loop. After an error all is as it was: the parent is still there, or
  // its link has ended and was treated as such an end is.
  void begin(OnDone done);

 private:
  void ask(Handle what, Bytes payload, void (Detach::*then)(const Reply&));
  void on_ids(const Reply& reply);
  void on_answer(const Reply& reply);
  void drain();
  void finish(const Result<Done>& result);

  Router& router_;
  IdSource& ids_;
  RouteMonitor& routes_;
  OnDone done_;
  Nanos deadline_ = 0;
  Loop::TimerId timer_ = 0;
  Alive alive_;
};

}  // namespace banyan
