#include "transports/connector/session.h"

#include <netinet/in.h>
#include <netinet/tcp.h>
#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>
#include <utility>

#include "core/text.h"
#include "transports/connector/known_hosts_file.h"
#include "transports/connector/public_key.h"
#include "transports/openssh_log.h"
#include "transports/remedies.h"

namespace banyan::connector {
namespace {

constexpr std::size_t kCarryMax = 64 * 1024;
constexpr std::size_t kTextMax =
    64 * 1024;  // of standard error in all: the far end's agent has none to speak of
constexpr std::uint32_t kPacketBytes = 32 * 1024;  // what libssh2 and servers take as a matter of course
constexpr Nanos kNextAddressAfter = 3 * kSecond;   // an address that does not answer, while there are others
constexpr int kFreeTries = 8;      // each ends one thing that was under way: a packet, a channel
constexpr int kPiecesARound = 16;  // then other sessions are served

constexpr std::uint16_t kSshPort = 22;
// Until the command runs, a server has a few kilobytes to say, and a banner. libssh2 reads a first line that
// never comes for as long as there is something to read: others wait meanwhile, so it is given a piece at a
// time.
constexpr std::size_t kEarlyMax = 1024 * 1024;
constexpr std::string_view kNotSpeaking = "look at what listens there: sshd does not do that";
constexpr std::string_view kGraceTime =
    "the server waits only so long for an answer (LoginGraceTime): answer sooner, or use a key";

// Best first, of what libssh2 1.10 can verify.
constexpr std::string_view kHostKeyTypes[] = {"ssh-ed25519", "ecdsa-sha2-nistp256", "ecdsa-sha2-nistp384",
                                              "ecdsa-sha2-nistp521"};

std::string joined(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += cat(list.empty() ? "" : ",", name);
  return list;
}

// Types known for the host first: libssh2 takes the first that the server has too. `wanted` empty: all.
std::string host_key_preference(const std::vector<std::string_view>& known,
                                const std::vector<std::string>& wanted) {
  std::vector<std::string> types;
  for (std::string_view type : kHostKeyTypes)
    if (wanted.empty() || std::ranges::find(wanted, type) != wanted.end()) types.emplace_back(type);
  std::stable_partition(  // not std::ranges': clang 14 does not compile what it gives back
      types.begin(), types.end(),
      [&](const std::string& type) { return std::ranges::find(known, type) != known.end(); });
  return joined(types);
}

void set_socket_options(int socket) {
  const int on = 1;
  ::setsockopt(socket, IPPROTO_TCP, TCP_NODELAY, &on, sizeof on);
  ::setsockopt(socket, SOL_SOCKET, SO_KEEPALIVE, &on, sizeof on);
}

}  // namespace

Session::Session(Loop& loop, Resolver& resolver, KeyRing& ring, SessionOrder order, Fd channel, Owner& owner)
    : loop_(loop),
      resolver_(resolver),
      ring_(ring),
      order_(std::move(order)),
      owner_(owner),
      channel_(std::move(channel)),
      text_left_(kTextMax) {
  library_.early_left = kEarlyMax;
  library_.held_max = kHeldPerWindow * order_.settings.window + kHeldBesidesMax;
}

Session::~Session() {
  *alive_ = false;
  login_.reset();  // before what it uses
  loop_.cancel(next_address_);
  loop_.cancel(next_lock_try_);
  if (socket_watch_ != 0) loop_.unwatch(socket_watch_);
  if (channel_watch_ != 0) loop_.unwatch(channel_watch_);
  // Its farewell would have to wait for the server: the end of the connection says as much.
  if (session_ != nullptr) {
    libssh2_session_set_blocking(session_, 0);
    if (remote_ != nullptr) libssh2_channel_free(remote_);
    libssh2_session_disconnect_ex(session_, SSH_DISCONNECT_BY_APPLICATION, "", "");
    // What would wait for the server fails from here on. Else libssh2 frees nothing as long as it waits.
    if (socket_) ::shutdown(socket_.get(), SHUT_RDWR);
    for (int i = 0; i < kFreeTries && libssh2_session_free(session_) == LIBSSH2_ERROR_EAGAIN; ++i) {
    }
  }
  if (socket_) loop_.close(socket_.release());
  if (channel_) loop_.close(channel_.release());
}

void Session::start() {
  enter(Step::kResolve);
  const SessionSettings& settings = order_.settings;
  resolver_.resolve(settings.host, settings.port, settings.family,
                    [this, alive = alive_](Result<std::vector<Address>> addresses) {
                      if (!*alive || step_ == Step::kOver) return;
                      if (!addresses) return end(addresses.error());
                      addresses_ = std::move(*addresses);
                      std::ranges::reverse(addresses_);
                      enter(Step::kConnect);
                      connect_next();
                    });
}

Phase Session::phase() const {
  switch (step_) {
    case Step::kResolve:
      return Phase::kResolve;
    case Step::kConnect:
      return Phase::kConnect;
    case Step::kHandshake:
    case Step::kKeepHostKey:
      return Phase::kKex;
    case Step::kIdentities:
    case Step::kAuthenticate:
      return Phase::kAuth;
    case Step::kOpenChannel:
    case Step::kSetEnvironment:
    case Step::kExecute:
      return Phase::kShell;
    case Step::kCarry:
    case Step::kOver:
      break;
  }
  return Phase::kLink;
}

void Session::enter(Step step) {
  const Phase before = phase();
  const bool first = step == Step::kResolve;
  step_ = step;
  // A server that has said nothing yet is still being connected to, as ssh counts it: it may be nobody's.
  const bool is_silent = step == Step::kHandshake;
  if (step != Step::kCarry && step != Step::kOver && !is_silent && (first || phase() != before))
    owner_.on_phase(*this, phase());
}

void Session::tell(std::string_view step) {
  if (order_.settings.tells_steps) owner_.on_text(*this, step_line(step));
}

void Session::run() {
  if (login_ && login_->has_lent_session()) return;
  library_.round_left = library_.is_early ? kEarlyRoundMax : kCarryRoundMax;
  while (run_step() == Progress::kDone) {
  }
}

Session::Progress Session::run_step() {
  switch (step_) {
    case Step::kHandshake:
      return handshake();
    case Step::kKeepHostKey:
      return keep_host_key();
    case Step::kAuthenticate:
      return authenticate();
    case Step::kOpenChannel:
      return open_channel();
    case Step::kSetEnvironment:
      return set_environment();
    case Step::kExecute:
      return execute();
    case Step::kCarry:
      return carry();
    case Step::kResolve:
    case Step::kConnect:
    case Step::kIdentities:
      return Progress::kWait;
    case Step::kOver:
      break;
  }
  return Progress::kOver;
}

// --- connecting ---

void Session::connect_next() {
  loop_.cancel(std::exchange(next_address_, 0));
  if (socket_watch_ != 0) loop_.unwatch(std::exchange(socket_watch_, 0));
  if (socket_) loop_.close(socket_.release());
  if (addresses_.empty()) return;
  const Address address = addresses_.back();
  addresses_.pop_back();
  last_address_ = text_of(address);
  tell(
      cat("Connecting to ", order_.settings.host, " [", last_address_, "] port ", order_.settings.port, "."));
  socket_ = Fd(::socket(address.bytes.ss_family, SOCK_STREAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  if (!socket_) return end(system_error(ErrorClass::kResource, Phase::kConnect, "a socket", errno));
  set_socket_options(socket_.get());
  if (::connect(socket_.get(), reinterpret_cast<const sockaddr*>(&address.bytes), address.size) != 0 &&
      errno != EINPROGRESS) {
    const int error = errno;
    if (!addresses_.empty()) return connect_next();
    Error failure = system_error(ErrorClass::kUnreachable, Phase::kConnect,
                                 cat(last_address_, " port ", order_.settings.port), error);
    failure.remedy = kReach;
    return end(std::move(failure));
  }
  socket_watch_ = loop_.watch(socket_.get(), {.write = true}, [this](Ready) { on_connected(); });
  if (!addresses_.empty()) next_address_ = loop_.after(kNextAddressAfter, [this] { connect_next(); });
}

void Session::on_connected() {
  int error = 0;
  socklen_t size = sizeof error;
  ::getsockopt(socket_.get(), SOL_SOCKET, SO_ERROR, &error, &size);
  if (error != 0) {
    if (!addresses_.empty()) return connect_next();
    Error failure = system_error(error == ETIMEDOUT ? ErrorClass::kTimeout : ErrorClass::kUnreachable,
                                 Phase::kConnect, cat(last_address_, " port ", order_.settings.port), error);
    failure.remedy = kReach;
    return end(std::move(failure));
  }
  loop_.cancel(std::exchange(next_address_, 0));
  loop_.unwatch(std::exchange(socket_watch_, 0));
  tell("Connection established.");

  session_ = new_session(library_);
  if (session_ == nullptr)
    return end(Error{ErrorClass::kResource, Phase::kKex, "no memory for a session", {}});
  libssh2_session_set_blocking(session_, 0);
  KnownHosts known;
  for (const std::string& file : order_.settings.known_hosts) {
    if (const Result<Done> read = read_known_hosts(file, known); !read) return end(read.error());
  }
  const SessionSettings& settings = order_.settings;
  std::vector<std::string_view> types = known.key_types(settings.key_name, settings.key_port);
  if (types.empty()) types = known.key_types(settings.key_name, kSshPort);
  const std::string host_keys = host_key_preference(types, settings.host_key_algorithms);
  const std::pair<int, std::string> methods[] = {
      {LIBSSH2_METHOD_HOSTKEY, host_keys},
      {LIBSSH2_METHOD_KEX, joined(settings.key_exchanges)},
      {LIBSSH2_METHOD_CRYPT_CS, joined(settings.ciphers)},
      {LIBSSH2_METHOD_CRYPT_SC, joined(settings.ciphers)},
      {LIBSSH2_METHOD_MAC_CS, joined(settings.macs)},
      {LIBSSH2_METHOD_MAC_SC, joined(settings.macs)},
  };
  for (const auto& [method, names] : methods) {
    if (!names.empty() && libssh2_session_method_pref(session_, method, names.c_str()) != 0)
      return fail_by_library("choosing algorithms");
  }
  known_ = std::move(known);
  enter(Step::kHandshake);
  socket_watch_ = loop_.watch(socket_.get(), {.read = true, .write = true}, [this](Ready) {
    if (is_elsewhere() && server_has_gone()) return fail_left_alone();
    run();
    watch_socket();
  });
}

// Also of one with which nothing further comes about.
void Session::tell_server() {
  const char* banner = server_is_told_ ? nullptr : libssh2_session_banner_get(session_);
  std::string_view line = banner == nullptr ? "" : banner;
  if (!line.starts_with("SSH-")) return;  // before that it may say what it likes
  server_is_told_ = true;
  line.remove_prefix(4);
  const std::size_t dash = std::min(line.find('-'), line.size());
  tell(cat("Remote protocol version ", line.substr(0, dash), ", remote software version ",
           line.substr(std::min(dash + 1, line.size()))));
}

Session::Progress Session::handshake() {
  const int code = libssh2_session_handshake(session_, socket_.get());
  if (library_.early_left < kEarlyMax && !std::exchange(server_has_spoken_, true))
    owner_.on_phase(*this, phase());
  tell_server();
  if (code == LIBSSH2_ERROR_EAGAIN) return Progress::kWait;
  if (code != 0) {
    fail_by_library("the key exchange");
    return Progress::kOver;
  }
  return check_host_key();
}

// The server has proved that it has this key; is it the host's?
Session::Progress Session::check_host_key() {
  std::size_t size = 0;
  int type = 0;
  const char* blob = libssh2_session_hostkey(session_, &size, &type);
  const Bytes key(reinterpret_cast<const std::uint8_t*>(blob), blob == nullptr ? 0 : size);
  const SessionSettings& settings = order_.settings;
  KnownHosts::Verdict verdict = known_.check(settings.key_name, settings.key_port, key);
  // As ssh does it: what is known for the name alone is believed on any port of which nothing is known.
  if (verdict.answer == KnownHosts::Answer::kUnknown &&
      known_.check(settings.key_name, kSshPort, key).answer == KnownHosts::Answer::kKnown)
    verdict.answer = KnownHosts::Answer::kKnown;
  const std::string shown = cat(public_key_type(key), " ", fingerprint(key));
  tell(cat("Server host key: ", shown));
  switch (verdict.answer) {
    case KnownHosts::Answer::kKnown:
      known_ = {};
      begin_login();
      return Progress::kDone;
    case KnownHosts::Answer::kUnknown:
      if (!settings.accept_new.empty()) {
        enter(Step::kKeepHostKey);
        return Progress::kDone;
      }
      fail(ErrorClass::kHostKey, cat("the host's key is not known: it shows ", shown), kNewKey);
      break;
    case KnownHosts::Answer::kChanged: {
      std::string expected;
      for (const KnownHosts::Line& line : verdict.lines)
        expected += cat(expected.empty() ? "" : ", ", line.type, " ", fingerprint(line.key), " (", line.file,
                        ":", line.number, ")");
      fail(ErrorClass::kHostKey, cat("the host's key has changed: it shows ", shown, ", known is ", expected),
           kChangedKey);
      break;
    }
    case KnownHosts::Answer::kRevoked:
      fail(ErrorClass::kHostKey, cat("the host shows a key that was revoked: ", shown),
           "this key must not be used any more: ask who runs the host");
      break;
  }
  return Progress::kOver;
}

// As long as another program has the file locked, the other sessions go on.
Session::Progress Session::keep_host_key() {
  if (next_lock_try_ != 0) return Progress::kWait;
  std::size_t size = 0;
  const char* blob = libssh2_session_hostkey(session_, &size, nullptr);
  const Bytes key(reinterpret_cast<const std::uint8_t*>(blob), blob == nullptr ? 0 : size);
  const SessionSettings& settings = order_.settings;
  const Result<Kept> kept = append_host_key(settings.accept_new, settings.key_name, settings.key_port,
                                            settings.hash_known_hosts, key);
  if (kept && *kept == Kept::kLocked && ++lock_tries_ < kLockTriesMax) {
    next_lock_try_ = loop_.after(kLockPause, [this] {
      next_lock_try_ = 0;
      on_login_ready();
    });
    return Progress::kWait;
  }
  if (!kept || *kept == Kept::kLocked) {
    end(kept ? is_locked(settings.accept_new) : kept.error());
    return Progress::kOver;
  }
  if (*kept != Kept::kWasThere)
    owner_.on_text(
        *this, cat("Warning: Permanently added '", known_hosts_name(settings.key_name, settings.key_port),
                   "' (", public_key_type(key), " ", fingerprint(key), ") to the list of known hosts.\n"));
  begin_login();
  return Progress::kDone;
}

// --- who we are ---

void Session::begin_login() {
  tell("SSH2_MSG_NEWKEYS received");
  enter(Step::kIdentities);
  login_ = std::make_unique<Login>(loop_, ring_, order_.settings, session_, socket_.get(),
                                   static_cast<Login::Owner&>(*this));
  if (login_->is_ready()) enter(Step::kAuthenticate);
}

Session::Progress Session::authenticate() {
  switch (login_->run()) {
    case Login::Progress::kDone:
      login_.reset();
      enter(Step::kOpenChannel);
      return Progress::kDone;
    case Login::Progress::kFailed:
      end(login_->error());
      return Progress::kOver;
    case Login::Progress::kLibraryFailed:
      fail_by_library("authentication");
      return Progress::kOver;
    case Login::Progress::kWait:
    case Login::Progress::kGoOn:
      break;
  }
  return Progress::kWait;
}

void Session::on_question(SessionQuestion question) {
  question.id = id();
  server_speaks_ = false;
  owner_.on_question(*this, std::move(question));
  watch_socket();
}

void Session::answer(SessionAnswer answer) {
  if (login_ && step_ == Step::kAuthenticate) login_->answer(std::move(answer));
}

void Session::on_login_ready() {
  if (step_ == Step::kIdentities && login_ && login_->is_ready()) enter(Step::kAuthenticate);
  run();
  if (step_ != Step::kOver) watch_socket();
}

// While a person is asked, or a key signs, or known_hosts is locked, nobody reads what the server says; but
// whether there is still somebody who says it can be seen.
bool Session::is_elsewhere() const {
  if (step_ == Step::kKeepHostKey) return true;
  return login_ && (login_->is_asking() || login_->is_waiting_for_keys());
}

bool Session::server_has_gone() {
  pollfd state{socket_.get(), 0, 0};
  if (retry([&] { return ::poll(&state, 1, 0); }) > 0) return true;  // whatever it said before
  char byte;
  const ssize_t got = retry([&] { return ::recv(socket_.get(), &byte, 1, MSG_PEEK | MSG_DONTWAIT); });
  if (got > 0) server_speaks_ = true;
  return got == 0 || (got < 0 && errno != EAGAIN);
}

void Session::fail_left_alone() {
  if (login_ && login_->is_asking())
    return fail(ErrorClass::kAuth, "the server hung up while a person was asked", kGraceTime);
  fail(ErrorClass::kRefused, "the server hung up before we could say who we are",
       "the server's log says why");
}

// --- the shell ---

Session::Progress Session::open_channel() {
  remote_ = libssh2_channel_open_ex(session_, "session", 7, order_.settings.window, kPacketBytes, nullptr, 0);
  if (remote_ != nullptr) {
    enter(Step::kSetEnvironment);
    return Progress::kDone;
  }
  if (libssh2_session_last_errno(session_) == LIBSSH2_ERROR_EAGAIN) return Progress::kWait;
  fail_by_library("opening a channel");
  return Progress::kOver;
}

// One that the server refuses is done without, as ssh does.
Session::Progress Session::set_environment() {
  for (const auto& variables = order_.settings.environment; variables_set_ < variables.size();
       ++variables_set_) {
    const std::string& text = variables[variables_set_];
    const std::size_t equals = std::min(text.find('='), text.size());
    const std::size_t value = std::min(equals + 1, text.size());
    const int code =
        libssh2_channel_setenv_ex(remote_, text.data(), static_cast<unsigned int>(equals),
                                  text.data() + value, static_cast<unsigned int>(text.size() - value));
    if (code == LIBSSH2_ERROR_EAGAIN) return Progress::kWait;
    if (code != 0 && code != LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED) {
      fail_by_library("setting a variable");
      return Progress::kOver;
    }
  }
  enter(Step::kExecute);
  return Progress::kDone;
}

Session::Progress Session::execute() {
  const int code = libssh2_channel_process_startup(remote_, "exec", 4, order_.command.data(),
                                                   static_cast<unsigned int>(order_.command.size()));
  if (code == LIBSSH2_ERROR_EAGAIN) return Progress::kWait;
  if (code != 0) {
    fail_by_library("running a command");
    return Progress::kOver;
  }
  enter(Step::kCarry);
  library_.is_early = false;
  channel_watch_ = loop_.watch(channel_.get(), {.read = true}, [this](Ready) { run(); });
  return Progress::kDone;
}

// --- carrying ---

Session::Progress Session::carry() {
  something_came_ = is_end_hidden_ = false;
  read_stderr();
  if (!carry_in() || !carry_out()) return Progress::kOver;
  if (host_ended_ && to_root_.empty()) {
    // The root hears it at once, and ends us if the server takes its time to close.
    if (!std::exchange(root_told_, true)) ::shutdown(channel_.get(), SHUT_WR);
    if (libssh2_channel_wait_closed(remote_) != LIBSSH2_ERROR_EAGAIN) {
      end({}, exit_code());
      return Progress::kOver;
    }
  }
  if (!host_ended_ && to_root_.empty() && !look_for_more()) return Progress::kOver;
  watch_channel();
  watch_socket();
  return Progress::kWait;
}

// Writing, libssh2 may have read what the host sent: no descriptor tells of that any more. But data of a kind
// that is neither output nor error output would stay with it for ever, and hide the end of the others.
bool Session::look_for_more() {
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
  if ((libssh2_session_block_directions(session_) & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0) return true;
  fail(ErrorClass::kProtocol, cat(last_address_, " sends a stream of the command's that there is not"),
       kNotSpeaking);
  return false;
}

// Before the channel was closed the server has said how the command ended; if by a signal there is no code.
std::optional<std::uint8_t> Session::exit_code() const {
  char* signal = nullptr;
  std::size_t bytes = 0;
  libssh2_channel_get_exit_signal(remote_, &signal, &bytes, nullptr, nullptr, nullptr, nullptr);
  if (signal == nullptr) return std::uint8_t(libssh2_channel_get_exit_status(remote_));
  libssh2_free(session_, signal);
  return std::nullopt;
}

void Session::read_stderr() {
  char bytes[4096];
  for (int i = 0; i < kPiecesARound; ++i) {
    const ssize_t got = libssh2_channel_read_ex(remote_, SSH_EXTENDED_DATA_STDERR, bytes, sizeof bytes);
    if (got <= 0) return;  // what is wrong, standard output will say
    something_came_ = true;
    const std::size_t told = std::min(std::size_t(got), text_left_);
    text_left_ -= told;
    if (told > 0) owner_.on_text(*this, std::string_view(bytes, told));
  }
}

// As long as the root takes it: what it does not take stays with the server, by the window.
bool Session::carry_in() {
  static std::uint8_t piece[kCarryMax];  // one thread
  for (int i = 0; i < kPiecesARound; ++i) {
    while (!to_root_.empty()) {
      const iovec part{to_root_.data() + to_root_at_, to_root_.size() - to_root_at_};
      const IoResult result = loop_.write(channel_.get(), &part, 1);
      if (result.status == IoResult::Status::kWouldBlock) return true;
      if (result.status != IoResult::Status::kOk) {
        end({});  // the root has gone
        return false;
      }
      to_root_at_ += result.bytes;
      if (to_root_at_ == to_root_.size()) {
        to_root_.clear();
        to_root_at_ = 0;
      }
    }
    if (host_ended_) return true;
    const ssize_t got = libssh2_channel_read_ex(remote_, 0, reinterpret_cast<char*>(piece), sizeof piece);
    if (got == LIBSSH2_ERROR_EAGAIN) return true;
    if (got < 0) {
      fail_by_library("reading");
      return false;
    }
    if (got == 0) {
      host_ended_ = libssh2_channel_eof(remote_) != 0;
      if (host_ended_) continue;
      is_end_hidden_ = true;
      return true;
    }
    something_came_ = true;
    to_root_.assign(piece, piece + got);
  }
  again_soon();
  return true;
}

// A write that libssh2 could not finish is repeated with the same bytes, as it demands.
bool Session::carry_out() {
  for (int i = 0; i < kPiecesARound; ++i) {
    while (!to_host_.empty()) {
      const ssize_t put =
          libssh2_channel_write_ex(remote_, 0, reinterpret_cast<const char*>(to_host_.data() + to_host_at_),
                                   to_host_.size() - to_host_at_);
      if (put == LIBSSH2_ERROR_EAGAIN) return true;
      if (put < 0) {
        if (host_ended_) return true;
        fail_by_library("writing");
        return false;
      }
      to_host_at_ += std::size_t(put);
      if (to_host_at_ == to_host_.size()) {
        to_host_.clear();
        to_host_at_ = 0;
      }
      if (put == 0) return true;
    }
    if (root_ended_) {
      if (!eof_sent_) eof_sent_ = libssh2_channel_send_eof(remote_) != LIBSSH2_ERROR_EAGAIN;
      return true;
    }
    to_host_.resize(kCarryMax);
    const IoResult result = loop_.read(channel_.get(), to_host_.data(), to_host_.size());
    to_host_.resize(result.status == IoResult::Status::kOk ? result.bytes : 0);
    if (result.status == IoResult::Status::kWouldBlock) return true;
    if (result.status != IoResult::Status::kOk) root_ended_ = true;
  }
  again_soon();
  return true;
}

// There may be more that no descriptor will tell of.
void Session::again_soon() {
  loop_.post([this, alive = alive_] {
    if (*alive && step_ == Step::kCarry) run();
  });
}

void Session::watch_socket() {
  if (step_ == Step::kOver || socket_watch_ == 0 || session_ == nullptr) return;
  const bool elsewhere = is_elsewhere();
  if (elsewhere || (login_ && login_->has_lent_session()))
    return loop_.change(socket_watch_, {.read = elsewhere && !server_speaks_});
  server_speaks_ = false;
  const int directions = libssh2_session_block_directions(session_);
  // While the root does not take what we have, the server is not listened to either.
  const bool read = step_ != Step::kCarry || to_root_.empty();
  loop_.change(socket_watch_, {.read = read, .write = (directions & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0});
}

void Session::watch_channel() {
  if (channel_watch_ == 0) return;
  loop_.change(channel_watch_, {.read = !root_ended_ && to_host_.empty(), .write = !to_root_.empty()});
}

// --- the end ---

void Session::fail(ErrorClass error_class, const std::string& text, std::string_view remedy) {
  end(Error{error_class, phase(), text, remedy});
}

void Session::fail_by_library(std::string_view what) {
  char* words = nullptr;
  const int code = libssh2_session_last_error(session_, &words, nullptr, 0);
  std::string text = cat(what, ": ", words != nullptr && *words != '\0' ? words : "failed");
  if (library_.is_overfull)
    return fail(ErrorClass::kProtocol, cat(last_address_, " sends without end what nobody asked for"),
                kNotSpeaking);
  if (library_.is_early && library_.early_left == 0)
    return fail(ErrorClass::kProtocol, cat(last_address_, " sends without end and never gets to the point"),
                "what listens there is not sshd: check the port");
  // The end of a connection before the server's first line has one code or the other, as it happened.
  const bool is_before_banner = step_ == Step::kHandshake && text.find("banner") != text.npos;
  switch (is_before_banner ? LIBSSH2_ERROR_BANNER_RECV : code) {
    case LIBSSH2_ERROR_BANNER_RECV:
      return fail(ErrorClass::kRefused, cat(last_address_, " hung up before it said who it is"), kCrowded);
    case LIBSSH2_ERROR_PROTO:
      return fail(ErrorClass::kProtocol, text, "what listens there is not sshd: check the port");
    case LIBSSH2_ERROR_SOCKET_DISCONNECT:
    case LIBSSH2_ERROR_SOCKET_RECV:
    case LIBSSH2_ERROR_SOCKET_SEND:
      if (step_ == Step::kCarry) {
        const std::string_view why = library_.farewell.empty() ? "the server ended it without a word"
                                                               : std::string_view(library_.farewell);
        return fail(ErrorClass::kLost, cat("the connection to ", last_address_, " broke: ", why),
                    "the host may be starting anew, or its sshd: try again");
      }
      if (!library_.farewell.empty()) text = library_.farewell;
      return fail(ErrorClass::kRefused, cat("the server hung up: ", text), "the server's log says why");
    case LIBSSH2_ERROR_KEX_FAILURE:
    case LIBSSH2_ERROR_KEY_EXCHANGE_FAILURE:
    case LIBSSH2_ERROR_METHOD_NONE:
      // Of a host that is known the kind of its key is, and decides before (transports/back_end.h).
      return fail(
          ErrorClass::kProtocol,
          cat(text,
              "; libssh2 1.10 may have nothing in common with the server, as with one that has a host "
              "key of RSA only"),
          "use --ssh openssh for this host");
    case LIBSSH2_ERROR_CHANNEL_FAILURE:
    case LIBSSH2_ERROR_CHANNEL_REQUEST_DENIED:
      return fail(ErrorClass::kRefused, text, "the account must allow commands without a terminal");
    default:
      return fail(ErrorClass::kProtocol, text, "try --ssh openssh");
  }
}

void Session::end(std::optional<Error> error, std::optional<std::uint8_t> exit_code) {
  if (step_ == Step::kOver) return;
  step_ = Step::kOver;
  if (login_ && login_->has_lent_session()) login_.reset();  // so this is no call of its own
  loop_.cancel(std::exchange(next_address_, 0));
  loop_.cancel(std::exchange(next_lock_try_, 0));
  if (socket_watch_ != 0) loop_.unwatch(std::exchange(socket_watch_, 0));
  if (channel_watch_ != 0) loop_.unwatch(std::exchange(channel_watch_, 0));
  // The root hears what came before, then the end of the channel, then why.
  if (channel_) loop_.close(channel_.release());
  owner_.on_end(*this, {.id = id(), .error = std::move(error), .exit_code = exit_code});
}

}  // namespace banyan::connector
