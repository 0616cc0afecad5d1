#include "cli/fan_out.h"

#include <algorithm>
#include <utility>

#include "core/text.h"

namespace banyan::cli {
namespace {

constexpr Nanos kFarewell = 2 * kSecond;        // for a context to end its processes and itself
constexpr Nanos kExplanationMax = 3 * kSecond;  // after it was lost, until we know why
constexpr Nanos kGrace = 3 * kSecond;           // for what was cancelled to say that it has ended
constexpr Nanos kLastMoment = 2 * kSecond;  // a reader who takes nothing so long, once we were told to end
constexpr std::size_t kNamesShown = 20;     // of those still running

}  // namespace

Error make_error(ErrorClass error_class, Phase phase, std::string text, Started started) {
  Error error;
  error.error_class = error_class;
  error.phase = phase;
  error.text = std::move(text);
  error.started = started;
  return error;
}

std::string in_seconds(Nanos time) {
  const Nanos tenths = time / (100 * kMillisecond);
  return cat(tenths / 10, ".", tenths % 10, "s");
}

FanOut::FanOut(const Machinery& machinery, OnOver on_over)
    : loop_(machinery.loop),
      router_(machinery.router),
      runner_(machinery.runner),
      routes_(machinery.routes),
      output_(machinery.output),
      options_(machinery.options),
      on_over_(std::move(on_over)),
      reach_(loop_, runner_, machinery.connectors, machinery.secrets, machinery.askpass, machinery.becoming,
             machinery.cache, options_.ssh, options_.back_end,
             std::min(options_.targets.targets.size(), options_.fan_out), [this] { start_more(); }),
      paths_(loop_, router_, runner_, reach_, machinery.becoming,
             {machinery.connectors, machinery.secrets, machinery.cache, reach_.questions(), reach_.facts(),
              options_.ssh, has_connector(), options_.trusts_hops,
              [this](const std::string& line) { output_.notice(line); }}),
      jobs_(options_.targets.targets.size()) {
  reach_.on_accepted(
      [this](const std::string& name, const std::string& line) { output_.notice(cat(name, ": ", line)); });
  for (Index i = 0; i < jobs_.size(); ++i) jobs_[i].target = &options_.targets.targets[i];
  paths_.expect(options_.targets.targets);
  machinery.becoming.expect(options_.targets.targets);
}

FanOut::~FanOut() {
  loop_.cancel(grace_);
  for (const Job& job : jobs_) loop_.cancel(job.unexplained);
}

std::string FanOut::name_of(ContextId context) const {
  for (const Job& job : jobs_) {
    if (job.context == context && context != 0) return shown_name(*job.target);
  }
  const std::string hop = paths_.name_of(context);
  return hop.empty() ? cat("context ", context) : hop;
}

void FanOut::begin() {
  began_ = loop_.now();
  start_more();
}

void FanOut::start_more() {
  while (!ready_.empty() && working_ < options_.fan_out) {
    const auto [index, child] = std::move(ready_.front());
    ready_.pop_front();
    begin_work(index, child);
  }
  while (!ending_ && next_ < jobs_.size() && active_ < options_.fan_out + options_.idle_max &&
         (active_ < options_.fan_out || active_ < options_.fan_out + paths_.idle())) {
    const Index index = next_++;
    Job& job = jobs_[index];
    ++active_;
    job.state = State::kReaching;
    job.began = loop_.now();
    job.way = paths_.start(
        *job.target, [this, index](const Result<Child>& child) { on_up(index, child); },
        [this, &job](ContextId, const Error& error) {
          job.lost = error;
          loop_.cancel(std::exchange(job.unexplained, 0));
          if (job.on_explained) std::exchange(job.on_explained, nullptr)();
        },
        record(index));
  }
  if (active_ == 0 && next_ == jobs_.size()) finish();
}

void FanOut::on_up(Index index, const Result<Child>& child) {
  Job& job = jobs_[index];
  if (!child) {
    const bool cancelled = child.error().error_class == ErrorClass::kCancelled;
    return fail(index, child.error(), cancelled ? Verdict::kCancelled : Verdict::kUnreachable, job.began);
  }
  for (const std::string& line : accepted_host_keys(child->said))
    output_.notice(cat(shown_name(*job.target), ": ", line));
  job.context = child->id;
  if (ending_) {
    return fail(index, make_error(ErrorClass::kCancelled, Phase::kHello, "cancelled", Started::kNo),
                Verdict::kCancelled, job.began);
  }
  if (working_ < options_.fan_out) return begin_work(index, *child);
  job.state = State::kReady;
  ready_.emplace_back(index, *child);
}

void FanOut::begin_work(Index index, const Child& child) {
  Job& job = jobs_[index];
  job.state = State::kWorking;
  ++working_;
  job.work_began = loop_.now();
  if (options_.verbosity > 0) {
    output_.notice(cat(shown_name(*job.target), ": context ", child.id, " up after ", in_seconds(child.took),
                       ": ", child.hello.architecture, ", ", child.hello.kernel, ", pid ", child.hello.pid,
                       ", ", child.bytes_sent, " bytes sent"));
  }
  start_work(index, child);
}

void FanOut::when_explained(Index index, std::function<void()> then) {
  Job& job = jobs_[index];
  if (job.lost || router_.link_to(job.context) != nullptr) return then();
  job.on_explained = std::move(then);
  // Of one beneath a hop the hop tells us; should it not, that is known of it.
  job.unexplained = loop_.after(kExplanationMax, [&job] {
    job.unexplained = 0;
    if (job.on_explained) std::exchange(job.on_explained, nullptr)();
  });
}

void FanOut::fail(Index index, const Error& error, Verdict verdict, Nanos since) {
  end_work(index);
  say_failure(index, error, loop_.now() - since);
  conclude(index, {verdict, 0});
}

void FanOut::say_failure(Index index, const Error& error, Nanos took) {
  output_.fail(shown_name(*jobs_[index].target), route(index), error, took);
}

std::vector<std::string> FanOut::route(Index index) const {
  const Target& target = *jobs_[index].target;
  std::vector<std::string> names = paths_.jumps_of(jobs_[index].way);
  std::string_view path = target.name;
  for (std::size_t end; (end = path.find('/')) != path.npos; path.remove_prefix(end + 1))
    names.emplace_back(path.substr(0, end));
  names.emplace_back(path);
  return names;
}

void FanOut::conclude(Index index, const Ending& ending) {
  Job& job = jobs_[index];
  ASSERT(job.state == State::kReaching || job.state == State::kReady || job.state == State::kWorking);
  if (job.state != State::kWorking) ++working_;
  job.state = State::kLeaving;
  end_work(index);
  add_ending(ending);
  // When all end, the first context of the path takes what is beneath it along: sooner than one after the
  // other, and whoever is in between may not answer.
  if (ending_ && job.target->hop) return loop_.post([this, index] { leave(index); });
  paths_.leave(job.way, kFarewell, [this, index] { leave(index); });
}

void FanOut::add_ending(const Ending& ending) {
  tally_.add(ending);
  if (++concluded_ == jobs_.size()) output_.all_ended();
}

void FanOut::leave(Index index) {
  if (std::exchange(jobs_[index].state, State::kOver) == State::kOver) return;
  --active_;
  --working_;
  on_over(index);
  start_more();
}

void FanOut::interrupt() {
  if (std::exchange(interrupted_, true)) return end_all(kExitInterrupted);
  std::string line;
  std::size_t running = 0, waiting = jobs_.size() - next_ + ready_.size();
  for (const Job& job : jobs_) {
    const bool working = job.state == State::kWorking;
    if (job.state == State::kReaching && paths_.is_waiting(job.way)) {
      ++waiting;
      continue;
    }
    if ((job.state != State::kReaching && !working) || ++running > kNamesShown) continue;
    const Phase phase = working ? Phase::kCommand : paths_.phase_of(job.way);
    line += cat(line.empty() ? "" : ", ", shown_name(*job.target), " (", banyan::name_of(phase), " ",
                in_seconds(loop_.now() - (working ? job.work_began : job.began)), ")");
  }
  if (running > kNamesShown) line += cat(" and ", running - kNamesShown, " more");
  if (waiting > 0) line += cat("; ", waiting, " waiting");
  output_.notice(cat("still running: ", line.empty() ? "none" : line,
                     "; once more to end them, a third time to leave them"));
}

void FanOut::end_all(int exit_code) {
  if (ending_) return;
  ending_ = exit_code;
  // Output that nobody takes must not hold up the end of those who write it.
  output_.discard();
  if (finishing_) return give_up_waiting();  // only the reader of our output is waited for
  for (; next_ < jobs_.size(); ++next_) {
    Job& job = jobs_[next_];
    job.state = State::kOver;
    if (output_.style().json) {
      output_.fail(
          shown_name(*job.target), {shown_name(*job.target)},
          make_error(ErrorClass::kCancelled, Phase::kResolve, "cancelled before it began", Started::kNo), 0);
    }
    add_ending({Verdict::kCancelled, 0});
  }
  for (Index i = 0; i < jobs_.size(); ++i) {
    if (jobs_[i].state == State::kReaching) paths_.cancel(jobs_[i].way);
    if (jobs_[i].state == State::kWorking) cancel_work(i);
    if (jobs_[i].state == State::kReady)
      fail(i, make_error(ErrorClass::kCancelled, Phase::kCommand, "cancelled", Started::kNo),
           Verdict::kCancelled, jobs_[i].began);
  }
  ready_.clear();
  grace_ = loop_.after(kGrace, [this] {
    for (Index i = 0; i < jobs_.size(); ++i) {
      if (jobs_[i].state == State::kWorking) give_up_work(i);
    }
  });
  if (active_ == 0) finish();
}

void FanOut::finish() {
  if (std::exchange(finishing_, true)) return;
  loop_.cancel(grace_);
  reach_.save();
  last_report();
  runner_.shut_down_all(router_.end_deadline(), [this] {
    const int code = tally_.exit_code(options_.targets.one, options_.maximum);
    sum_up(ending_.value_or(code));
    output_.when_written([this, code] {
      if (on_over_) std::exchange(on_over_, nullptr)(ending_.value_or(code));
    });
    if (ending_) give_up_waiting();
  });
}

void FanOut::last_report() {
  if (!std::exchange(reported_, true)) report();
}

void FanOut::sum_up(int exit_code) {
  if (std::exchange(summed_up_, true)) return;
  output_.summary(tally_.counts(), loop_.now() - began_, exit_code);
}

void FanOut::abandon(int exit_code) {
  for (Index i = 0; i < jobs_.size(); ++i) {
    const Job& job = jobs_[i];
    const bool working = job.state == State::kWorking;
    const bool reaching = job.state == State::kReaching;
    if (!reaching && !working && job.state != State::kReady) continue;
    end_work(i);  // what it has said, and was held back, goes before
    output_.fail(shown_name(*job.target), route(i),
                 make_error(ErrorClass::kCancelled, reaching ? paths_.phase_of(job.way) : Phase::kCommand,
                            "left without waiting for its end", working ? Started::kUnknown : Started::kNo),
                 loop_.now() - (working ? job.work_began : job.began));
    add_ending({Verdict::kCancelled, 0});
  }
  last_report();
  sum_up(exit_code);
}

ProgressCounts FanOut::progress() const {
  ProgressCounts counts;
  counts.total = jobs_.size();
  counts.over = concluded_;
  const Counts& ended = tally_.counts();
  counts.failed = ended.failed + ended.timeout + ended.unreachable + ended.cancelled;
  for (Index i = 0; i < next_; ++i) {
    if (jobs_[i].state == State::kWorking) ++counts.running;
    if (jobs_[i].state == State::kReaching && !paths_.is_waiting(jobs_[i].way))
      ++counts.reaching[std::size_t(paths_.phase_of(jobs_[i].way))];
  }
  return counts;
}

void FanOut::give_up_waiting() {
  grace_ = loop_.after(kLastMoment, [this, before = output_.written()] {
    if (output_.written() != before) return give_up_waiting();
    if (on_over_) std::exchange(on_over_, nullptr)(*ending_);
  });
}

}  // namespace banyan::cli
