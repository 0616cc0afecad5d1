#include "transports/connector/session.h"

#include <poll.h>
#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <utility>

#include "core/text.h"
#include "transports/connector/library_error.h"
#include "transports/openssh_log.h"

namespace banyan::connector {
namespace {

constexpr int kFreeTries = 8;  // each ends one thing that was under way: a packet, a channel
// Until the command runs, a server has a few kilobytes to say, and a banner. libssh2 reads a first line that
// never comes for as long as there is something to read: others wait meanwhile, so it is given a piece at a
// time.
constexpr std::size_t kEarlyMax = 1024 * 1024;
constexpr std::string_view kGraceTime =
    "the server waits only so long for an answer (LoginGraceTime): answer sooner, use a key, or -k, which "
    "asks once for all";

std::string joined(const std::vector<std::string>& names) {
  std::string list;
  for (const std::string& name : names) list += cat(list.empty() ? "" : ",", name);
  return list;
}

}  // namespace

Session::Session(Loop& loop, Resolver& resolver, KeyRing& ring, SessionOrder order, Fd channel, Owner& owner,
                 Leg leg)
    : loop_(loop),
      resolver_(resolver),
      ring_(ring),
      order_(std::move(order)),
      owner_(owner),
      leg_(std::move(leg)),
      is_through_(leg_.through),
      channel_(std::move(channel)),
      dial_(
          loop_, order_.settings, [this](std::string_view step) { tell(step); },
          [this](Result<Fd> socket) { on_connected(std::move(socket)); }),
      host_keys_(order_.settings) {
  library_.early_left = kEarlyMax;
  library_.held_max = kHeldPerWindow * order_.settings.window + kHeldBesidesMax;
}

Session::~Session() {
  *alive_ = false;
  login_.reset();  // before what it uses
  carrier_.reset();
  loop_.cancel(next_lock_try_);
  if (socket_watch_ != 0) loop_.unwatch(socket_watch_);
  // Its farewell would have to wait for the server: the end of the connection says as much.
  if (session_ != nullptr) {
    libssh2_session_set_blocking(session_, 0);
    command_.reset();
    tunnel_.reset();
    libssh2_session_disconnect_ex(session_, SSH_DISCONNECT_BY_APPLICATION, "", "");
    // What would wait for the server fails from here on, also what would wait for its turn to read. Else
    // libssh2 frees nothing as long as it waits.
    if (socket_) ::shutdown(socket_.get(), SHUT_RDWR);
    library_.is_overfull = true;
    for (int i = 0; i < kFreeTries && libssh2_session_free(session_) == LIBSSH2_ERROR_EAGAIN; ++i) {
    }
  }
  for (Fd* socket : {&socket_, &leg_.through})
    if (*socket) loop_.close(socket->release());
  if (channel_) loop_.close(channel_.release());
}

void Session::start() {
  if (is_through_) {
    tell(cat("Executing proxy command: none, it is a tunnel through ", leg_.through_name));
    step_ = Step::kConnect;  // which is said by who opened the tunnel
    return on_connected(std::move(leg_.through));
  }
  enter(Step::kResolve);
  const SessionSettings& settings = order_.settings;
  resolver_.resolve(settings.host, settings.port, settings.family,
                    [this, alive = alive_](Result<std::vector<Address>> addresses) {
                      if (!*alive || step_ == Step::kOver) return;
                      if (!addresses) return end(addresses.error());
                      enter(Step::kConnect);
                      dial_.start(std::move(*addresses));
                    });
}

Phase Session::phase() const {
  switch (step_) {
    case Step::kResolve:
      return Phase::kResolve;
    case Step::kConnect:
    case Step::kOpenTunnel:  // to the next host
      return Phase::kConnect;
    case Step::kHandshake:
    case Step::kKeepHostKey:
      return Phase::kKex;
    case Step::kIdentities:
    case Step::kAuthenticate:
      return Phase::kAuth;
    case Step::kStartCommand:
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
    case Step::kOpenTunnel:
      return open_tunnel();
    case Step::kStartCommand:
      return start_command();
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

void Session::on_connected(Result<Fd> socket) {
  if (!socket) return end(socket.error());
  socket_ = std::move(*socket);
  session_ = new_session(library_);
  if (session_ == nullptr)
    return end(Error{ErrorClass::kResource, Phase::kKex, "no memory for a session", {}});
  libssh2_session_set_blocking(session_, 0);
  if (const Result<Done> read = host_keys_.read(); !read) return end(read.error());
  const SessionSettings& settings = order_.settings;
  const std::pair<int, std::string> methods[] = {
      {LIBSSH2_METHOD_HOSTKEY, joined(host_keys_.preference())},
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
  const Bytes key = shown_host_key(session_);
  tell(cat("Server host key: ", text_of_host_key(key)));
  const Result<HostKeys::Answer> answer = host_keys_.check(key);
  if (!answer) {
    end(answer.error());
    return Progress::kOver;
  }
  if (*answer == HostKeys::Answer::kNew) {
    enter(Step::kKeepHostKey);
  } else {
    begin_login();
  }
  return Progress::kDone;
}

// As long as another program has the file locked, the other sessions go on.
Session::Progress Session::keep_host_key() {
  if (next_lock_try_ != 0) return Progress::kWait;
  const Bytes key = shown_host_key(session_);
  const Result<Kept> kept = host_keys_.keep(key);
  if (kept && *kept == Kept::kLocked && ++lock_tries_ < kLockTriesMax) {
    next_lock_try_ = loop_.after(kLockPause, [this] {
      next_lock_try_ = 0;
      on_login_ready();
    });
    return Progress::kWait;
  }
  if (!kept || *kept == Kept::kLocked) {
    end(kept ? is_locked(order_.settings.accept_new) : kept.error());
    return Progress::kOver;
  }
  if (*kept != Kept::kWasThere) owner_.on_text(*this, host_keys_.kept_text(key));
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
      if (leg_.onward) {
        enter(Step::kOpenTunnel);
        tunnel_.emplace(loop_, session_, *leg_.onward, order_.settings.window);
        return Progress::kDone;
      }
      enter(Step::kStartCommand);
      command_.emplace(loop_, session_, order_);
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
  if (!login_ || step_ != Step::kAuthenticate) return;
  if (login_->is_asking() && server_has_gone()) return fail_left_alone();
  login_->answer(std::move(answer));
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

// --- the command ---

Session::Progress Session::start_command() {
  switch (command_->start()) {
    case RemoteCommand::Progress::kWait:
      return Progress::kWait;
    case RemoteCommand::Progress::kFailed:
      fail_by_library(command_->doing());
      return Progress::kOver;
    case RemoteCommand::Progress::kRuns:
      break;
  }
  begin_to_carry(command_->channel(), command_->window());
  return Progress::kDone;
}

Session::Progress Session::open_tunnel() {
  switch (tunnel_->start()) {
    case RemoteTunnel::Progress::kWait:
      return Progress::kWait;
    case RemoteTunnel::Progress::kFailed:
      end(tunnel_->error(library_, address()));
      return Progress::kOver;
    case RemoteTunnel::Progress::kOpen:
      break;
  }
  begin_to_carry(tunnel_->channel(), tunnel_->window());
  owner_.on_open(*this);
  return step_ == Step::kOver ? Progress::kOver : Progress::kDone;
}

void Session::begin_to_carry(LIBSSH2_CHANNEL* channel, std::uint32_t window) {
  enter(Step::kCarry);
  library_.is_early = false;
  carrier_.emplace(loop_, session_, channel, window, channel_.get(), static_cast<Carrier::Owner&>(*this));
}

Session::Progress Session::carry() {
  switch (carrier_->round()) {
    case Carrier::Outcome::kWait:
      watch_socket();
      return Progress::kWait;
    case Carrier::Outcome::kEnded:
      end({}, carrier_->exit_code());
      break;
    case Carrier::Outcome::kRootHasGone:
      end({});
      break;
    case Carrier::Outcome::kReadFailed:
      fail_by_library("reading");
      break;
    case Carrier::Outcome::kWriteFailed:
      fail_by_library("writing");
      break;
    case Carrier::Outcome::kUnknownStream:
      fail(ErrorClass::kProtocol, cat(address(), " sends a stream of the command's that there is not"),
           kNotSpeaking);
      break;
  }
  return Progress::kOver;
}

void Session::on_carrier_ready() {
  if (step_ == Step::kCarry) run();
}

void Session::watch_socket() {
  if (step_ == Step::kOver || socket_watch_ == 0 || session_ == nullptr) return;
  const bool elsewhere = is_elsewhere();
  if (elsewhere || (login_ && login_->has_lent_session()))
    return loop_.change(socket_watch_, {.read = elsewhere && !server_speaks_});
  server_speaks_ = false;
  const int directions = libssh2_session_block_directions(session_);
  const bool read = !carrier_ || carrier_->listens();
  loop_.change(socket_watch_, {.read = read, .write = (directions & LIBSSH2_SESSION_BLOCK_OUTBOUND) != 0});
}

// --- the end ---

void Session::fail(ErrorClass error_class, const std::string& text, std::string_view remedy) {
  end(Error{error_class, phase(), text, remedy});
}

void Session::fail_by_library(std::string_view what) {
  end(library_error(session_, library_, phase(), what, address()));
}

void Session::end(std::optional<Error> error, std::optional<std::uint8_t> exit_code) {
  if (step_ == Step::kOver) return;
  step_ = Step::kOver;
  if (login_ && login_->has_lent_session()) login_.reset();  // so this is no call of its own
  loop_.cancel(std::exchange(next_lock_try_, 0));
  if (socket_watch_ != 0) loop_.unwatch(std::exchange(socket_watch_, 0));
  if (carrier_) carrier_->stop();
  // The root hears what came before, then the end of the channel, then why.
  if (channel_) loop_.close(channel_.release());
  owner_.on_end(*this, {.id = id(), .error = std::move(error), .exit_code = exit_code});
}

}  // namespace banyan::connector
