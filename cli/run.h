// cli/run.h -- the verb `run`: a command on every target, and what came of it.
//
// Thread: the loop's.
#pragma once

#include <memory>
#include <string>
#include <string_view>
#include <vector>

#include "cli/fan_out.h"
#include "cli/input.h"
#include "parent/command.h"

namespace banyan::cli {

// What to say to who typed a line for a shell where the name of a program belongs; empty where it is none.
std::string_view shell_hint(const std::vector<std::string>& command);

class Run final : public FanOut {
 public:
  Run(const Machinery& machinery, OnOver on_over);
  ~Run() override;

 private:
  struct Work {
    std::unique_ptr<Command> command;
    std::unique_ptr<Output::Streams> streams;
    Loop::TimerId backstop = 0;
  };

  void start_work(Index index, const Child& child) override;
  void cancel_work(Index index) override;
  void give_up_work(Index index) override;
  void end_work(Index index) override;

  void on_done(Index index, const Result<ExecOutcome>& result);
  void on_outcome(Index index, const ExecOutcome& outcome);
  void on_failure(Index index, const Error& error);
  void arm_backstop(Index index, Nanos delay);
  bool forwards_stdin() const;
  void start_input(Index index);
  void on_input_failed(Index index, int error);
  void pump_input(Index index);

  std::vector<Work> works_;
  std::unique_ptr<InputReader> input_;
  Buffer piece_;  // of standard input, not sent yet
  std::size_t piece_begin_ = 0;
  bool input_ended_ = false;
};

}  // namespace banyan::cli
