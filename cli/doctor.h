// cli/doctor.h -- the verb `doctor`: walks every step of the way to each target, says which one fails, and
// what to do. Hops are targets of their own (add_hops()), and shared with what lies beneath them. What it
// found is told in the order of the targets: of each when those before it are over.
//
// Thread: the loop's.
#pragma once

#include <memory>
#include <vector>

#include "cli/doctor_ladder.h"
#include "cli/in_order.h"
#include "cli/inquiry.h"
#include "parent/command.h"

namespace banyan::cli {

class Doctor final : public Inquiry {
 public:
  Doctor(const Machinery& machinery, OnOver on_over);
  ~Doctor() override;

 private:
  struct Work {
    Seen seen;
    WayRecord way;
    std::unique_ptr<Command> look;
    Loop::TimerId look_timer = 0;
    std::string looked;  // what it printed
    Nanos left_at = 0;
  };

  void start_work(Index index, const Child& child) override;
  void end_work(Index index) override;
  void say_failure(Index index, const Error& error, Nanos took) override;
  void on_over(Index index) override;
  void report() override;
  WayRecord* record(Index index) override;

  void on_answer(Index index, ContextId context, const ContextInfo& info, Nanos quickest) override;
  static std::string stage0_file(const Work& work);
  void look(Index index);
  void on_looked(Index index);

  std::vector<Work> works_;
  InOrder reports_;
};

}  // namespace banyan::cli
