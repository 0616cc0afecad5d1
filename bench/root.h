// bench/root.h -- the root of a tree, as a program would build one, and the times its children take.
#pragma once

#include <functional>
#include <vector>

#include "core/epoll_loop.h"
#include "core/router.h"
#include "parent/runner.h"
#include "transports/connectors.h"

namespace banyan::bench {

class Root {
 public:
  Root();

  EpollLoop& loop() { return loop_; }
  Router& router() { return router_; }
  Connectors& connectors() { return connectors_; }  // for recipes of libssh2()
  IdSource& ids() { return ids_; }
  RouteMonitor& routes() { return routes_; }
  Runner& runner() { return runner_; }

  struct Times {          // microseconds since the start
    double hello = 0;     // of the last one
    double answered = 0;  // the last one's reply to a first call
    double gone = 0;      // all ended and waited for
    std::uint64_t bytes_sent = 0;
  };
  // Starts them all at once, calls each when it is up, then ends them. `while_up` is called in between.
  Times bring_up(std::vector<Recipe> recipes,
                 const std::function<void(const std::vector<Child>&)>& while_up = {});
  // Ends all children, and comes back when nothing is left of them.
  void end_all();

 private:
  EpollLoop loop_;
  Router router_;
  Connectors connectors_;
  IdSource ids_;
  RouteMonitor routes_;
  Runner runner_;
};

}  // namespace banyan::bench
