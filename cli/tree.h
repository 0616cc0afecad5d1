// cli/tree.h -- the verb `tree`: who is there, what it is, how far away and how large.
//
// Thread: the loop's.
#pragma once

#include <vector>

#include "cli/fan_out.h"

namespace banyan::cli {

class Tree final : public FanOut {
 public:
  Tree(const Machinery& machinery, OnOver on_over);
  ~Tree() override;

 private:
  struct Work {
    ContextFacts facts;
    Router::CallId call = 0;  // 0: none under way
    Loop::TimerId timer = 0;
    Nanos asked_at = 0;
    int answers = 0;
  };

  void start_work(Index index, const Child& child) override;
  void cancel_work(Index index) override { give_up_work(index); }
  void give_up_work(Index index) override;
  void end_work(Index index) override;
  void report() override;

  void ask(Index index);
  void on_answer(Index index, const Reply& reply);

  std::vector<Work> works_;
};

}  // namespace banyan::cli
