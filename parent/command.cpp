#include "parent/command.h"

#include "core/assert.h"
#include "core/text.h"

namespace banyan {

Error error_of(const Dead& dead, Phase phase, bool begun) {
  Error error;
  error.phase = phase;
  error.text = dead.text;
  error.context = dead.from;
  switch (dead.reason) {
    case DeadReason::kGone:
      error.error_class = ErrorClass::kLost;
      error.started = Started::kUnknown;  // the request may have been on its way, or the answer
      break;
    case DeadReason::kEnding:
      error.error_class = ErrorClass::kDead;
      error.started = Started::kUnknown;
      break;
    case DeadReason::kRefused:
    case DeadReason::kPolicy:
    case DeadReason::kTooLarge:
      error.error_class = ErrorClass::kRefused;
      break;
    case DeadReason::kCancelled:
      error.error_class = ErrorClass::kCancelled;
      break;
    case DeadReason::kBusy:
    case DeadReason::kQuota:
      error.error_class = ErrorClass::kResource;
      break;
    case DeadReason::kNoRoute:
    case DeadReason::kNoHandle:
      error.error_class = ErrorClass::kDead;
      break;
  }
  if (begun) error.started = Started::kYes;
  return error;
}

Command::Command(Router& router, ContextId where, ExecRequest request, Callbacks callbacks)
    : router_(router), where_(where), callbacks_(std::make_shared<Callbacks>(std::move(callbacks))) {
  const Access access = Access::only(where_);
  events_ = router_.add_handler(access, [this](Incoming& message) { on_started(message); });
  out_ = router_.add_handler(access, [this](Incoming& message) { on_output(false, message); });
  err_ = router_.add_handler(access, [this](Incoming& message) { on_output(true, message); });
  request.events = events_;
  request.out = out_;
  request.err = err_;
  call_ = router_.call(where_, kExec, request.encode(), [this](const Reply& reply) { on_reply(reply); });
}

Command::~Command() {
  remove_handlers();
  if (call_ != 0) router_.abandon(call_);
}

void Command::remove_handlers() {
  for (Handle* handle : {&events_, &out_, &err_})
    if (*handle != 0) router_.remove_handler(std::exchange(*handle, 0));
}

// In what follows a callback may destroy us: nothing of ours is touched after it.

void Command::on_started(Incoming& message) {
  auto started = ExecStarted::decode(message.payload);
  if (started_ || !started) return;
  started_ = true;
  const std::weak_ptr<Callbacks> alive = callbacks_;
  if (started->input != 0 && !outcome_) {
    input_ = std::make_unique<StreamSender>(router_, where_, started->input);
    input_->on_writable = [this] { on_input_room(); };
    input_->on_dead = [this](const Dead&) {
      const auto callbacks = callbacks_;
      if (callbacks->on_input_closed) callbacks->on_input_closed();
    };
    if (input_finished_) input_->finish();
  }
  {
    const auto callbacks = callbacks_;
    if (callbacks->on_started) callbacks->on_started(*started);
  }
  if (!alive.expired() && input_room() > 0) on_input_room();
}

void Command::on_input_room() {
  const auto callbacks = callbacks_;
  if (callbacks->on_input_room) callbacks->on_input_room();
}

void Command::on_output(bool is_err, Incoming& message) {
  bool& ended = is_err ? err_ended_ : out_ended_;
  if (ended) return;
  if (message.header.has(kAborted)) {
    Error error;
    error.error_class = ErrorClass::kLost;
    error.phase = Phase::kCommand;
    error.text = "the output of the command was cut off";
    error.started = Started::kYes;
    error.context = where_;
    return finish(std::move(error));
  }
  if (message.payload.empty()) {
    ended = true;
    return finish_if_complete();
  }
  // Bytes come in single frames, whose windows hold the sender back. A message put together here would be
  // charged only when all of it has come.
  if (message.payload.size() > kFramePayloadMax) {
    Error error;
    error.error_class = ErrorClass::kProtocol;
    error.phase = Phase::kCommand;
    error.text = cat("output in a message of ", message.payload.size(), " bytes");
    error.started = Started::kUnknown;
    error.context = where_;
    return finish(std::move(error));
  }
  const auto callbacks = callbacks_;
  if (callbacks->on_output) callbacks->on_output(is_err, message.payload, std::move(message.charge));
}

void Command::on_reply(const Reply& reply) {
  call_ = 0;
  if (reply.dead != nullptr) return finish(error_of(*reply.dead, Phase::kCommand, started_));
  auto outcome = ExecOutcome::decode(reply.payload);
  if (!outcome) return finish(outcome.error());
  outcome_ = std::make_unique<ExecOutcome>(std::move(*outcome));
  finish_if_complete();
}

void Command::finish_if_complete() {
  if (outcome_ && out_ended_ && err_ended_) finish(std::move(*outcome_));
}

void Command::finish(Result<ExecOutcome> result) {
  remove_handlers();
  input_.reset();
  if (call_ != 0) router_.abandon(std::exchange(call_, 0));
  const auto callbacks = std::exchange(callbacks_, nullptr);
  if (callbacks->on_done) callbacks->on_done(std::move(result));
}

std::size_t Command::input_room() {
  return input_ && !input_finished_ ? input_->room() : 0;
}

void Command::write_input(Bytes bytes) {
  ASSERT(input_ && !input_finished_);
  input_->send(bytes);
}

void Command::finish_input() {
  if (std::exchange(input_finished_, true)) return;
  if (input_) input_->finish();
}

void Command::cancel() {
  if (call_ != 0) router_.cancel(call_);
}

}  // namespace banyan
