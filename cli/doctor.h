// cli/doctor.h -- the verb `doctor`: walks every step of the way to each target, says which one fails, and
// what to do.
//
// Thread: the loop's.
#pragma once

#include <memory>
#include <vector>

#include "cli/doctor_ladder.h"
#include "cli/fan_out.h"
#include "parent/command.h"

namespace banyan::cli {

class Doctor final : public FanOut {
 public:
  Doctor(const Machinery& machinery, OnOver on_over);
  ~Doctor() override;

 private:
  struct Work {
    Seen seen;
    WayRecord way;
    Router::CallId call = 0;  // 0: none under way
    Loop::TimerId timer = 0;
    Nanos asked_at = 0, left_at = 0;
    std::unique_ptr<Command> look;
    std::string looked;  // what it printed
  };

  void start_work(Index index, const Child& child) override;
  void cancel_work(Index index) override { give_up_work(index); }
  void give_up_work(Index index) override;
  void end_work(Index index) override;
  void say_failure(Index index, const Error& error, Nanos took) override;
  void on_over(Index index) override;
  WayRecord* record(Index index) override;

  void on_answer(Index index, const Reply& reply);
  void look(Index index);
  void on_looked(Index index);

  std::vector<Work> works_;
};

}  // namespace banyan::cli
