#include "transports/connectors.h"

#include <sched.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <deque>
#include <map>
#include <thread>

#include "core/alive.h"
#include "core/spawn.h"
#include "core/text.h"
#include "parent/recipe.h"

namespace banyan {
namespace {

// A connector that does not end a session within this is not well: it is ended itself.
constexpr Nanos kEndDeadline = 5 * kSecond;
constexpr int kDatagramsARound = 64;
constexpr unsigned kKeyRequestsMax = 128;   // of one signer: an ssh has two for each key
constexpr std::uint8_t kKeySignature = 14;  // how a signature begins, in the key agent's protocol
constexpr unsigned kQuestionsMax = 64;      // of one session: more, and it is not logging in that it wants

std::size_t processors() {
  cpu_set_t set;
  if (::sched_getaffinity(0, sizeof set, &set) == 0)
    return std::max<std::size_t>(1, std::size_t(CPU_COUNT(&set)));
  return 1;
}

}  // namespace

namespace {
Error too_long() {
  return Error{ErrorClass::kResource, Phase::kConnect, "what a session is to know is longer than 64 KiB",
               "fewer or shorter variables (SendEnv), files and jumps; or --ssh openssh"};
}
}  // namespace

class Connectors::Party {
 public:
  virtual void on_phase(Phase) {}
  virtual void on_text(std::string_view text) = 0;
  virtual void on_excess(std::string_view) {}
  virtual void on_refused() {}
  // False: it asks for what is not its own.
  virtual bool on_question(const SessionQuestion& question) = 0;
  virtual void on_key_reply(const KeyReplyMessage&) {}
  virtual void on_end(const SessionEnd& end) = 0;

 protected:
  ~Party() = default;
};

class Connectors::Connector {
 public:
  static Result<std::unique_ptr<Connector>> start(Loop& loop, const std::string& program);
  Connector(Loop& loop, pid_t pid, Fd socket);
  ~Connector();

  bool is_usable() const { return bool(socket_); }
  bool is_gone() const { return process_.has_ended(); }
  std::size_t load() const { return parties_.size(); }
  void add(SessionId id, Party& party) { parties_[id] = &party; }
  void remove(SessionId id) { parties_.erase(id); }
  void send(const ToConnector& message, Fd fd);
  void give_up() { process_.end(); }

 private:
  struct Unsent {
    Secret message;  // answers, perhaps: it is wiped wherever it ends
    Fd fd;
  };
  void on_ready(Ready ready);
  void receive();
  void flush();
  void on_exit(int status);
  void close();

  Loop& loop_;
  Fd socket_;
  Loop::WatchId watch_ = 0;
  std::deque<Unsent> unsent_;  // two for each session at most
  std::map<SessionId, Party*> parties_;
  ChildProcess process_;
  Alive alive_;
};

class Connectors::Session final : public Carrier, public Party {
 public:
  Session(Loop& loop, Connector& connector, SessionId id, Owner& owner, const SessionSettings& settings,
          Secrets* secrets, Secrets::LoginId login)
      : loop_(loop), connector_(connector), id_(id), owner_(owner), secrets_(secrets), login_(login) {
    for (const SessionSettings& hop : settings.hops) add_account(hop);
    add_account(settings);
    connector_.add(id_, *this);
    if (login_ != 0) secrets_->begin_try(login_);
  }
  ~Session() override {
    loop_.cancel(deadline_);
    stop_asking();
    if (over_) return;
    connector_.remove(id_);
    if (!ending_) connector_.send(SessionStop{id_}, Fd());
  }

  void end() override {
    if (over_ || std::exchange(ending_, true)) return;
    stop_asking();
    connector_.send(SessionStop{id_}, Fd());
    deadline_ = loop_.after(kEndDeadline, [this] { connector_.give_up(); });
  }
  void read_text() override {}

  void on_phase(Phase phase) override {
    if (login_ != 0 && phase == Phase::kShell) secrets_->accepted(login_);
    owner_.on_carrier_phase(phase);
  }
  void on_text(std::string_view text) override { owner_.on_carrier_text(text); }
  void on_refused() override {
    if (login_ != 0) secrets_->refused(login_);
  }
  bool on_question(const SessionQuestion& question) override;
  void on_end(const SessionEnd& end) override {
    over_ = true;
    loop_.cancel(std::exchange(deadline_, 0));
    if (login_ != 0 && !ending_ && end.error && end.error->phase == Phase::kAuth) {
      if (asked_ != 0) {
        secrets_->hung_up(login_, std::exchange(asked_, 0));
      } else {
        secrets_->cut_off(login_, end.error->error_class == ErrorClass::kRefused);
      }
    }
    stop_asking();
    owner_.on_carrier_end({.error = failure_ ? failure_ : end.error,
                           .status = end.exit_code ? W_EXITCODE(*end.exit_code, 0) : kStatusUnknown});
  }

 private:
  // On the way, or at its end.
  struct Account {
    std::string name;
    std::vector<std::string> identities;
    std::string way;  // to it, from us; accounts that are reached alike are the same
  };
  void add_account(const SessionSettings& settings) {
    std::string name = cat(settings.user, "@", settings.host);
    const std::string before = accounts_.empty() ? "" : accounts_.back().way;
    std::string way = cat(before, "libssh2 ", name, ":", settings.port, "\n");
    accounts_.push_back({std::move(name), settings.identities, std::move(way)});
  }
  void stop_asking() {
    if (asked_ != 0) secrets_->cancel(std::exchange(asked_, 0));
  }

  Loop& loop_;
  Connector& connector_;
  const SessionId id_;
  Owner& owner_;
  Secrets* const secrets_;
  const Secrets::LoginId login_;   // 0: it may not ask
  std::vector<Account> accounts_;  // of its sessions, from us to the host
  Secrets::AskId asked_ = 0;
  unsigned questions_ = 0;
  std::optional<Error> failure_;  // why we ended it
  Loop::TimerId deadline_ = 0;
  bool ending_ = false, over_ = false;
};

// Who asks and for which account is ours to say, not the connector's.
bool Connectors::Session::on_question(const SessionQuestion& question) {
  if (ending_) return true;
  if (login_ == 0 || asked_ != 0 || ++questions_ > kQuestionsMax) return false;
  if (question.session >= accounts_.size()) return false;
  const Account& account = accounts_[question.session];
  Secrets::Want want;
  want.from_jump_host = question.session + 1 < accounts_.size();
  if (want.from_jump_host) want.jump = account.way;
  want.asker = question.session;
  const bool is_passphrase = question.kind == SessionQuestion::Kind::kPassphrase;
  if (is_passphrase) {
    if (std::ranges::find(account.identities, question.file) == account.identities.end()) return false;
    want.kind = Secrets::Kind::kPassphrase;
    want.of = question.file;
  } else {
    if (question.kind == SessionQuestion::Kind::kPassword) want.kind = Secrets::Kind::kPassword;
    want.of = account.name;
    want.lines = {question.name, question.instruction};
    for (const SessionQuestion::Item& item : question.items) want.items.push_back({item.text, item.echo});
  }
  owner_.on_carrier_asks(true);
  asked_ =
      secrets_->ask(login_, std::move(want),
                    [this, number = question.number, is_passphrase](Result<std::vector<Secret>> secrets) {
                      asked_ = 0;
                      owner_.on_carrier_asks(false);
                      if (!secrets && !is_passphrase) {
                        failure_ = secrets.error();
                        return end();
                      }
                      SessionAnswer answer{.id = id_, .number = number, .secrets = {}};
                      if (secrets) answer.secrets = std::move(*secrets);
                      connector_.send(std::move(answer), Fd());
                    });
  return true;
}

// --- signatures ---

class Connectors::Signer final : public Signatures, public Party {
 public:
  Signer(Connector& connector, SessionId id, const SessionSettings& settings, Secrets* secrets,
         Secrets::LoginId login)
      : connector_(connector), id_(id), secrets_(secrets), login_(login), identities_(settings.identities) {
    connector_.add(id_, *this);
    if (login_ != 0) secrets_->begin_try(login_);
  }
  ~Signer() override {
    if (asked_ != 0) secrets_->cancel(asked_);
    if (over_) return;
    connector_.remove(id_);
    connector_.send(SessionStop{id_}, Fd());
  }

  void ask(std::uint32_t visitor, Bytes question, OnAnswer on_answer) override {
    // Whoever counts them at the hop is not to be believed.
    if (over_ || question.size() > kQuestionBytesMax || visitors_.contains(visitor) ||
        ++requests_ > kKeyRequestsMax)
      return on_answer({});
    visitors_[visitor] = std::move(on_answer);
    connector_.send(KeyRequestMessage{id_, visitor, Buffer(question.begin(), question.end())}, Fd());
  }
  const std::string& refusal() const override { return refusal_; }
  const std::vector<std::string>& excesses() const override { return excesses_; }
  bool has_signed() const override { return has_signed_; }
  bool is_over() const override { return over_; }

  void on_text(std::string_view text) override { refusal_ = text; }
  void on_excess(std::string_view why) override {
    refusal_ = why;
    if (excesses_.size() < kExcessesMax && std::ranges::find(excesses_, why) == excesses_.end())
      excesses_.emplace_back(why);
  }
  void on_key_reply(const KeyReplyMessage& reply) override {
    const auto found = visitors_.find(reply.visitor);
    if (found == visitors_.end()) return;
    const OnAnswer on_answer = std::move(found->second);
    visitors_.erase(found);
    has_signed_ = has_signed_ || (!reply.bytes.empty() && reply.bytes.front() == kKeySignature);
    on_answer(reply.bytes);
  }
  bool on_question(const SessionQuestion& question) override {
    const bool is_ours = question.kind == SessionQuestion::Kind::kPassphrase &&
                         std::ranges::find(identities_, question.file) != identities_.end();
    if (login_ == 0 || asked_ != 0 || !is_ours) return false;
    if (++questions_ > kQuestionsMax) {  // that is the hop's doing, and not the connector's
      connector_.send(SessionAnswer{.id = id_, .number = question.number, .secrets = {}}, Fd());
      return true;
    }
    Secrets::Want want;
    want.kind = Secrets::Kind::kPassphrase;
    want.of = question.file;
    asked_ = secrets_->ask(login_, std::move(want),
                           [this, number = question.number](Result<std::vector<Secret>> secrets) {
                             asked_ = 0;
                             SessionAnswer answer{.id = id_, .number = number, .secrets = {}};
                             if (secrets) answer.secrets = std::move(*secrets);
                             connector_.send(std::move(answer), Fd());
                           });
    return true;
  }
  void on_end(const SessionEnd& end) override {
    over_ = true;
    if (asked_ != 0) secrets_->cancel(std::exchange(asked_, 0));
    if (end.error) refusal_ = end.error->text;
    for (const auto& [visitor, on_answer] : std::exchange(visitors_, {})) on_answer({});
  }

 private:
  Connector& connector_;
  const SessionId id_;
  Secrets* const secrets_;
  const Secrets::LoginId login_;  // 0: nobody is asked
  const std::vector<std::string> identities_;
  std::map<std::uint32_t, OnAnswer> visitors_;
  Secrets::AskId asked_ = 0;
  unsigned questions_ = 0, requests_ = 0;
  std::string refusal_;
  std::vector<std::string> excesses_;
  bool over_ = false, has_signed_ = false;
};

// --- one connector ---

Result<std::unique_ptr<Connectors::Connector>> Connectors::Connector::start(Loop& loop,
                                                                            const std::string& program) {
  int pair[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, pair) != 0)
    return system_error(ErrorClass::kResource, Phase::kConnect, "a socket for a connector", errno);
  Fd ours(pair[0]), theirs(pair[1]);
  SpawnOptions options;
  options.new_session = true;
  options.die_with_parent = true;
  // Else the dynamic linker, asked for a function at its first call, leaves the processor's registers on the
  // stack, and in them what was copied last: a password.
  options.environment = {{"LD_BIND_NOW", "1"}};
  const Spawned spawned =
      SpawnPlan({program}, std::move(options)).run({.in = theirs.get(), .out = -1, .err = STDERR_FILENO});
  if (spawned.pid < 0) {
    Error error =
        system_error(ErrorClass::kResource, Phase::kConnect, cat("starting ", program), spawned.error);
    error.remedy = "install banyan-connector beside banyan, or use --ssh openssh";
    return error;
  }
  return std::make_unique<Connector>(loop, spawned.pid, std::move(ours));
}

Connectors::Connector::Connector(Loop& loop, pid_t pid, Fd socket)
    : loop_(loop),
      socket_(std::move(socket)),
      process_(loop, pid, true, [this](int status) { on_exit(status); }) {
  watch_ = loop_.watch(socket_.get(), {.read = true}, [this](Ready ready) { on_ready(ready); });
}

Connectors::Connector::~Connector() {
  *alive_ = false;
  close();
}

void Connectors::Connector::close() {
  if (!socket_) return;
  loop_.unwatch(watch_);
  loop_.close(socket_.release());
}

void Connectors::Connector::send(const ToConnector& message, Fd fd) {
  if (!socket_) return;  // on_exit tells everybody
  unsent_.push_back({Secret(encode(message)), std::move(fd)});
  flush();
}

void Connectors::Connector::flush() {
  while (socket_ && !unsent_.empty()) {
    const Unsent& first = unsent_.front();
    if (!send_datagram(socket_.get(), first.message.bytes(), first.fd ? first.fd.get() : -1)) {
      if (errno == EAGAIN) break;
      return give_up();
    }
    unsent_.pop_front();
  }
  if (socket_) loop_.change(watch_, {.read = true, .write = !unsent_.empty()});
}

void Connectors::Connector::on_ready(Ready ready) {
  if (ready.read) receive();
  if (ready.write && socket_) flush();
}

// What it says of sessions that are not its own any more is late, not wrong.
void Connectors::Connector::receive() {
  const Alive alive = alive_;
  for (int i = 0; i < kDatagramsARound && *alive && socket_; ++i) {
    const Datagram datagram = receive_datagram(socket_.get());
    if (datagram.status == Datagram::Status::kWouldBlock) return;
    if (datagram.status == Datagram::Status::kEnd) {
      close();
      return give_up();
    }
    const Result<FromConnector> message = decode_from_connector(datagram.message);
    if (!message) {
      close();
      return give_up();
    }
    const SessionId id = std::visit([](const auto& one) { return one.id; }, *message);
    const auto found = parties_.find(id);
    if (found == parties_.end()) continue;
    Party& party = *found->second;
    if (const auto* phase = std::get_if<SessionPhase>(&*message)) party.on_phase(phase->phase);
    if (const auto* text = std::get_if<SessionText>(&*message))
      text->is_excess ? party.on_excess(text->text) : party.on_text(text->text);
    if (std::holds_alternative<SessionRefused>(*message)) party.on_refused();
    if (const auto* reply = std::get_if<KeyReplyMessage>(&*message)) party.on_key_reply(*reply);
    if (const auto* question = std::get_if<SessionQuestion>(&*message); question != nullptr) {
      if (!party.on_question(*question)) {
        close();
        return give_up();
      }
    }
    if (const auto* end = std::get_if<SessionEnd>(&*message)) {
      parties_.erase(found);
      party.on_end(*end);
    }
  }
}

void Connectors::Connector::on_exit(int status) {
  close();
  unsent_.clear();
  std::string how = WIFSIGNALED(status) ? cat("was killed by signal ", WTERMSIG(status))
                                        : cat("ended with exit code ", WEXITSTATUS(status));
  Error error{ErrorClass::kLost, Phase::kConnect, cat("the process that kept the ssh session ", how),
              "try again"};
  error.started = Started::kUnknown;
  // One may take another with it.
  while (!parties_.empty()) {
    const auto first = parties_.begin();
    const SessionId id = first->first;
    Party& party = *first->second;
    parties_.erase(first);
    party.on_end({.id = id, .error = error});
  }
}

// --- all of them ---

Connectors::Connectors(Loop& loop, std::string program, Secrets* secrets)
    : loop_(loop), program_(std::move(program)), secrets_(secrets), count_max_(processors()) {}

Connectors::~Connectors() = default;

std::string Connectors::default_program() {
  if (const char* named = std::getenv("BANYAN_CONNECTOR"); named != nullptr && *named != '\0') return named;
  std::string path(4096, '\0');
  const ssize_t length = ::readlink("/proc/self/exe", path.data(), path.size());
  path.resize(std::size_t(std::max<ssize_t>(length, 0)));
  return path.substr(0, path.rfind('/') + 1) + "banyan-connector";
}

Result<Connectors::Connector*> Connectors::least_loaded() {
  std::erase_if(connectors_,
                [](const auto& connector) { return connector->is_gone() && connector->load() == 0; });
  Connector* best = nullptr;
  std::size_t usable = 0;
  for (const auto& connector : connectors_) {
    if (!connector->is_usable()) continue;
    ++usable;
    if (best == nullptr || connector->load() < best->load()) best = connector.get();
  }
  if (best != nullptr && (best->load() == 0 || usable >= count_max_)) return best;
  Result<std::unique_ptr<Connector>> started = Connector::start(loop_, program_);
  if (!started) return started.error();
  connectors_.push_back(std::move(*started));
  return connectors_.back().get();
}

Result<std::unique_ptr<Carrier>> Connectors::open(const SessionSettings& settings, std::string_view command,
                                                  Fd far_end, Carrier::Owner& owner, Secrets::LoginId login) {
  const Result<Connector*> connector = least_loaded();
  if (!connector) return connector.error();
  const SessionId id = next_++;
  // Longer, it would not arrive whole, and the connector not understand us.
  const ToConnector order = SessionOrder{.id = id, .settings = settings, .command = std::string(command)};
  if (encode(order).size() > kConnectorMessageMax) return too_long();
  auto session = std::make_unique<Session>(loop_, **connector, id, owner, settings, secrets_,
                                           secrets_ == nullptr ? 0 : login);
  (*connector)->send(order, std::move(far_end));
  return std::unique_ptr<Carrier>(std::move(session));
}

Result<std::shared_ptr<Connectors::Signatures>> Connectors::open_signer(const SessionSettings& settings,
                                                                        bool trusts, Secrets::LoginId login) {
  const Result<Connector*> connector = least_loaded();
  if (!connector) return connector.error();
  const SessionId id = next_++;
  SessionOrder order{.id = id, .settings = settings, .command = {}};
  order.task = trusts ? SessionOrder::Task::kSignTrustingly : SessionOrder::Task::kSign;
  const ToConnector message = std::move(order);
  if (encode(message).size() > kConnectorMessageMax) return too_long();
  auto signer =
      std::make_shared<Signer>(**connector, id, settings, secrets_, secrets_ == nullptr ? 0 : login);
  (*connector)->send(message, Fd());
  return std::shared_ptr<Signatures>(std::move(signer));
}

}  // namespace banyan
