// parent/remote_runner.h -- has children started in other contexts beneath us: the caller's side of
// parent/start_service.h, with the callbacks of parent/runner.h.
//
// What a context says of its children is believed as far as the routes bear it out. When it is lost itself,
// whoever hears of that says so here (lost()), and all that was started there is told.
//
// Thread: the loop's. The router outlives it. Not for the agent: it asks nobody yet.
#pragma once

#include <memory>

#include "parent/start_message.h"

namespace banyan {

class RemoteRunner {
 public:
  using OnUp = Runner::OnUp;
  using OnLost = Runner::OnLost;
  using StartId = Runner::StartId;

  explicit RemoteRunner(Router& router) : router_(router) {}
  RemoteRunner(const RemoteRunner&) = delete;
  RemoteRunner& operator=(const RemoteRunner&) = delete;
  ~RemoteRunner();

  // As Runner::start(), in the context `at`, which lies beneath us. Errors name the context where they began.
  StartId start(ContextId at, Recipe recipe, OnUp on_up, OnLost on_lost);
  // One that is not up yet is ended, and on_up hears kCancelled when nothing is left of it, unless it was
  // quicker. Otherwise no effect.
  void cancel(StartId start);
  // One of which nothing is heard any more: on_up hears that, and `at` is told to end it. Otherwise no
  // effect.
  void give_up(StartId start, const Error& why);
  // Ends a child that is up: `done` when it is reaped, or when nobody answers for it any more.
  void shut_down(ContextId child, Nanos within, Function<void()> done);
  // `at` is lost, and why: so is what was started there.
  void lost(ContextId at, const Error& why);
  std::size_t count() const { return starts_.size(); }  // that may still be told something

 private:
  struct Start {
    ContextId at = 0;
    std::string name, method;
    OnUp on_up;
    OnLost on_lost;
    Router::CallId call = 0;  // 0: answered
    Handle lost = 0;
    std::shared_ptr<Answerer> answerer;  // until it is up; may be null
    Handle asked = 0;
    std::uint32_t questions = 0;
    ContextId child = 0;  // 0: not up yet
    Loop::TimerId timer = 0;
    Function<void()> done;  // set: it is being ended
  };
  void on_reply(StartId id, const Reply& reply);
  void on_lost(StartId id, Incoming& message);
  void on_question(StartId id, Incoming& request);
  void end_questions(Start& start);
  Result<Child> judge(const Start& start, const Reply& reply) const;
  void ended(StartId id);
  Start take(StartId id);

  Router& router_;
  StartId next_ = 1;
  Table<StartId, Start> starts_;
  Alive alive_;
};

}  // namespace banyan
