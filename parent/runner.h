// parent/runner.h -- runs recipes: starts the transport, brings a context up at its far end, supervises it.
//
// Present in every context that has children. Thread: the loop's. Lifetime: end with shut_down() before
// destruction; the destructor kills what still runs and reaps it.
#pragma once

#include <memory>
#include <string>

#include "core/identity.h"
#include "parent/ids.h"
#include "parent/image.h"
#include "parent/recipe.h"
#include "parent/route_monitor.h"

namespace banyan {

class Unpacker;

// A context that is up.
struct Child {
  ContextId id = 0;
  std::string name, method;
  Hello hello;
  std::uint64_t bytes_sent = 0;  // loader and image
  Nanos took = 0;                // from start to hello
  std::string said;              // the end of what the transport said on its stderr until then
};

// What is told of a child that has detached.
Error detached_error();

class Runner {
 public:
  using OnUp = Function<void(const Result<Child>&)>;
  using OnLost = Function<void(ContextId, const Error&)>;
  using StartId = std::uint64_t;

  // `ids` are for its children; `routes` is told of each that comes up.
  // Without `transports` it starts images of this machine and nothing else: so the agent, for which the rest
  // would be an eighth of what it weighs (docs/design/006-hops.md).
  class Job;  // one child, from its start to its end
  struct Transports {
    std::unique_ptr<Job> (*make_job)(Runner& runner, StartId id, Recipe&& recipe, OnUp&& on_up,
                                     OnLost&& on_lost);
    // What a request says of a transport, as parent/transport_message.h has it.
    bool (*decode)(Unpacker& in, Recipe& recipe);
  };
  static const Transports kTransports;
  Runner(Loop& loop, Router& router, ImageStore& images, IdSource& ids, RouteMonitor& routes,
         const Transports* transports = &kTransports);
  ~Runner();

  // `on_up` exactly once. `on_lost` once, later, if it came up and its link then ended without our asking:
  // when its process has been reaped, within two seconds, because how that ended says what was lost. A child
  // that has detached is lost as well, though nothing failed: that error says so (Error::detached).
  StartId start(Recipe recipe, OnUp on_up, OnLost on_lost);
  // A start that is not up yet is killed, reaped and answered kCancelled; otherwise no effect.
  void cancel(StartId start);
  // Which phase a start is in, for progress lines; kLink once it is up.
  Phase phase_of(StartId start) const;

  // How long a person was asked on its behalf, in all; until it is reaped.
  Nanos asked_for(StartId start) const;

  // Ends one child, or all: SHUTDOWN, and what has not ended within `within` is cut off: an agent of this
  // machine is killed, a transport gets SIGTERM and a second. `done` when it is reaped; it may destroy us.
  void shut_down(ContextId child, Nanos within, Function<void()> done);
  void shut_down_all(Nanos within, Function<void()> done);
  // Processes not reaped yet, of detached children too: but nobody waits for those, and they outlive us.
  std::size_t count() const { return jobs_.size() + strays_.size(); }

  const Transports* transports() const { return transports_; }

  // For children started from now on.
  void set_log_level(std::uint8_t level) { log_level_ = level; }
  // REQUIRES: the first window is LinkLimits's own; a child assumes it before it is told anything.
  void set_limits(const LinkLimits& limits) {
    ASSERT(limits.window == LinkLimits{}.window);
    limits_ = limits;
  }
  // The header of every frame on their links.
  using FrameWatcher = Function<void(std::string_view child, bool outgoing, const Header&)>;
  void watch_frames(FrameWatcher watcher) {
    frame_watcher_ = std::make_shared<FrameWatcher>(std::move(watcher));
  }

 private:
  class TransportJob;
  Job* find(StartId start) const;
  static constexpr StartId kNobody = 0;
  void reaped(StartId id);

  Loop& loop_;
  Router& router_;
  ImageStore& images_;
  IdSource& ids_;
  RouteMonitor& routes_;
  const Transports* const transports_;  // may be null
  std::uint8_t log_level_ = 0;
  LinkLimits limits_;
  std::shared_ptr<const FrameWatcher> frame_watcher_;  // every child has it; may be null
  StartId next_ = 1;
  Table<StartId, std::unique_ptr<Job>> jobs_;
  Table<StartId, std::unique_ptr<Job>> strays_;  // detached, on this machine: to be reaped, should they end
  Function<void()> on_empty_;
  Alive alive_;
};

}  // namespace banyan
