// parent/process_carrier.h -- a channel that is the standard input and output of a process of ours: an ssh,
// or the agent itself.
#pragma once

#include <csignal>
#include <memory>
#include <string>
#include <vector>

#include "core/reaper.h"
#include "core/spawn.h"
#include "parent/carrier.h"

namespace banyan {

class ProcessCarrier final : public Carrier {
 public:
  // `what` names the program in errors. `pid`, if not null, is told which process it is.
  static Result<std::unique_ptr<Carrier>> start(Loop& loop, const SpawnPlan& plan, std::string_view what,
                                                Fd far_end, Owner& owner, pid_t* pid = nullptr);
  // How every transport's process is started.
  static SpawnOptions options(std::vector<std::pair<std::string, std::string>> environment);

  ~ProcessCarrier() override;
  void end() override { process_.end(); }
  void kill() override { process_.signal(SIGKILL); }
  void wake() override { process_.signal(SIGCONT); }
  void let_go() override { process_.let_go(); }
  void read_text() override;

 private:
  ProcessCarrier(Loop& loop, pid_t pid, Fd complaints, Owner& owner);
  void on_exit(int status);

  Loop& loop_;
  Owner& owner_;
  Fd complaints_;  // its stderr
  Loop::WatchId watch_ = 0;
  ChildProcess process_;
};

}  // namespace banyan
