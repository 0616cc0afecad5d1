// transports/connector/remote_command.h -- a command over there: its channel, its variables, its start.
//
// Asks libssh2 until it would block. Thread: the loop's. All that is given outlives it.
#pragma once

#include <libssh2.h>

#include <string_view>

#include "transports/connector_protocol.h"

namespace banyan::connector {

class RemoteCommand {
 public:
  RemoteCommand(LIBSSH2_SESSION* session, const SessionOrder& order) : session_(session), order_(order) {}
  RemoteCommand(const RemoteCommand&) = delete;
  RemoteCommand& operator=(const RemoteCommand&) = delete;
  ~RemoteCommand();  // the channel with it

  enum class Progress : std::uint8_t { kWait, kRuns, kFailed };
  // Until it runs. kFailed: libssh2 knows why, and doing() what was done.
  Progress start();
  std::string_view doing() const;

  // Once it runs.
  LIBSSH2_CHANNEL* channel() const { return channel_; }

 private:
  enum class Step : std::uint8_t { kOpen, kSetVariables, kExecute };

  Progress open();
  Progress set_variables();
  Progress execute();

  LIBSSH2_SESSION* const session_;
  const SessionOrder& order_;
  LIBSSH2_CHANNEL* channel_ = nullptr;
  Step step_ = Step::kOpen;
  std::size_t variables_set_ = 0;
};

}  // namespace banyan::connector
