#include "transports/connector/login.h"

#include <sys/socket.h>

#include <algorithm>
#include <cerrno>
#include <cstdlib>
#include <cstring>

#include "core/text.h"
#include "transports/connector/public_key.h"
#include "transports/remedies.h"

namespace banyan::connector {
namespace {

constexpr std::string_view kKeys = "publickey", kInteractive = "keyboard-interactive", kPassword = "password";
constexpr std::string_view kRemedy = "check the user (-l) and the key (--identity, ssh-add -l)";
constexpr std::string_view kManyKeys = "the server counts keys: name the right one with --identity";

void add(std::string& list, std::string_view what) {
  list += cat(list.empty() ? "" : ", ", what);
}

bool has(std::string_view list, std::string_view name) {
  while (!list.empty()) {
    const std::size_t end = std::min(list.find(','), list.size());
    if (list.substr(0, end) == name) return true;
    list.remove_prefix(std::min(end + 1, list.size()));
  }
  return false;
}

}  // namespace

Login::Login(Loop& loop, KeyRing& ring, const SessionSettings& settings, LIBSSH2_SESSION* session, int socket,
             Owner& owner)
    : loop_(loop),
      settings_(settings),
      owner_(owner),
      session_(session),
      socket_(socket),
      library_(static_cast<Library*>(*libssh2_session_abstract(session))),
      identities_(
          loop, ring, settings, [this] { owner_.on_login_ready(); },
          [this](const std::string& file) {
            SessionQuestion question;
            question.kind = SessionQuestion::Kind::kPassphrase;
            question.file = file;
            ask(std::move(question));
          }) {
  library_->notes_refusals = true;
}

bool Login::is_wanted(std::string_view method) const {
  return std::ranges::find(settings_.methods, method) != settings_.methods.end();
}

bool Login::is_offered(std::string_view method) const {
  return has(offered_, method);
}

Login::Progress Login::failed(std::string_view text, std::string_view remedy) {
  error_ = Error{ErrorClass::kAuth, Phase::kAuth, text, remedy};
  return Progress::kFailed;
}

Login::Progress Login::run() {
  waits_for_keys_ = false;
  Progress progress = Progress::kGoOn;
  while (progress == Progress::kGoOn) progress = step();
  if (progress != Progress::kWait) library_->wipes = library_->notes_refusals = false;
  if (progress == Progress::kDone) tell_done();
  return progress;
}

void Login::tell_key(std::string_view what) {
  if (!settings_.tells_steps) return;
  const Bytes key = identities_.public_key();
  owner_.on_step(cat(what, ": ", identities_.name(), " ", public_key_type(key), " ", fingerprint(key)));
}

void Login::tell_done() {
  if (!settings_.tells_steps) return;
  const std::string_view method = method_ == Method::kKeys          ? kKeys
                                  : method_ == Method::kInteractive ? kInteractive
                                  : method_ == Method::kPassword    ? kPassword
                                                                    : "none";
  owner_.on_step(cat("Authenticated to ", settings_.host, " using \"", method, "\"."));
}

Login::Progress Login::step() {
  if (asking_) return Progress::kWait;
  switch (method_) {
    case Method::kKeys:
      return try_keys();
    case Method::kPassword:
      return try_password();
    case Method::kInteractive:
      return try_interactive();
    case Method::kNone:
      break;
  }
  return choose();
}

// --- which way ---

Login::Progress Login::choose() {
  const bool wants_keys = is_wanted(kKeys) && !keys_are_over_ && !identities_.is_over();
  // Without the list: keys first, if they come first; a refusal brings it.
  if (wants_keys && !has_list_ && settings_.methods.front() == kKeys) {
    method_ = Method::kKeys;
    return Progress::kGoOn;
  }
  if (!has_list_) return ask_what_is_offered();
  for (const std::string& method : settings_.methods) {
    if (!is_offered(method)) continue;
    if (method == kKeys && wants_keys) {
      method_ = Method::kKeys;
      return Progress::kGoOn;
    }
    if (!settings_.may_ask) continue;
    if (method == kInteractive && exchanges_ < settings_.password_prompts) {
      method_ = Method::kInteractive;
      return Progress::kGoOn;
    }
    if (method == kPassword && passwords_ < settings_.password_prompts) {
      method_ = Method::kPassword;
      return Progress::kGoOn;
    }
  }
  return no_way_left();
}

Login::Progress Login::ask_what_is_offered() {
  const std::string& user = settings_.user;
  const char* list = libssh2_userauth_list(session_, user.c_str(), static_cast<unsigned int>(user.size()));
  if (list == nullptr && libssh2_session_last_errno(session_) == LIBSSH2_ERROR_EAGAIN) return Progress::kWait;
  if (libssh2_userauth_authenticated(session_) != 0) return Progress::kDone;
  if (list == nullptr) return if_cut_off().value_or(Progress::kLibraryFailed);
  offered_ = list;
  has_list_ = true;
  if (settings_.tells_steps) owner_.on_step(cat("Authentications that can continue: ", offered_));
  return Progress::kGoOn;
}

// Each refusal says what the server takes now. To ask for it once more would be a request that fails too, and
// sshd counts those beyond the first.
void Login::take_refusal() {
  was_taken_ = library_->refusal && library_->refusal->is_partial;
  if (!library_->refusal) return;
  offered_ = std::move(std::exchange(library_->refusal, {})->methods);
  has_list_ = true;
  if (settings_.tells_steps) owner_.on_step(cat("Authentications that can continue: ", offered_));
}

// After what the person gave. Where two ways have to be gone one after the other, a server that took the
// first says no as well.
void Login::was_refused(std::string_view what) {
  take_refusal();
  method_ = Method::kNone;
  if (was_taken_) return;
  if (refused_.find(what) == refused_.npos) add(refused_, what);
  owner_.on_refused();
}

Login::Progress Login::no_way_left() {
  const std::string text = cat(refusals(), " (the server takes: ", offered_, ")");
  const bool would_ask = (is_offered(kPassword) && is_wanted(kPassword)) ||
                         (is_offered(kInteractive) && is_wanted(kInteractive));
  return failed(text, would_ask && !settings_.may_ask && refused_.empty() ? kNobodyRemedy : kRemedy);
}

std::string Login::refusals() const {
  std::string text = cat("permission denied for ", settings_.user);
  text += refused_.empty() ? std::string("; there was no key to offer") : cat("; refused: ", refused_);
  if (!identities_.complaints().empty()) text += cat("; not usable: ", identities_.complaints());
  return text;
}

// Of a connection that broke while it waited for an answer libssh2 says with the same code that we were
// refused; only its words differ.
std::optional<Login::Progress> Login::if_cut_off() {
  if (library_->asks_too_much)
    return failed(cat("the server asks more than ", kPromptsMax, " questions at once"),
                  "only a server that means ill does: check which one it is");
  char* said = nullptr;
  const int code = libssh2_session_last_error(session_, &said, nullptr, 0);
  const std::string_view words = said == nullptr ? "" : said;
  const bool is_cut_off = code == LIBSSH2_ERROR_SOCKET_DISCONNECT || code == LIBSSH2_ERROR_SOCKET_SEND ||
                          code == LIBSSH2_ERROR_SOCKET_RECV || words.starts_with("Waiting for") ||
                          words.starts_with("Unable to send");
  if (!is_cut_off) return std::nullopt;
  if (library_->early_left == 0 || library_->is_overfull) return Progress::kLibraryFailed;
  const std::string& farewell = library_->farewell;
  const std::string last_words = farewell.empty() ? "" : cat(": ", farewell);
  char byte;
  const ssize_t more = ::recv(socket_, &byte, 1, MSG_PEEK | MSG_DONTWAIT);
  const bool is_open = more > 0 || (more < 0 && (errno == EAGAIN || errno == EINTR));
  if (is_open && farewell.empty()) {
    // libssh2 takes nothing more from it.
    error_ = Error{ErrorClass::kProtocol, Phase::kAuth,
                   "the server sent something that libssh2 1.10 does not take, such as a banner of more than "
                   "35,000 bytes",
                   "use --ssh openssh for this host"};
  } else if (!refused_.empty()) {
    error_ = Error{ErrorClass::kAuth, Phase::kAuth, cat(refusals(), "; then the server hung up", last_words),
                   passwords_ + exchanges_ > 0 ? kRemedy : kManyKeys};
  } else {
    error_ = Error{ErrorClass::kRefused, Phase::kAuth, cat("the server hung up", last_words),
                   "the server's log says why"};
  }
  return Progress::kFailed;
}

// --- keys ---

int Login::sign(LIBSSH2_SESSION*, unsigned char** signature, std::size_t* signature_bytes,
                const unsigned char* data, std::size_t data_bytes, void** abstract) {
  Login& self = *static_cast<Login*>(*abstract);
  const Bytes asked(data, data_bytes);
  if (!self.request_->is_asked_in(asked)) return -1;
  Buffer made;
  switch (self.identities_.sign(asked, made)) {
    case Identities::Status::kWait:
      self.waits_for_keys_ = true;
      return LIBSSH2_ERROR_EAGAIN;
    case Identities::Status::kFailed:
      return -1;
    case Identities::Status::kDone:
      break;
  }
  self.tell_key("Server accepts key");  // else it would not have come to this
  // libssh2 frees it, with the session's own function: of what the C library gave.
  *signature = static_cast<unsigned char*>(std::malloc(made.size()));
  if (*signature == nullptr) return -1;
  std::memcpy(*signature, made.data(), made.size());
  *signature_bytes = made.size();
  return 0;
}

Login::Progress Login::try_keys() {
  while (!identities_.is_over()) {
    const Identities::Status prepared = identities_.prepare();
    if (prepared == Identities::Status::kWait) {
      waits_for_keys_ = true;
      return Progress::kWait;
    }
    if (prepared == Identities::Status::kFailed) {
      if (const std::optional<Error>& shortage = identities_.shortage()) {
        error_ = *shortage;
        return Progress::kFailed;
      }
      identities_.next();
      continue;
    }
    if (!request_) {
      request_.emplace(identities_.public_key(), identities_.algorithm());
      tell_key("Offering public key");
    }
    library_->request = &*request_;
    const Bytes key = request_->shown();
    void* abstract = this;
    const int code = libssh2_userauth_publickey(session_, settings_.user.c_str(), key.data(), key.size(),
                                                &Login::sign, &abstract);
    library_->request = nullptr;
    if (code == LIBSSH2_ERROR_EAGAIN) return Progress::kWait;
    request_.reset();
    if (code == 0) return Progress::kDone;
    if (const std::optional<Error>& shortage = identities_.shortage()) {
      error_ = *shortage;
      return Progress::kFailed;
    }
    if (const std::optional<Progress> cut_off = if_cut_off()) return *cut_off;
    const bool was_offered = !identities_.has_failed();
    take_refusal();
    if (was_offered && !was_taken_) add(refused_, identities_.name());
    identities_.next();
    // It wants something more, or takes no keys at all.
    if (was_taken_ || (has_list_ && !is_offered(kKeys))) {
      method_ = Method::kNone;
      return Progress::kGoOn;
    }
  }
  keys_are_over_ = true;
  method_ = Method::kNone;
  return Progress::kGoOn;
}

// --- what a person knows ---

void Login::ask(SessionQuestion question) {
  asking_ = true;
  question.number = ++question_;
  owner_.on_question(std::move(question));
}

void Login::answer(SessionAnswer answer) {
  if (!asking_ || answer.number != question_) return;
  asking_ = false;
  if (!interactive_) library_->wipes = true;  // else it does, and is another thread's
  switch (method_) {
    case Method::kKeys:
      if (answer.secrets.empty()) {
        identities_.give_up_passphrase();
      } else {
        identities_.give_passphrase(std::move(answer.secrets.front()));
      }
      break;
    case Method::kPassword:
      password_ = answer.secrets.empty() ? Secret() : std::move(answer.secrets.front());
      was_declined_ = answer.secrets.empty();
      break;
    case Method::kInteractive:
      was_declined_ = answer.secrets.empty();
      if (!was_declined_ && interactive_) interactive_->answer(std::move(answer.secrets));
      break;
    case Method::kNone:
      break;
  }
  owner_.on_login_ready();
}

Login::Progress Login::try_password() {
  if (was_declined_) return failed("a password was asked for, and not given");
  if (!password_) {
    SessionQuestion question;
    question.kind = SessionQuestion::Kind::kPassword;
    ask(std::move(question));
    return Progress::kWait;
  }
  const std::string& user = settings_.user;
  const std::string_view password = password_->text();
  const int code =
      libssh2_userauth_password_ex(session_, user.c_str(), static_cast<unsigned int>(user.size()),
                                   password.data(), static_cast<unsigned int>(password.size()), nullptr);
  if (code == LIBSSH2_ERROR_EAGAIN) return Progress::kWait;
  password_.reset();
  if (code == 0) return Progress::kDone;
  if (code == LIBSSH2_ERROR_PASSWORD_EXPIRED)
    return failed(cat("the password of ", user, " has expired"), "log in by hand once and change it");
  ++passwords_;
  if (const std::optional<Progress> cut_off = if_cut_off()) {
    // Too many tries; or it had hung up before we were heard.
    if (!library_->farewell.empty()) owner_.on_refused();
    return *cut_off;
  }
  was_refused("the password");
  return Progress::kGoOn;
}

Login::Progress Login::try_interactive() {
  if (was_declined_) return failed("an answer was asked for, and not given");
  if (!interactive_ && !interactive_code_) {
    was_answered_ = false;
    library_->wipes = true;
    interactive_ = std::make_unique<Interactive>(
        loop_, session_, socket_, settings_.user,
        [this](SessionQuestion question) {
          was_answered_ = true;
          ask(std::move(question));
        },
        [this](int code) {
          interactive_code_ = code;
          interactive_.reset();
          owner_.on_login_ready();
        });
    if (const std::optional<Error> error = interactive_->error()) {
      interactive_.reset();
      error_ = *error;
      return Progress::kFailed;
    }
    return Progress::kWait;
  }
  if (!interactive_code_) return Progress::kWait;
  const int code = *std::exchange(interactive_code_, {});
  if (code == 0) return Progress::kDone;
  ++exchanges_;
  if (const std::optional<Progress> cut_off = if_cut_off()) {
    if (was_answered_ && !library_->farewell.empty()) owner_.on_refused();
    return *cut_off;
  }
  // A server that refuses without having asked would go on doing so.
  if (!was_answered_) exchanges_ = settings_.password_prompts;
  was_refused("what was answered");
  return Progress::kGoOn;
}

}  // namespace banyan::connector
