#include "transports/connector/remote_command.h"

#include <algorithm>
#include <string>
#include <vector>

namespace banyan::connector {
namespace {

// What a server may send before it hears from us, unless the wire is long: as ssh has it. sshd takes from the
// command as much as that, and moves all it has not sent yet again and again: with 16 MiB it is half as fast.
constexpr std::uint32_t kShortWireWindow = 2 * 1024 * 1024;
constexpr std::uint64_t kWireBytesPerSecond = 400'000'000;  // to be filled: a window is this for a round trip

}  // namespace

std::uint32_t window_for(Nanos round_trip, std::uint32_t most) {
  const std::uint64_t filled = kWireBytesPerSecond * std::uint64_t(round_trip / kMicrosecond) / 1'000'000;
  return std::uint32_t(std::clamp<std::uint64_t>(filled, std::min(kShortWireWindow, most), most));
}

RemoteCommand::~RemoteCommand() {
  if (channel_ != nullptr) libssh2_channel_free(channel_);
}

RemoteCommand::Progress RemoteCommand::start() {
  switch (step_) {
    case Step::kOpen:
      return open();
    case Step::kSetVariables:
      return set_variables();
    case Step::kExecute:
      break;
  }
  return execute();
}

std::string_view RemoteCommand::doing() const {
  switch (step_) {
    case Step::kOpen:
      return "opening a channel";
    case Step::kSetVariables:
      return "setting a variable";
    case Step::kExecute:
      break;
  }
  return "running a command";
}

RemoteCommand::Progress RemoteCommand::open() {
  if (!asked_) asked_ = loop_.now();
  channel_ = libssh2_channel_open_ex(session_, "session", 7, kFirstWindow, kPacketBytes, nullptr, 0);
  if (channel_ != nullptr) {
    // A round trip, and next to nothing to do for the server.
    window_ = window_for(loop_.now() - *asked_, order_.settings.window);
    step_ = Step::kSetVariables;
    return set_variables();
  }
  const bool waits = libssh2_session_last_errno(session_) == LIBSSH2_ERROR_EAGAIN;
  return waits ? Progress::kWait : Progress::kFailed;
}

// One that the server refuses is done without, as ssh does.
RemoteCommand::Progress RemoteCommand::set_variables() {
  for (const auto& variables = order_.settings.environment; variables_set_ < variables.size();
       ++variables_set_) {
    const std::string& text = variables[variables_set_];
    const std::size_t equals = std::min(text.find('='), text.size());
    const std::size_t value = std::min(equals + 1, text.size());
    const int code =
        libssh2_channel_setenv_ex(channel_, text.data(), static_cast<unsigned int>(equals),
                                  text.data() + value, static_cast<unsigned int>(text.size() - value));
    if (code == LIBSSH2_ERROR_EAGAIN) return Progress::kWait;
    if (code != 0 && code != LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED) return Progress::kFailed;
  }
  step_ = Step::kExecute;
  return execute();
}

RemoteCommand::Progress RemoteCommand::execute() {
  const int code = libssh2_channel_process_startup(channel_, "exec", 4, order_.command.data(),
                                                   static_cast<unsigned int>(order_.command.size()));
  if (code == LIBSSH2_ERROR_EAGAIN) return Progress::kWait;
  return code == 0 ? Progress::kRuns : Progress::kFailed;
}

}  // namespace banyan::connector
