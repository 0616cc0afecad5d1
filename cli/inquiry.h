// cli/inquiry.h -- a fan-out that asks each context what it is: what `tree` and `doctor` begin with.
//
// Thread: the loop's.
#pragma once

#include <deque>
#include <vector>

#include "cli/fan_out.h"
#include "core/info.h"

namespace banyan::cli {

class Inquiry : public FanOut {
 public:
  ~Inquiry() override;

 protected:
  Inquiry(const Machinery& machinery, OnOver on_over);

  // Asks these contexts, the target's own last, each so many times, one after the other: on_answer() for
  // each, unless the target has failed. `quickest` of the round trips: the first has to wake everybody on the
  // way.
  void ask(Index index, std::deque<ContextId> contexts, int times);
  virtual void on_answer(Index index, ContextId context, const ContextInfo& info, Nanos quickest) = 0;

  void cancel_work(Index index) override { give_up_work(index); }
  void give_up_work(Index index) override;
  void end_work(Index index) override;

 private:
  struct Question {
    Router::CallId call = 0;  // 0: none under way
    Loop::TimerId timer = 0;  // for all the times together
    Nanos asked_at = 0, quickest = 0;
    std::deque<ContextId> contexts;  // still to be asked, the first of them now
    int times = 0, times_left = 0;
  };

  void ask_next(Index index);
  void ask_once(Index index);
  void on_reply(Index index, const Reply& reply);

  std::vector<Question> questions_;
};

}  // namespace banyan::cli
