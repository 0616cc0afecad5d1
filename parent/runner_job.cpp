#include "parent/runner_job.h"

#include <sys/wait.h>

#include "core/msgpack.h"
#include "core/text.h"
#include "parent/adoption.h"
#include "parent/process_carrier.h"

namespace banyan {

namespace {

constexpr std::size_t kComplaintsMax = 8 * 1024;  // of a transport's stderr: its last words are what matters
// How long a transport whose channel has ended may take to end by itself: ssh still has to say why.
constexpr Nanos kLastWords = kSecond;
constexpr Nanos kPartingMax =
    2 * kSecond;  // from the answer that it may leave until it has: twice its own limit

constexpr std::string_view kOutOfMemory = "look for the out-of-memory killer in the log of that machine";

Error cancelled(Phase phase) {
  return Error{ErrorClass::kCancelled, phase, "cancelled", {}};
}

}  // namespace

// The last line that says something.
std::string_view last_line(std::string_view text) {
  while (!text.empty()) {
    const std::size_t end = text.find_last_not_of("\r\n \t");
    if (end == std::string_view::npos) return {};
    text = text.substr(0, end + 1);
    const std::size_t begin = text.find_last_of('\n');
    return begin == std::string_view::npos ? text : text.substr(begin + 1);
  }
  return {};
}

Runner::Job::Job(Runner& runner, StartId id, Recipe recipe, OnUp on_up, OnLost on_lost)
    : runner_(runner),
      id_(id),
      recipe_(std::move(recipe)),
      began_(runner.loop_.now()),
      on_up_(std::move(on_up)),
      on_lost_(std::move(on_lost)) {
  child_.name = recipe_.name;
  child_.method = recipe_.method;
}

Runner::Job::~Job() {
  *alive_ = false;
  if (lives_on() && carrier_) carrier_->let_go();
  for (const Loop::TimerId timer : {phase_timer_, total_timer_, end_timer_}) runner_.loop_.cancel(timer);
  Job::close_channel();
}

// --- reaching it ---

void Runner::Job::begin() {
  if (open_channel()) make_link({});
}

bool Runner::Job::open_channel() {
  Result<FdPair> channel = make_socketpair();
  Result<std::unique_ptr<Carrier>> carrier =
      channel ? start_carrier(std::move(channel->second)) : channel.error();
  if (!carrier) {
    failure_ = carrier.error();
    carrier_over_ = true;
    settle();
    return false;
  }
  carrier_ = std::move(*carrier);
  channel_ = std::move(channel->first);
  link_over_ = false;
  if (recipe_.deadlines.total > 0) limit_total(recipe_.deadlines.total);
  return true;
}

Result<std::unique_ptr<Carrier>> Runner::Job::start_carrier(Fd far_end) {
  ASSERT(recipe_.boot == Recipe::Boot::kImage);
  const Result<int> image = runner_.images_.local_image(recipe_.kind);
  if (!image) return image.error();
  const SpawnPlan plan(*image, {"banyan-agent", hex64(recipe_.nonce)},
                       ProcessCarrier::options(recipe_.environment));
  return ProcessCarrier::start(runner_.loop_, plan, "the agent", std::move(far_end), *this);
}

void Runner::Job::limit_total(Nanos left) {
  total_ends_ = runner_.loop_.now() + left;
  total_timer_ = runner_.loop_.after(left, [this] {
    if (!is_up()) fail(Error{ErrorClass::kTimeout, phase_, "not up within the time allowed", {}});
  });
}

void Runner::Job::enter(Phase phase, Nanos deadline) {
  phase_ = phase;
  note_phase(phase);
  phase_deadline_ = deadline;
  runner_.loop_.cancel(phase_timer_);
  if (asks_) return;
  phase_timer_ = runner_.loop_.after(deadline, [this, deadline] {
    fail(
        Error{ErrorClass::kTimeout, phase_, cat("nothing came of it within ", deadline / kSecond, " s"), {}});
  });
}

// --- greeting ---

void Runner::Job::make_link(Bytes early) {
  enter(Phase::kHello, recipe_.deadlines.hello);
  const int fd = channel_.release();
  greeting_ = std::make_unique<Link>(runner_.loop_, LinkFds{fd, fd}, static_cast<Link::Owner&>(*this),
                                     runner_.limits_, runner_.router_.window_budget(), false);
  if (runner_.frame_watcher_)
    greeting_->watch_frames([watcher = runner_.frame_watcher_, name = recipe_.name](
                                bool outgoing, const Header& header) { (*watcher)(name, outgoing, header); });
  greeting_->take_early_bytes(early);
}

void Runner::Job::on_frame(Link&, const Header& header, Bytes payload) {
  if (failure_ || has_said_hello_) return;
  if (!header.has(kControl) || header.handle != kHello)
    return fail(Error{ErrorClass::kProtocol, Phase::kHello, "its first frame was not a hello", {}});
  const Result<Hello> hello = Hello::decode(payload);
  if (!hello) return fail(hello.error());
  if (hello->nonce != recipe_.nonce)
    return fail(Error{ErrorClass::kProtocol, Phase::kHello, "it is not the process that was started", {}});
  if (!may_have_children(runner_.router_))
    return fail(
        Error{ErrorClass::kResource, Phase::kHello, cat("a tree ends at ", kAncestorsMax, " levels"), {}});
  has_said_hello_ = true;
  child_.hello = *hello;
  // One for it, the rest for its children. They may have to come from further up.
  runner_.ids_.take_for_child([this, alive = alive_](const IdRange* ids, const Dead& dead) {
    if (!*alive || failure_ || !greeting_ || !greeting_->is_open()) return;
    if (ids != nullptr) return welcome(*ids);
    fail(Error{ErrorClass::kResource, Phase::kHello, cat("no id for it: ", dead.text), {}});
  });
}

void Runner::Job::welcome(IdRange ids) {
  runner_.loop_.cancel(phase_timer_);
  runner_.loop_.cancel(total_timer_);
  child_.id = ids.first;
  child_.took = runner_.loop_.now() - began_;
  carrier_->read_text();
  phase_ = Phase::kLink;
  note_phase(phase_);
  // Banner and start-up noise, and not why it ends one day: what comes from now on may tell that.
  child_.said = std::exchange(complaints_, {});
  Identity identity;
  identity.name = recipe_.name.substr(0, kNameMax);
  identity.log_level = runner_.log_level_;
  identity.limits = runner_.limits_;
  adopt(runner_.router_, runner_.routes_, std::move(greeting_), ids, identity, false,
        [this, alive = alive_](const Error& error) {
          if (*alive) on_link_down(error);
        });
  // From the loop: we are in the middle of the link's own reading.
  runner_.loop_.post([this, alive = alive_] {
    if (*alive && on_up_) std::exchange(on_up_, nullptr)(child_);
  });
}

// --- what goes wrong ---

void Runner::Job::on_down(Link&, const Error& error, FrameQueue) {
  link_over_ = true;
  if (failure_) return settle();
  Error ended = error;
  ended.phase = Phase::kHello;
  if (ended.error_class == ErrorClass::kLost) {
    ended.error_class = ErrorClass::kBootstrap;
    ended.text = "the agent ended before it said hello";
  }
  transport_ended(std::move(ended));
}

// For a fault of ours to report while the transport still runs: it is ended, reaped, then the asker is told.
void Runner::Job::fail(Error error) {
  if (!failure_ && !is_up()) failure_ = std::move(error);
  runner_.loop_.cancel(phase_timer_);
  close_channel();
  if (carrier_ && !carrier_over_) carrier_->end();
  settle();
}

// The far end closed first: the transport is about to say why on its stderr, and to end.
void Runner::Job::transport_ended(Error error) {
  if (!failure_) failure_ = std::move(error);
  runner_.loop_.cancel(phase_timer_);
  close_channel();
  if (carrier_over_) return settle();
  end_after(kLastWords, [this] { carrier_->end(); });
}

void Runner::Job::end_after(Nanos delay, Loop::Task task) {
  runner_.loop_.cancel(end_timer_);
  end_timer_ = runner_.loop_.after(delay, std::move(task));
}

void Runner::Job::close_channel() {
  if (channel_) {
    runner_.loop_.close(channel_.release());
    link_over_ = true;
  }
  if (greeting_) {
    greeting_->close();
    link_over_ = true;
  }
}

void Runner::Job::on_carrier_text(std::string_view text) {
  complaints_.append(text);
  if (complaints_.size() > 2 * kComplaintsMax) complaints_.erase(0, complaints_.size() - kComplaintsMax);
}

Error Runner::Job::explained(Error error) const {
  const std::string_view last = last_line(complaints_);
  if (!last.empty() && error.error_class != ErrorClass::kCancelled)
    error.text = cat(error.text, "; last words: ", last);
  return error;
}

Error Runner::Job::cause_of_loss() const {
  if (loss_->error_class != ErrorClass::kLost || ended_by_us_) return explained(*loss_);
  return cause_of_death();
}

Error Runner::Job::cause_of_death() const {
  Error error = *loss_;
  const int status = ending_of_carrier_.status;
  if (WIFEXITED(status) && WEXITSTATUS(status) == 0) {  // ssh passes the agent's code on
    error.text = "the agent ended by itself: it had heard nothing of us for too long";
    error.remedy = "a program that is stopped (Ctrl-Z) or a machine that sleeps loses its contexts";
    return error;
  }
  error.error_class = ErrorClass::kDead;
  if (recipe_.boot != Recipe::Boot::kImage) {
    error.text = "the agent over there ended";  // ssh has no word for how
    error.remedy = kOutOfMemory;
  } else if (WIFSIGNALED(status)) {
    error.text = cat("the agent was killed by signal ", WTERMSIG(status));
    if (WTERMSIG(status) == SIGKILL) error.remedy = kOutOfMemory;
  } else {
    error.text = cat("the agent ended with exit code ", WEXITSTATUS(status));
  }
  return explained(std::move(error));
}

// What it said last may still lie in the channel; the end of that comes by itself, unless a stranger holds
// the other end.
void Runner::Job::on_carrier_end(const Carrier::Ending& ending) {
  carrier_over_ = true;
  ending_of_carrier_ = ending;
  runner_.loop_.cancel(end_timer_);
  if (!link_over_)
    end_after(kLastWords, [this] {
      Error ended{ErrorClass::kLost, phase_, "its process ended", {}};
      if (is_up()) return runner_.router_.drop_child(child_.id, ended);
      ended.error_class = ErrorClass::kBootstrap;
      fail(std::move(ended));
    });
  settle();
}

// --- the end ---

// The reason is told when the process has been reaped: how it ended is part of it.
void Runner::Job::on_link_down(const Error& error) {
  if (error.detached) {  // it asks to be let go; one that was told to end does that, whatever it asks
    if (ending_ || is_let_go_) return;
    is_let_go_ = true;
    return end_after(kPartingMax, [this] {
      is_let_go_ = false;
      runner_.router_.drop_child(
          child_.id, Error{ErrorClass::kTimeout, Phase::kLink, "it asked to detach, and stayed", {}});
    });
  }
  link_over_ = true;
  // Who breaks a rule, or is dropped, is not let go.
  is_let_go_ = is_let_go_ && error.error_class == ErrorClass::kLost;
  if (is_let_go_) runner_.loop_.cancel(end_timer_);
  if (lives_on()) carrier_->let_go();
  if (!ending_) {
    loss_ = error;
    loss_->detached = is_let_go_;
  }
  if (!carrier_over_ && !lives_on())
    end_after(kLastWords, [this] {
      ended_by_us_ = true;
      carrier_->end();
    });
  settle();
}

void Runner::Job::cancel() {
  if (!is_up() && !failure_) fail(cancelled(phase_));
}

void Runner::Job::shut_down(Nanos within, Function<void()> done) {
  if (done) waiters_.push_back(std::move(done));
  if (!is_up()) return cancel();
  if (std::exchange(ending_, true) || link_over_ || is_let_go_) return;
  runner_.router_.send_control(child_.id, kShutdown,
                               Packer().array(1).number(std::uint64_t(within / kMillisecond)).buffer());
  if (!carrier_over_) carrier_->wake();  // one that is stopped hears nothing
  end_after(within, [this] {
    runner_.router_.drop_child(child_.id,
                               Error{ErrorClass::kTimeout, Phase::kLink, "it did not end when told to", {}});
    if (carrier_over_) return;
    if (recipe_.boot == Recipe::Boot::kImage) return carrier_->kill();
    carrier_->end();
  });
}

void Runner::Job::settle() {
  if (!is_over()) return;
  if (failure_ && on_up_) {
    runner_.loop_.post(
        [on_up = std::exchange(on_up_, nullptr), error = explained(*failure_)] { on_up(error); });
  }
  runner_.reaped(id_);
}

Function<void()> Runner::Job::take_loss() {
  if (!loss_ || !on_lost_) return {};
  return [on_lost = std::move(on_lost_), id = child_.id, why = cause_of_loss()] { on_lost(id, why); };
}

}  // namespace banyan
