// transports/connector/remote_command.h -- a command over there: its channel, its variables, its start.
//
// Asks libssh2 until it would block. Thread: the loop's. All that is given outlives it.
#pragma once

#include <libssh2.h>

#include <optional>
#include <string_view>

#include "core/loop.h"
#include "transports/connector_protocol.h"

namespace banyan::connector {

// The window of a channel as it is opened; a Carrier then gives the rest of the session's window.
constexpr std::uint32_t kFirstWindow = 64 * 1024;
constexpr std::uint32_t kPacketBytes = 32 * 1024;  // what libssh2 and servers take as a matter of course
// What a server may send that we have not read: over a long wire more, but never more than `most`.
std::uint32_t window_for(Nanos round_trip, std::uint32_t most);

class RemoteCommand {
 public:
  RemoteCommand(Loop& loop, LIBSSH2_SESSION* session, const SessionOrder& order)
      : loop_(loop), session_(session), order_(order) {}
  RemoteCommand(const RemoteCommand&) = delete;
  RemoteCommand& operator=(const RemoteCommand&) = delete;
  ~RemoteCommand();  // the channel with it

  enum class Progress : std::uint8_t { kWait, kRuns, kFailed };
  // Until it runs. kFailed: libssh2 knows why, and doing() what was done.
  Progress start();
  std::string_view doing() const;

  // Once it runs.
  LIBSSH2_CHANNEL* channel() const { return channel_; }
  std::uint32_t window() const { return window_; }

 private:
  enum class Step : std::uint8_t { kOpen, kSetVariables, kExecute };

  Progress open();
  Progress set_variables();
  Progress execute();

  Loop& loop_;
  LIBSSH2_SESSION* const session_;
  const SessionOrder& order_;
  LIBSSH2_CHANNEL* channel_ = nullptr;
  Step step_ = Step::kOpen;
  std::optional<Nanos> asked_;  // for the channel
  std::uint32_t window_ = 0;
  std::size_t variables_set_ = 0;
};

}  // namespace banyan::connector
