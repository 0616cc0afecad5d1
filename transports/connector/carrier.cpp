#include "transports/connector/carrier.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

namespace banyan::connector {
namespace {

constexpr std::size_t kCarryMax = 64 * 1024;
constexpr std::size_t kTextMax =
    64 * 1024;                     // of standard error in all: the far end's agent has none to speak of
constexpr int kPiecesARound = 16;  // then other sessions are served

}  // namespace

Carrier::Carrier(Loop& loop, LIBSSH2_SESSION* session, LIBSSH2_CHANNEL* remote, int channel, Owner& owner)
    : loop_(loop),
      session_(session),
      remote_(remote),
      channel_(channel),
      owner_(owner),
      watch_(loop_.watch(channel_, {.read = true}, [this](Ready) { owner_.on_carrier_ready(); })),
      text_left_(kTextMax) {}

Carrier::~Carrier() {
  *alive_ = false;
  stop();
}

void Carrier::stop() {
  if (watch_ != 0) loop_.unwatch(std::exchange(watch_, 0));
}

Carrier::Outcome Carrier::round() {
  something_came_ = is_end_hidden_ = false;
  read_stderr();
  if (const std::optional<Outcome> over = carry_in()) return *over;
  if (const std::optional<Outcome> over = carry_out()) return *over;
  if (host_ended_ && to_root_.empty()) {
    // The root hears it at once, and ends us if the server takes its time to close.
    if (!std::exchange(root_told_, true)) ::shutdown(channel_, SHUT_WR);
    if (libssh2_channel_wait_closed(remote_) != LIBSSH2_ERROR_EAGAIN) return Outcome::kEnded;
  }
  if (!host_ended_ && to_root_.empty() && !look_for_more()) return Outcome::kUnknownStream;
  watch();
  return Outcome::kWait;
}

// Writing, libssh2 may have read what the host sent: no descriptor tells of that any more. But data of a kind
// that is neither output nor error output would stay with it for ever, and hide the end of the others.
bool Carrier::look_for_more() {
  unsigned long unread = 0;
  libssh2_channel_window_read_ex(remote_, &unread, nullptr);
  const bool more = unread > 0 || is_end_hidden_ || libssh2_channel_eof(remote_) != 0;
  const std::optional<unsigned long> before =
      std::exchange(unread_, more ? std::optional(unread) : std::nullopt);
  if (!more) return true;
  const bool is_stuck = !something_came_ && before == unread && libssh2_channel_eof(remote_) == 0;
  if (!is_stuck) {
    again_soon();
    return true;
  }
  // Nothing is read either while libssh2 has something to send first: then the socket tells.
  return (libssh2_session_block_directions(session_) & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0;
}

// Before the channel was closed the server has said how the command ended; if by a signal there is no code.
std::optional<std::uint8_t> Carrier::exit_code() const {
  char* signal = nullptr;
  std::size_t bytes = 0;
  libssh2_channel_get_exit_signal(remote_, &signal, &bytes, nullptr, nullptr, nullptr, nullptr);
  if (signal == nullptr) return std::uint8_t(libssh2_channel_get_exit_status(remote_));
  libssh2_free(session_, signal);
  return std::nullopt;
}

void Carrier::read_stderr() {
  char bytes[4096];
  for (int i = 0; i < kPiecesARound; ++i) {
    const ssize_t got = libssh2_channel_read_ex(remote_, SSH_EXTENDED_DATA_STDERR, bytes, sizeof bytes);
    if (got <= 0) return;  // what is wrong, standard output will say
    something_came_ = true;
    const std::size_t told = std::min(std::size_t(got), text_left_);
    text_left_ -= told;
    if (told > 0) owner_.on_stderr(std::string_view(bytes, told));
  }
}

// As long as the root takes it: what it does not take stays with the server, by the window.
std::optional<Carrier::Outcome> Carrier::carry_in() {
  static std::uint8_t piece[kCarryMax];  // one thread
  for (int i = 0; i < kPiecesARound; ++i) {
    while (!to_root_.empty()) {
      const iovec part{to_root_.data() + to_root_at_, to_root_.size() - to_root_at_};
      const IoResult result = loop_.write(channel_, &part, 1);
      if (result.status == IoResult::Status::kWouldBlock) return std::nullopt;
      if (result.status != IoResult::Status::kOk) return Outcome::kRootHasGone;
      to_root_at_ += result.bytes;
      if (to_root_at_ == to_root_.size()) {
        to_root_.clear();
        to_root_at_ = 0;
      }
    }
    if (host_ended_) return std::nullopt;
    const ssize_t got = libssh2_channel_read_ex(remote_, 0, reinterpret_cast<char*>(piece), sizeof piece);
    if (got == LIBSSH2_ERROR_EAGAIN) return std::nullopt;
    if (got < 0) return Outcome::kReadFailed;
    if (got == 0) {
      host_ended_ = libssh2_channel_eof(remote_) != 0;
      if (host_ended_) continue;
      is_end_hidden_ = true;
      return std::nullopt;
    }
    something_came_ = true;
    to_root_.assign(piece, piece + got);
  }
  again_soon();
  return std::nullopt;
}

// A write that libssh2 could not finish is repeated with the same bytes, as it demands.
std::optional<Carrier::Outcome> Carrier::carry_out() {
  for (int i = 0; i < kPiecesARound; ++i) {
    while (!to_host_.empty()) {
      const ssize_t put =
          libssh2_channel_write_ex(remote_, 0, reinterpret_cast<const char*>(to_host_.data() + to_host_at_),
                                   to_host_.size() - to_host_at_);
      if (put == LIBSSH2_ERROR_EAGAIN) return std::nullopt;
      if (put < 0 && !host_ended_) return Outcome::kWriteFailed;
      if (put < 0) return std::nullopt;
      to_host_at_ += std::size_t(put);
      if (to_host_at_ == to_host_.size()) {
        to_host_.clear();
        to_host_at_ = 0;
      }
      if (put == 0) return std::nullopt;
    }
    if (root_ended_) {
      if (!eof_sent_) eof_sent_ = libssh2_channel_send_eof(remote_) != LIBSSH2_ERROR_EAGAIN;
      return std::nullopt;
    }
    to_host_.resize(kCarryMax);
    const IoResult result = loop_.read(channel_, to_host_.data(), to_host_.size());
    to_host_.resize(result.status == IoResult::Status::kOk ? result.bytes : 0);
    if (result.status == IoResult::Status::kWouldBlock) return std::nullopt;
    if (result.status != IoResult::Status::kOk) root_ended_ = true;
  }
  again_soon();
  return std::nullopt;
}

// There may be more that no descriptor will tell of.
void Carrier::again_soon() {
  loop_.post([this, alive = alive_] {
    if (*alive) owner_.on_carrier_ready();
  });
}

void Carrier::watch() {
  if (watch_ == 0) return;
  loop_.change(watch_, {.read = !root_ended_ && to_host_.empty(), .write = !to_root_.empty()});
}

}  // namespace banyan::connector
