// cli/fan_out.h -- what every verb that connects does: reach many targets, so many at a time, and leave
// nothing.
//
// A target goes: waiting -> reaching (a context comes up there) -> ready -> working (what the verb is for) ->
// leaving (the context is ended) -> over. Each gets exactly one Ending, whatever breaks and whoever
// interrupts. At most fan_out of them work at a time. As many are reached at a time, not counting those that
// wait for a crowded server or for a host that is silent: dead hosts hold up nobody.
//
// Thread: the loop's. All that is given outlives it.
#pragma once

#include <deque>
#include <functional>
#include <optional>
#include <string>
#include <utility>
#include <vector>

#include "cli/options.h"
#include "cli/output.h"
#include "cli/paths.h"
#include "cli/progress.h"
#include "cli/reach.h"
#include "cli/tally.h"
#include "core/router.h"

namespace banyan::cli {

struct Machinery {
  Loop& loop;
  Router& router;
  Runner& runner;
  const RouteMonitor& routes;
  Connectors& connectors;
  Secrets& secrets;
  Askpass& askpass;
  Becoming& becoming;
  ArchCache& cache;
  Output& output;
  const Options& options;
};

class FanOut {
 public:
  // `on_over` once, when all is written and nothing is left of any target: with the exit code.
  using OnOver = std::function<void(int exit_code)>;
  FanOut(const Machinery& machinery, OnOver on_over);
  FanOut(const FanOut&) = delete;
  FanOut& operator=(const FanOut&) = delete;
  virtual ~FanOut();

  void begin();
  // Ctrl-C: the first says who is still running, the second ends them.
  void interrupt();
  // Ends everything everywhere; the exit code will be this one.
  void end_all(int exit_code);
  bool is_ending() const { return ending_.has_value(); }
  // Says of each that is not over that it is left as it is, and the summary. Nothing may follow but our end.
  void abandon(int exit_code);
  ProgressCounts progress() const;
  // As the person typed it; "context 7" for one that is no target.
  std::string name_of(ContextId context) const;

 protected:
  using Index = std::size_t;  // of a target

  // The context is up. The verb's business from here, until it calls conclude() or fail() once.
  virtual void start_work(Index index, const Child& child) = 0;
  // Asked to end: conclude() soon. Else give_up_work() is called after a grace, and must conclude at once.
  virtual void cancel_work(Index index) = 0;
  virtual void give_up_work(Index index) = 0;
  // It has concluded: let go of what belongs to it.
  virtual void end_work(Index) {}
  // It was not reached, or failed: says so.
  virtual void say_failure(Index index, const Error& error, Nanos took);
  // Nothing of it is left, or never was.
  virtual void on_over(Index) {}
  // Where to note how it is reached; null: nowhere.
  virtual WayRecord* record(Index) { return nullptr; }
  // All are over, or left: the verb's last words, before the summary. Once.
  virtual void report() {}

  void conclude(Index index, const Ending& ending);
  // Says why, and concludes. `since` is where its seconds begin.
  void fail(Index index, const Error& error, Verdict verdict, Nanos since);

  const Target& target(Index index) const { return *jobs_[index].target; }
  ContextId context(Index index) const { return jobs_[index].context; }
  // Names on the way to it, itself last; known once ssh has been asked.
  std::vector<std::string> route(Index index) const;
  // The contexts it lies beneath, the first of the path first. REQUIRES: it is working.
  std::vector<Child> hops_of(Index index) const { return paths_.hops_of(jobs_[index].way); }
  bool is_working(Index index) const { return jobs_[index].state == State::kWorking; }
  Nanos work_began(Index index) const { return jobs_[index].work_began; }
  // Why its link broke: better than what those say who waited for it.
  const std::optional<Error>& lost(Index index) const { return jobs_[index].lost; }
  // Runs `then` once that is known: at once, unless its link has just broken.
  void when_explained(Index index, std::function<void()> then);
  std::size_t count() const { return jobs_.size(); }

  Loop& loop_;
  Router& router_;
  Runner& runner_;
  const RouteMonitor& routes_;
  Output& output_;
  const Options& options_;

 private:
  enum class State { kWaiting, kReaching, kReady, kWorking, kLeaving, kOver };
  struct Job {
    const Target* target = nullptr;
    State state = State::kWaiting;
    Nanos began = 0, work_began = 0;
    Paths::Id way = 0;
    ContextId context = 0;
    std::optional<Error> lost;
    std::function<void()> on_explained;
    Loop::TimerId unexplained = 0;
  };

  void start_more();
  void on_up(Index index, const Result<Child>& child);
  void begin_work(Index index, const Child& child);
  void leave(Index index);
  void add_ending(const Ending& ending);
  void last_report();
  void sum_up(int exit_code);
  void finish();
  void give_up_waiting();

  OnOver on_over_;
  Reach reach_;
  Paths paths_;
  std::vector<Job> jobs_;
  Index next_ = 0;                             // the first that waits
  std::size_t active_ = 0;                     // neither waiting nor over
  std::size_t working_ = 0;                    // or leaving
  std::deque<std::pair<Index, Child>> ready_;  // up, and wait to work
  std::size_t concluded_ = 0;
  Tally tally_;
  Nanos began_ = 0;
  bool interrupted_ = false;
  bool finishing_ = false;
  bool summed_up_ = false;
  bool reported_ = false;
  std::optional<int> ending_;  // the exit code, once somebody ended us all
  Loop::TimerId grace_ = 0;
};

Error make_error(ErrorClass error_class, Phase phase, std::string text, Started started);
// "3.2s"
std::string in_seconds(Nanos time);

}  // namespace banyan::cli
