#include "transports/connector/carrier.h"

#include <sys/socket.h>

#include <algorithm>
#include <utility>

#include "transports/connector/remote_command.h"

namespace banyan::connector {
namespace {

constexpr std::size_t kCarryMax = 64 * 1024;
constexpr std::size_t kTextMax =
    64 * 1024;                     // of standard error in all: the far end's agent has none to speak of
constexpr int kPiecesARound = 16;  // then other sessions are served
// libssh2 sends credit from within a read when less than three quarters of a channel's first window and the
// bytes to be read are left: far below what give_credit() leaves, so never.
constexpr std::uint32_t kLibraryLeaves = kFirstWindow / 4 * 3;

}  // namespace

Carrier::Carrier(Loop& loop, LIBSSH2_SESSION* session, LIBSSH2_CHANNEL* remote, std::uint32_t window,
                 int channel, Owner& owner)
    : loop_(loop),
      session_(session),
      remote_(remote),
      window_(window),
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

// libssh2 does not send a packet in one piece when the socket is full, and then takes nothing but the call
// that began it, with the same arguments, until it is gone: any other packet, from whatever call, would end
// the session. A read may send one too, for the keys are exchanged anew when the server wants it. So while
// one is half sent nothing else is done with libssh2. That holds up the other direction for as long as the
// server does not read, which it does whether we read or not.
Carrier::Outcome Carrier::round() {
  is_end_hidden_ = false;
  if (const std::optional<Outcome> over = send_rest()) return *over;
  if (half_sent_ == HalfSent::kNothing) read_stderr();
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
  if (half_sent_ != HalfSent::kNothing || credit_ != 0) return true;  // the socket tells when we can go on
  unsigned long unread = 0;
  libssh2_channel_window_read_ex(remote_, &unread, nullptr);
  const bool more = unread > 0 || is_end_hidden_ || libssh2_channel_eof(remote_) != 0;
  const std::optional<unsigned long> before =
      std::exchange(unread_, more ? std::optional(unread) : std::nullopt);
  if (!more) return true;
  // As much as the last time is the same only if nothing was read since: a window may fill again.
  const bool is_stuck = before == unread && libssh2_channel_eof(remote_) == 0;
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

std::optional<Carrier::Outcome> Carrier::send_rest() {
  switch (half_sent_) {
    case HalfSent::kNothing:
      break;
    case HalfSent::kData:
      return put_to_host();
    case HalfSent::kCredit:
      return give_credit();
    case HalfSent::kEnd:
      put_end();
      break;
  }
  return std::nullopt;
}

// After each call that sends.
bool Carrier::is_sent(ssize_t code, HalfSent what) {
  const bool again = code == LIBSSH2_ERROR_EAGAIN;
  const bool is_begun = (libssh2_session_block_directions(session_) & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0;
  half_sent_ = again && is_begun ? what : HalfSent::kNothing;
  return !again;
}

// Lets the server send on, once a quarter of the window has been read. Credit that was begun is the same when
// it is repeated: else libssh2 would believe to have given another amount than it has.
std::optional<Carrier::Outcome> Carrier::give_credit() {
  if (credit_ == 0) {
    const unsigned long left = libssh2_channel_window_read_ex(remote_, nullptr, nullptr);
    if (left > window_ / 4 * 3) return std::nullopt;
    credit_ = std::uint32_t(window_ - left);
  }
  const int code = libssh2_channel_receive_window_adjust2(remote_, credit_, 1, nullptr);
  if (!is_sent(code, HalfSent::kCredit)) return std::nullopt;
  credit_ = 0;
  return code == 0 ? std::nullopt : std::optional(Outcome::kReadFailed);
}

// Without libssh2 giving credit of its own.
ssize_t Carrier::read_some(int stream, char* to, std::size_t bytes) {
  const unsigned long left = libssh2_channel_window_read_ex(remote_, nullptr, nullptr);
  if (left <= kLibraryLeaves) return LIBSSH2_ERROR_EAGAIN;
  const std::size_t most = std::min<std::size_t>(bytes, left - kLibraryLeaves);
  return libssh2_channel_read_ex(remote_, stream, to, most);
}

void Carrier::read_stderr() {
  char bytes[4096];
  for (int i = 0; i < kPiecesARound; ++i) {
    const ssize_t got = read_some(SSH_EXTENDED_DATA_STDERR, bytes, sizeof bytes);
    if (got <= 0) return;  // what is wrong, standard output will say
    unread_.reset();
    const std::size_t told = std::min(std::size_t(got), text_left_);
    text_left_ -= told;
    if (told > 0) owner_.on_stderr(std::string_view(bytes, told));
  }
}

std::optional<std::size_t> Carrier::put_to_root(const std::uint8_t* from, std::size_t bytes) {
  while (bytes > 0) {
    const iovec part{const_cast<std::uint8_t*>(from), bytes};
    const IoResult result = loop_.write(channel_, &part, 1);
    if (result.status == IoResult::Status::kWouldBlock) break;
    if (result.status != IoResult::Status::kOk) return std::nullopt;
    from += result.bytes;
    bytes -= result.bytes;
  }
  return bytes;
}

// As long as the root takes it: what it does not take stays with the server, by the window.
std::optional<Carrier::Outcome> Carrier::carry_in() {
  static std::uint8_t piece[kCarryMax];  // one thread
  for (int i = 0; i < kPiecesARound; ++i) {
    if (!to_root_.empty()) {
      const std::optional<std::size_t> left =
          put_to_root(to_root_.data() + to_root_at_, to_root_.size() - to_root_at_);
      if (!left) return Outcome::kRootHasGone;
      to_root_at_ = to_root_.size() - *left;
      if (*left > 0) return std::nullopt;
      to_root_.clear();
      to_root_at_ = 0;
    }
    if (host_ended_ || half_sent_ != HalfSent::kNothing) return std::nullopt;
    if (const std::optional<Outcome> over = give_credit()) return over;
    if (half_sent_ != HalfSent::kNothing) return std::nullopt;
    const ssize_t got = read_some(0, reinterpret_cast<char*>(piece), sizeof piece);
    if (got == LIBSSH2_ERROR_EAGAIN) return std::nullopt;
    if (got < 0) return Outcome::kReadFailed;
    if (got == 0) {
      host_ended_ = libssh2_channel_eof(remote_) != 0;
      if (host_ended_) continue;
      is_end_hidden_ = true;
      return std::nullopt;
    }
    unread_.reset();
    const std::optional<std::size_t> left = put_to_root(piece, std::size_t(got));
    if (!left) return Outcome::kRootHasGone;
    to_root_.assign(piece + std::size_t(got) - *left, piece + got);
  }
  again_soon();
  return std::nullopt;
}

// What libssh2 could not send it is given again, as it demands: the same bytes.
std::optional<Carrier::Outcome> Carrier::put_to_host() {
  const ssize_t put = libssh2_channel_write_ex(
      remote_, 0, reinterpret_cast<const char*>(to_host_.data() + to_host_at_), to_host_end_ - to_host_at_);
  if (!is_sent(put, HalfSent::kData)) return std::nullopt;
  if (put < 0) return host_ended_ ? std::nullopt : std::optional(Outcome::kWriteFailed);
  to_host_at_ += std::size_t(put);
  return std::nullopt;
}

void Carrier::put_end() {
  eof_sent_ = is_sent(libssh2_channel_send_eof(remote_), HalfSent::kEnd);
}

std::optional<Carrier::Outcome> Carrier::carry_out() {
  for (int i = 0; i < kPiecesARound; ++i) {
    while (to_host_at_ < to_host_end_) {
      if (half_sent_ != HalfSent::kNothing) return std::nullopt;
      const std::size_t before = to_host_at_;
      if (const std::optional<Outcome> over = put_to_host()) return over;
      if (to_host_at_ == before) return std::nullopt;  // the server takes no more now
    }
    if (root_ended_) {
      if (!eof_sent_ && half_sent_ == HalfSent::kNothing) put_end();
      return std::nullopt;
    }
    to_host_.resize(kCarryMax);
    const IoResult result = loop_.read(channel_, to_host_.data(), to_host_.size());
    to_host_at_ = 0;
    to_host_end_ = result.status == IoResult::Status::kOk ? result.bytes : 0;
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
  loop_.change(watch_, {.read = !root_ended_ && to_host_at_ == to_host_end_, .write = !to_root_.empty()});
}

}  // namespace banyan::connector
