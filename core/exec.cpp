#include "core/exec.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/ioctl.h>
#include <sys/wait.h>

#include <algorithm>
#include <cstring>
#include <list>

#include "core/guard.h"
#include "core/stream.h"
#include "core/text.h"

namespace banyan {

namespace {

constexpr std::size_t kReadMax = 64 * 1024;  // a turn of one frame
constexpr int kReadsPerTurnMax = 4;          // then other descriptors are served
constexpr int kPipeBytes = 256 * 1024;       // so that a command need not wait for each of our turns
constexpr std::size_t kLargePipesMax =
    64;  // commands with such: the kernel grants a user 64 MiB of pipes in all

std::vector<std::string> command_line(ExecRequest& request) {
  if (!request.shell) return std::move(request.argv);
  std::vector<std::string> argv;
  argv.push_back("/bin/sh");
  argv.push_back("-c");
  for (std::string& argument : request.argv) argv.push_back(std::move(argument));
  return argv;
}

}  // namespace

// One of the two output streams: pipe to window, never more in between than one read.
class ExecService::Output {
 public:
  // `handle` 0: nobody wants it, and there is no pipe.
  Output(ExecService& service, Command& command, ContextId caller, Handle handle);
  ~Output() { close(); }

  // The end for the command to write to, or -1. An Error when there is no pipe to be had.
  Result<Fd> open(bool large);
  // What is in the pipe now is still sent, and then the end, whoever holds the pipe open.
  void command_ended();
  // The end, now.
  void end();
  bool has_ended() const { return ended_; }

 private:
  void pump();
  void want(bool readable);
  void close();

  ExecService& service_;
  Command& command_;
  std::unique_ptr<StreamSender> sender_;
  Fd pipe_;
  Loop::WatchId watch_ = 0;
  bool draining_ = false;
  std::size_t left_ = 0;  // of the pipe, when draining
  bool ended_ = false;
};

class ExecService::Command final : private Guard::Owner {
 public:
  Command(ExecService& service, std::uint64_t id, const Header& call, const ExecRequest& request)
      : service_(service),
        id_(id),
        call_(call),
        events_(request.events),
        timeout_(request.timeout),
        out_(service, *this, call.source, request.out),
        err_(service, *this, call.source, request.err) {}
  ~Command();

  void start(ExecRequest request);
  void terminate(ExecOutcome::Ended why);
  void kill() {
    if (guard_) guard_->kill();
  }
  bool has_processes() const { return guard_ != nullptr; }
  // The caller's end of an output is gone, and with it the caller, unless he only stopped listening.
  void on_output_dead(const Dead& dead) {
    if (dead.reason != DeadReason::kNoHandle) terminate(ExecOutcome::Ended::kCancelled);
  }
  void on_output_end();
  void drop_output() {
    out_.end();
    err_.end();
  }

 private:
  struct Input {
    Buffer bytes;
    std::size_t at = 0;  // written so far
    Charge charge;       // holds the sender back until then
  };

  Result<Done> try_start(ExecRequest request);
  void on_input(Incoming& message);
  void pump_input();
  void close_input();
  void finish(ExecOutcome outcome);

  // Guard::Owner
  void on_started(pid_t pid) override;
  void on_not_started(SpawnStep step, int error) override;
  void on_ended(int status, bool terminated) override;
  void on_gone() override;

  ExecService& service_;
  const std::uint64_t id_;
  const Header call_;
  const Handle events_;
  const Nanos timeout_;
  std::string program_, directory_;  // for error texts; until it has started
  Output out_, err_;
  std::unique_ptr<Guard> guard_;
  Loop::TimerId timer_ = 0;

  Fd input_;
  Handle input_handle_ = 0;
  Loop::WatchId input_watch_ = 0;
  std::list<Input> input_queue_;  // as long as the stream's window lets it be
  bool input_ended_ = false;

  ExecOutcome::Ended ended_by_ = ExecOutcome::Ended::kItself;
  std::unique_ptr<ExecOutcome> outcome_;  // decided; sent once both outputs have ended
  bool replied_ = false;
};

// --- Output ---

ExecService::Output::Output(ExecService& service, Command& command, ContextId caller, Handle handle)
    : service_(service), command_(command), ended_(handle == 0) {
  if (handle == 0) return;
  sender_ = std::make_unique<StreamSender>(service_.router_, caller, handle);
  sender_->on_writable = [this] { pump(); };
  sender_->on_dead = [this](const Dead& dead) {
    end();
    command_.on_output_dead(dead);
  };
}

Result<Fd> ExecService::Output::open(bool large) {
  if (!sender_) return Fd();
  auto made = make_pipe();
  if (!made) return made.error();
  pipe_ = std::move(made->first);
  ::fcntl(pipe_.get(), F_SETFL, O_NONBLOCK);  // ours alone: the command's end is another description
  if (large) ::fcntl(pipe_.get(), F_SETPIPE_SZ, kPipeBytes);
  want(true);
  return std::move(made->second);
}

void ExecService::Output::want(bool readable) {
  if (watch_ == 0 && readable)
    watch_ = service_.loop_.watch(pipe_.get(), {.read = true}, [this](Ready) { pump(); });
  service_.loop_.change(watch_, {.read = readable});
}

void ExecService::Output::pump() {
  for (int turn = 0; turn < kReadsPerTurnMax; ++turn) {
    if (ended_ || !pipe_) return;
    if (draining_ && left_ == 0) return end();
    std::size_t max = std::min(sender_->room(), kReadMax);
    if (draining_) max = std::min(max, left_);
    if (max == 0) return want(false);
    IoResult result;
    const Bytes bytes = service_.read_some(pipe_.get(), max, result);
    if (result.status == IoResult::Status::kWouldBlock && !draining_) break;
    if (result.status != IoResult::Status::kOk) return end();
    if (draining_) left_ -= bytes.size();
    sender_->send(bytes);
  }
  want(true);
}

void ExecService::Output::command_ended() {
  if (ended_ || draining_) return;
  draining_ = true;
  int waiting = 0;
  if (pipe_ && ::ioctl(pipe_.get(), FIONREAD, &waiting) == 0) left_ = std::size_t(waiting);
  if (left_ == 0) return end();
  pump();
}

void ExecService::Output::end() {
  if (ended_) return;
  ended_ = true;
  close();
  sender_->finish();
  command_.on_output_end();
}

void ExecService::Output::close() {
  service_.loop_.unwatch(std::exchange(watch_, 0));
  if (pipe_) service_.loop_.close(pipe_.release());
}

// --- Command ---

ExecService::Command::~Command() {
  service_.loop_.cancel(timer_);
  close_input();
}

void ExecService::Command::start(ExecRequest request) {
  auto started = try_start(std::move(request));
  if (started) return;
  ExecOutcome outcome;
  outcome.kind = ExecOutcome::Kind::kNotStarted;
  outcome.code = started.error().system_error;
  outcome.text = started.error().text;
  finish(std::move(outcome));
}

Result<Done> ExecService::Command::try_start(ExecRequest request) {
  auto out = out_.open(service_.commands_.size() <= kLargePipesMax);
  if (!out) return out.error();
  auto err = err_.open(false);
  if (!err) return err.error();
  Fd in;
  if (request.has_stdin) {
    auto made = make_pipe();
    if (!made) return made.error();
    in = std::move(made->first);
    input_ = std::move(made->second);
    ::fcntl(input_.get(), F_SETFL, O_NONBLOCK);
    input_handle_ = service_.router_.add_handler(Access::only(call_.source),
                                                 [this](Incoming& message) { on_input(message); });
  }
  program_ = request.shell ? "/bin/sh" : request.argv[0];
  directory_ = request.directory;
  SpawnOptions options;
  options.environment = std::move(request.environment);
  options.directory = std::move(request.directory);
  options.new_session = true;
  options.die_with_parent = true;
  const SpawnPlan plan(command_line(request), std::move(options));
  auto guard = Guard::start(service_.loop_, *this, plan, {in.get(), out->get(), err->get()});
  if (!guard) return guard.error();
  guard_ = std::move(*guard);
  return Done{};
}

void ExecService::Command::on_started(pid_t pid) {
  program_.clear();
  directory_.clear();
  if (timeout_ > 0)
    timer_ = service_.loop_.after(timeout_, [this] { terminate(ExecOutcome::Ended::kTimeout); });
  ExecStarted started;
  started.pid = pid;
  started.input = input_handle_;
  if (events_ != 0) service_.router_.send(call_.source, events_, started.encode());
}

void ExecService::Command::on_not_started(SpawnStep step, int error) {
  ExecOutcome outcome;
  outcome.code = error;
  outcome.kind = step != SpawnStep::kExecute           ? ExecOutcome::Kind::kNotStarted
                 : error == ENOENT || error == ENOTDIR ? ExecOutcome::Kind::kNotFound
                                                       : ExecOutcome::Kind::kNotExecutable;
  const std::string what = step == SpawnStep::kDirectory ? cat("directory ", directory_) : program_;
  outcome.text = cat(what, ": ", std::string_view(std::strerror(error)));
  finish(std::move(outcome));
}

void ExecService::Command::on_ended(int status, bool terminated) {
  ExecOutcome outcome;
  if (terminated) outcome.ended = ended_by_;
  if (status == kStatusUnknown) {
    outcome.kind = ExecOutcome::Kind::kSignalled;
    outcome.signal = SIGKILL;
    outcome.text = "it could not be ended: it runs as another user, or hangs in the kernel";
  } else if (WIFSIGNALED(status)) {
    outcome.kind = ExecOutcome::Kind::kSignalled;
    outcome.signal = WTERMSIG(status);
  } else {
    outcome.code = WEXITSTATUS(status);
  }
  finish(std::move(outcome));
}

void ExecService::Command::on_gone() {
  guard_.reset();
  if (service_.ending_) drop_output();
  if (replied_) service_.remove_soon(id_);
}

void ExecService::Command::finish(ExecOutcome outcome) {
  service_.loop_.cancel(std::exchange(timer_, 0));
  close_input();
  outcome_ = std::make_unique<ExecOutcome>(std::move(outcome));
  out_.command_ended();
  err_.command_ended();
  on_output_end();
}

void ExecService::Command::on_output_end() {
  if (!outcome_ || replied_ || !out_.has_ended() || !err_.has_ended()) return;
  replied_ = true;
  service_.router_.reply(call_, outcome_->encode());
  if (!guard_) service_.remove_soon(id_);
}

void ExecService::Command::terminate(ExecOutcome::Ended why) {
  if (outcome_ || !guard_ || ended_by_ != ExecOutcome::Ended::kItself) return;
  ended_by_ = why;
  guard_->terminate();
}

void ExecService::Command::on_input(Incoming& message) {
  // Cut short it must not pass for the whole: then the command does not see an ordinary end.
  if (message.header.has(kAborted)) return terminate(ExecOutcome::Ended::kCancelled);
  if (message.payload.empty()) {
    input_ended_ = true;
  } else if (!input_ended_) {
    input_queue_.push_back(
        {Buffer(message.payload.begin(), message.payload.end()), 0, std::move(message.charge)});
  }
  pump_input();
}

void ExecService::Command::pump_input() {
  while (!input_queue_.empty()) {
    Input& input = input_queue_.front();
    const iovec part = {input.bytes.data() + input.at, input.bytes.size() - input.at};
    const IoResult result = service_.loop_.write(input_.get(), &part, 1);
    if (result.status == IoResult::Status::kWouldBlock) {
      if (input_watch_ == 0)
        input_watch_ = service_.loop_.watch(input_.get(), {.write = true}, [this](Ready) { pump_input(); });
      service_.loop_.change(input_watch_, {.write = true});
      return;
    }
    if (result.status != IoResult::Status::kOk) return close_input();  // nobody reads any more
    input.at += result.bytes;
    if (input.at == input.bytes.size()) input_queue_.pop_front();
  }
  service_.loop_.change(input_watch_, {});
  if (input_ended_) close_input();
}

// Whoever still sends is told that nobody listens.
void ExecService::Command::close_input() {
  if (input_handle_ != 0) service_.router_.remove_handler(std::exchange(input_handle_, 0));
  service_.loop_.unwatch(std::exchange(input_watch_, 0));
  if (input_) service_.loop_.close(input_.release());
  input_queue_.clear();
}

// --- ExecService ---

ExecService::ExecService(Loop& loop, Router& router, std::size_t commands_max)
    : loop_(loop), router_(router), commands_max_(commands_max) {
  router_.add_handler(kExec, Access::ancestors(), [this](Incoming& request) { on_request(request); });
}

ExecService::~ExecService() {
  *alive_ = false;
  router_.remove_handler(kExec);
  for (auto& [id, command] : commands_) command->kill();  // all at once; each then waits for its own
}

void ExecService::on_request(Incoming& request) {
  if (ending_)
    return router_.reply_dead(request.header, DeadReason::kEnding, "this context is shutting down");
  if (commands_.size() >= commands_max_)
    return router_.reply_dead(request.header, DeadReason::kBusy,
                              cat(commands_max_, " commands run here already"));
  auto decoded = ExecRequest::decode(request.payload);
  if (!decoded) return router_.reply_dead(request.header, DeadReason::kRefused, decoded.error().text);
  const std::uint64_t id = next_++;
  auto& command = commands_[id];
  command = std::make_unique<Command>(*this, id, request.header, *decoded);
  router_.on_cancel(request.header, [this, alive = alive_, id] {
    const auto found = commands_.find(id);
    if (*alive && found != commands_.end()) found->second->terminate(ExecOutcome::Ended::kCancelled);
  });
  command->start(std::move(*decoded));
}

Bytes ExecService::read_some(int fd, std::size_t max, IoResult& result) {
  read_buffer_.resize(kReadMax);
  result = loop_.read(fd, read_buffer_.data(), max);
  return Bytes(read_buffer_).first(result.status == IoResult::Status::kOk ? result.bytes : 0);
}

// Not at once: the command is in the middle of a callback.
void ExecService::remove_soon(std::uint64_t command) {
  loop_.post([this, alive = alive_, command] {
    if (!*alive) return;
    commands_.erase(command);
    if (!commands_.empty()) return;
    read_buffer_ = Buffer();
    if (on_idle_) std::exchange(on_idle_, nullptr)();
  });
}

void ExecService::shut_down(Function<void()> done) {
  ending_ = true;
  on_idle_ = std::move(done);
  for (auto& [id, command] : commands_) {
    if (command->has_processes()) {
      command->terminate(ExecOutcome::Ended::kEnding);
    } else {
      command->drop_output();  // only waits for its reader
    }
  }
  loop_.post([this, alive = alive_] {
    if (*alive && commands_.empty() && on_idle_) std::exchange(on_idle_, nullptr)();
  });
}

}  // namespace banyan
