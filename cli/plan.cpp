#include "cli/plan.h"

#include <sys/signalfd.h>
#include <unistd.h>

#include <csignal>
#include <cstring>
#include <map>
#include <memory>
#include <optional>
#include <utility>

#include "cli/output.h"
#include "cli/plan_step.h"
#include "cli/recipes.h"
#include "cli/relay.h"
#include "cli/route.h"
#include "cli/tally.h"
#include "core/epoll_loop.h"
#include "core/fd.h"
#include "core/text.h"
#include "transports/arch_cache.h"
#include "transports/ssh_facts.h"
#include "transports/ssh_question.h"

namespace banyan::cli {
namespace {

constexpr std::size_t kAheadMax = 64;  // plans begun and not written yet; bounds what a slow reader costs

// Of one that ssh has no part in.
TargetPlan::Step step_of(const Target& target) {
  const std::string name = last_name(target), hop = target.hop ? target.hop->name : "";
  if (target.method == Method::kContainer) return container_step(container_of(target), hop);
  if (!is_become(target)) return local_step(name, hop);
  return become_step(name, target.method, target.user, hop, target.shown.empty() ? "" : "-b");
}

class Planner {
 public:
  explicit Planner(const Options& options)
      : options_(options),
        output_(loop_, Output::style_for(options), [this](int error) { on_stdout_failed(error); }),
        answers_(ArchCache::default_folder(), local_user()),
        questions_(std::make_unique<SshQuestions>(loop_, local_user(), "ssh", &answers_)),
        facts_(questions_->local(), has_connector()) {}

  int run() {
    watch_signals();
    loop_.post([this] { ask_for_defaults(); });
    loop_.run();
    loop_.unwatch(signal_watch_);
    answers_.save();
    questions_.reset();                           // with all that a Match exec has started
    if (!output_.is_idle()) ::_exit(exit_code_);  // a thread of ours waits for a reader who does not read
    return exit_code_;
  }

 private:
  using Index = std::size_t;
  using Settings = std::shared_ptr<const SshSettings>;
  using Answer = SshQuestions::Answer;

  struct Job {
    TargetPlan plan;
    std::optional<Error> error;
    bool is_done = false;
    Nanos began = 0;
    std::vector<const Target*> beneath;  // still to be asked about: the last of them next
  };

  const Target& target(Index index) const { return options_.targets.targets[index]; }

  // One that is ignored (nohup) stays so.
  void watch_signals() {
    sigset_t set;
    ::sigemptyset(&set);
    for (int signal : {SIGINT, SIGTERM, SIGHUP}) {
      struct sigaction action;
      if (::sigaction(signal, nullptr, &action) == 0 && action.sa_handler != SIG_IGN)
        ::sigaddset(&set, signal);
    }
    ::pthread_sigmask(SIG_BLOCK, &set, nullptr);
    signals_ = Fd(::signalfd(-1, &set, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) {  // then they end us without our help
      ::pthread_sigmask(SIG_UNBLOCK, &set, nullptr);
      return;
    }
    signal_watch_ = loop_.watch(signals_.get(), {.read = true}, [this](Ready) {
      signalfd_siginfo info;
      if (::read(signals_.get(), &info, sizeof info) != ssize_t(sizeof info)) return;
      is_over_ = true;
      exit_code_ = kExitSignalBase + int(info.ssi_signo);
      output_.discard();
      loop_.stop();
    });
  }

  // What ssh says without any configuration tells which settings are the configuration's.
  void ask_for_defaults() {
    SshOptions none;
    none.config_file = "none";
    questions_->ask({.name = {}, .user = {}, .host = "localhost"}, none, [this](const Answer& answer) {
      defaults_ = answer;
      start_more();
    });
  }

  void start_more() {
    while (!is_over_ && next_ < options_.targets.targets.size() && jobs_.size() + unwritten_ < kAheadMax) {
      const Index index = next_++;
      Job& job = jobs_[index];
      job.plan.target = shown_name(target(index));
      job.began = loop_.now();
      if (const Target& first = first_of(target(index)); first.method != Method::kSsh) {
        job.plan.route.push_back(step_of(first));
        loop_.post([this, index] { finish(index); });
      } else {
        ask_about_target(index);
      }
    }
    write_what_is_done();
  }

  void ask_about_target(Index index) {
    const Target& asked = first_of(target(index));
    const SshTarget step{asked.name, asked.user, asked.host, asked.port};
    ask_for_route(*questions_, step, options_.ssh, [this, index](const Result<Route>& route) {
      if (!route || !*defaults_) return fail(index, !route ? route.error() : defaults_->error());
      add_steps(index, *route);
      finish(index);
    });
  }

  void add_steps(Index index, const Route& route) {
    Job& job = jobs_.at(index);
    const std::vector<BackEndStep> steps = back_end_steps(facts_, route);
    const std::vector<BackEndChoice> choices = choose_back_ends(steps, options_.back_end);
    if (choices.back().is_refused) job.error = refused_back_end(choices.back());
    for (std::size_t i = 0; i < route.size(); ++i) {
      const RouteStep& one = route[i];
      job.plan.route.push_back(
          ssh_step({one.asked, one.options, *one.settings, ***defaults_, steps[i].facts, choices[i],
                    one.is_jump, i == 0, one.is_by_option, options_.ssh.accept_new}));
    }
  }

  // What its path goes on with, from the first context to the target itself.
  void add_beneath(Index index) {
    Job& job = jobs_.at(index);
    while (!job.beneath.empty()) {
      const Target& step = *job.beneath.back();
      job.beneath.pop_back();
      if (step.method == Method::kSsh) return ask_about_relay(index, step);
      job.plan.route.push_back(step_of(step));
    }
    job.is_done = true;
    start_more();
  }

  void ask_about_relay(Index index, const Target& target) {
    const SshTarget step{last_name(target), target.user, target.host, target.port};
    SshOptions options = options_.ssh;
    options.jumps.clear();  // they are before the first of the path
    const bool may_tunnel = jumps_to(target, options_.ssh).has_value();
    questions_->ask(step, options,
                    [this, index, step, may_tunnel, hop = target.hop->name](const Answer& answer) {
                      if (!answer || !*defaults_)
                        return fail(index, !answer ? answer.error() : defaults_->error());
                      const BackEndFacts facts = facts_.about(**answer);
                      SshStep relay{step, options_.ssh, **answer, ***defaults_, facts, {}};
                      relay.hop = hop;
                      relay.trusts_hop = options_.trusts_hops;
                      relay.may_tunnel = may_tunnel;
                      jobs_.at(index).plan.route.push_back(ssh_step(relay));
                      add_beneath(index);
                    });
  }

  void fail(Index index, const Error& error) {
    jobs_.at(index).error = error;
    finish(index);
  }

  void finish(Index index) {
    Job& job = jobs_.at(index);
    if (job.error)
      job.beneath.clear();
    else
      for (const Target* at = &target(index); at->hop; at = at->hop.get()) job.beneath.push_back(at);
    add_beneath(index);
  }

  void write_what_is_done() {
    while (!is_over_ && !jobs_.empty() && jobs_.begin()->second.is_done) {
      const Job job = std::move(jobs_.begin()->second);
      jobs_.erase(jobs_.begin());
      tally_.add({job.error ? Verdict::kUnreachable : Verdict::kOk, 0});
      if (job.error) {
        output_.fail(job.plan.target, {job.plan.target}, *job.error, loop_.now() - job.began);
      } else {
        output_.plan(job.plan);
      }
      ++unwritten_;
      output_.when_written([this] {
        --unwritten_;
        start_more();
      });
    }
    if (!is_over_ && jobs_.empty() && unwritten_ == 0 && next_ == options_.targets.targets.size())
      end(tally_.exit_code(options_.targets.one, false));
  }

  void on_stdout_failed(int error) {
    if (is_over_) return;
    if (error != EPIPE)
      output_.notice(cat("banyan: standard output: ", std::string_view(std::strerror(error))));
    end(error == EPIPE ? kExitSignalBase + SIGPIPE : kExitUnreachable);
  }

  void end(int exit_code) {
    is_over_ = true;
    exit_code_ = exit_code;
    output_.when_written([this] { loop_.stop(); });
  }

  const Options& options_;
  EpollLoop loop_;
  Output output_;
  SshAnswers answers_;
  std::unique_ptr<SshQuestions> questions_;
  SshFacts facts_;
  std::optional<Answer> defaults_;
  std::map<Index, Job> jobs_;  // begun, not written
  Fd signals_;
  Loop::WatchId signal_watch_ = 0;
  Index next_ = 0;
  std::size_t unwritten_ = 0;
  Tally tally_;
  bool is_over_ = false;
  int exit_code_ = 0;
};

}  // namespace

int run_plan(const Options& options) {
  return Planner(options).run();
}

}  // namespace banyan::cli
