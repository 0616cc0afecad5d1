// parent/child_context.h -- what every context but the root is: a process that says hello over a link,
// becomes who its parent says, serves, and ends with that link.
//
// The link is the process's standard input and output (the agent, and every image that is started as a
// child), or a socket to a listener (parent/unix_client.h). When the identity has come, commands,
// information, ids, routes and children are served here. The parent's SHUTDOWN, and the end of its link, end
// what runs here and everybody beneath; then the owner is told, who leaves. What a context may do instead:
// detach().
//
// Thread: the loop's. Lifetime: loop, images and owner outlive it; in each word to the owner, and in that of
// detach(), it may be destroyed. Its destruction kills what still runs.
#pragma once

#include <memory>

#include "core/exec.h"
#include "core/identity.h"
#include "core/info.h"
#include "core/log.h"
#include "parent/start_service.h"

namespace banyan {

class ChildContext final : private Link::Owner {
 public:
  class Owner {
   public:
    // It has its identity, and nothing has come from anybody yet: the time to add handlers.
    virtual void on_context_up() {}
    // The parent's link has ended; what is here is being ended.
    virtual void on_parent_lost(const Error&) {}
    // Once, the last word: all that ran here has ended, or its time is over. One that never came up hears
    // why; nullptr then: nobody said who it is before the deadline.
    virtual void on_context_end(const Error* why) = 0;

   protected:
    ~Owner() = default;
  };

  // `transports` as for Runner.
  ChildContext(Loop& loop, ImageStore& images, Owner& owner, const Runner::Transports* transports);
  ChildContext(const ChildContext&) = delete;
  ChildContext& operator=(const ChildContext&) = delete;
  ~ChildContext();

  // The link of one that was started leaves descriptors 0 and 1, which then lead to /dev/null: so nothing a
  // library or a command prints can end up in it. False: they are no link.
  static bool take_standard_link(LinkFds& fds);

  // Says hello; owns the descriptors from here on. `nonce`: what this process was started with; 0: it was
  // not, it comes by itself.
  void begin(LinkFds fds, std::uint64_t nonce, Nanos identity_deadline = kIdentityDeadline);
  static constexpr Nanos kIdentityDeadline = 20 * kSecond;  // a parent that says nothing for so long is none

  // Ends it, as a SHUTDOWN would. Idempotent.
  void end();

  // Leaves the tree and lives on (parent/detach.h). `done` exactly once, unless this is destroyed before.
  // Where the process was started as a child it is nobody's from then on: its death is not bound to its
  // parent's, and a standard error that leads to its transport leads to /dev/null.
  using OnDetached = Function<void(const Result<Done>&)>;
  void detach(OnDetached done);

  Router& router() { return router_; }
  Logger& logger() { return logger_; }
  bool is_up() const { return services_ != nullptr; }
  // REQUIRES: is_up().
  IdSource& ids() { return services_->ids; }
  RouteMonitor& routes() { return services_->routes; }
  Runner& runner() { return services_->runner; }
  // Kills what would not end.
  void stop_services() { services_.reset(); }

 private:
  // What serves others, once we know who we are.
  struct Services {
    Services(Loop& loop, Router& router, ImageStore& images, const Runner::Transports* transports,
             const Identity& identity);
    ExecService exec;
    InfoService info;
    IdSource ids;
    RouteMonitor routes;
    Runner runner;
    StartService starts;
  };

  void on_frame(Link& link, const Header& header, Bytes payload) override;
  void on_sent(Link&, std::uint32_t, const Header&) override {}
  void on_down(Link& link, const Error& error, FrameQueue unsent) override;
  void end(Nanos within);
  void leave_when_both_are_done();
  void leave_when_flushed(Nanos delay);
  void finish(const Error* why);

  Loop& loop_;
  ImageStore& images_;
  Owner& owner_;
  const Runner::Transports* const transports_;
  Router router_;
  std::uint64_t nonce_ = 0;
  std::unique_ptr<Link> link_;  // until it is the router's
  Loop::TimerId deadline_ = 0;  // of the identity, then of the end
  Loop::TimerId flush_ = 0;
  bool ending_ = false, finished_ = false;
  int done_ = 0;
  std::unique_ptr<Services> services_;
  std::shared_ptr<void> detaching_;  // whose code the agent does without
  Alive alive_;
  Logger logger_{router_, LogLevel::kError};
};

}  // namespace banyan
