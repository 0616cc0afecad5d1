#include "parent/runner.h"

#include "parent/runner_job.h"

namespace banyan {

Runner::Runner(Loop& loop, Router& router, ImageStore& images, IdSource& ids, RouteMonitor& routes,
               const Transports* transports)
    : loop_(loop), router_(router), images_(images), ids_(ids), routes_(routes), transports_(transports) {}

Runner::~Runner() {
  *alive_ = false;
}

Runner::StartId Runner::start(Recipe recipe, OnUp on_up, OnLost on_lost) {
  if (recipe.nonce == 0) recipe.nonce = loop_.random();
  const StartId id = next_++;
  std::unique_ptr<Job>& job = jobs_[id];
  if (transports_ != nullptr) {
    job = transports_->make_job(*this, id, std::move(recipe), std::move(on_up), std::move(on_lost));
  } else {
    job = std::make_unique<Job>(*this, id, std::move(recipe), std::move(on_up), std::move(on_lost));
  }
  job->begin();
  return id;
}

Runner::Job* Runner::find(StartId start) const {
  auto found = jobs_.find(start);
  return found == jobs_.end() ? nullptr : found->second.get();
}

void Runner::cancel(StartId start) {
  if (Job* job = find(start)) job->cancel();
}

Phase Runner::phase_of(StartId start) const {
  const Job* job = find(start);
  return job ? job->phase() : Phase::kLink;
}

Nanos Runner::asked_for(StartId start) const {
  const Job* job = find(start);
  return job ? job->asked() : 0;
}

void Runner::shut_down(ContextId child, Nanos within, Function<void()> done) {
  for (auto& [id, job] : jobs_)
    if (job->is_up() && job->context() == child) return job->shut_down(within, std::move(done));
  loop_.post(std::move(done));
}

void Runner::shut_down_all(Nanos within, Function<void()> done) {
  on_empty_ = std::move(done);
  for (auto& [id, job] : jobs_) job->shut_down(within, {});
  reaped(kNobody);  // there may be none at all
}

// From the loop: the job is still on the stack. Who is told may destroy us.
void Runner::reaped(StartId id) {
  loop_.post([this, alive = alive_, id] {
    if (!*alive) return;
    strays_.erase(id);
    auto found = jobs_.find(id);
    if (found != jobs_.end() && found->second->is_over()) {
      std::unique_ptr<Job> gone = std::move(found->second);
      jobs_.erase(found);
      const auto waiters = gone->take_waiters();
      const Function<void()> loss = gone->take_loss();
      if (!gone->is_reaped()) strays_[id] = std::move(gone);
      gone.reset();
      if (loss) loss();
      for (auto& done : waiters) done();
    }
    if (*alive && jobs_.empty() && on_empty_) std::exchange(on_empty_, nullptr)();
  });
}

}  // namespace banyan
