// parent/command.h -- running a command in another context: the caller's side of core/exec.h.
//
// A Command asks once and is told once: on_done comes after the outcome and the end of both outputs, whatever
// breaks. Output is handed over with its Charge: keep that as long as you keep the bytes, and the command
// waits for you. Destroying a Command that is not done ends it over there.
//
// Thread: the loop's. The router outlives it. The callbacks come from the loop; each may destroy the Command.
#pragma once

#include <memory>

#include "core/exec.h"
#include "core/stream.h"

namespace banyan {

class Command {
 public:
  struct Callbacks {
    Function<void(const ExecStarted&)> on_started;  // at most once
    Function<void(bool is_err, Bytes, Charge)> on_output;
    // input_room() has become positive after it said 0, and the first time after on_started.
    Function<void()> on_input_room;
    // Standard input is not read any more: what is written from here on is thrown away. At most once.
    Function<void()> on_input_closed;
    Function<void(Result<ExecOutcome>)> on_done;  // exactly once, and the last
  };

  // Sends the request; its handles are filled in here.
  Command(Router& router, ContextId where, ExecRequest request, Callbacks callbacks);
  Command(const Command&) = delete;
  Command& operator=(const Command&) = delete;
  ~Command();

  // Bytes that write_input() takes now; 0 before the command has started, and after it closed its input.
  std::size_t input_room();
  // REQUIRES: 0 < bytes.size() <= input_room(), request.has_stdin.
  void write_input(Bytes bytes);
  // End of file. May come before the command has started.
  void finish_input();

  // Asks for its end: SIGTERM, and SIGKILL a second later. on_done still comes, when nothing is left of it.
  void cancel();

 private:
  void on_output(bool is_err, Incoming& message);
  void on_started(Incoming& message);
  void on_reply(const Reply& reply);
  void on_input_room();
  void finish_if_complete();
  void finish(Result<ExecOutcome> result);
  void remove_handlers();

  Router& router_;
  const ContextId where_;
  std::shared_ptr<Callbacks> callbacks_;   // shared with the one that runs; null once done
  Handle events_ = 0, out_ = 0, err_ = 0;  // 0: removed
  Router::CallId call_ = 0;                // 0: answered
  bool started_ = false;
  bool out_ended_ = false, err_ended_ = false;
  std::unique_ptr<StreamSender> input_;
  bool input_finished_ = false;
  std::unique_ptr<ExecOutcome> outcome_;
};

// What a dead answer to a request means to whoever asked. `begun`: it was seen to start.
Error error_of(const Dead& dead, Phase phase, bool begun);

}  // namespace banyan
