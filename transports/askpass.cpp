#include "transports/askpass.h"

#include <fcntl.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <algorithm>
#include <cstdlib>
#include <cstring>

#include "core/process_tree.h"
#include "core/text.h"
#include "parent/process_carrier.h"
#include "transports/jump.h"

namespace banyan {
namespace {

constexpr std::size_t kQuestionMax = 8 * 1024;      // ssh's own are a line or two
constexpr std::size_t kClientsMax = 16;             // of one ssh: itself, and those that it starts for jumps
constexpr int kAncestorsMax = 64;                   // between it and us: ssh, a shell, another ssh
constexpr std::size_t kCommandLineMax = 16 * 1024;  // of an ssh on the way; a longer one is not understood
constexpr std::size_t kLineMax = 1024;              // of ssh's own lines; a longer one is not its own
// What the root says to who asks: that it knows who that is, then the answer.
constexpr std::uint8_t kKnown = 'K', kAnswered = 'A';

sockaddr_un address_of(std::string_view name, socklen_t& size) {
  sockaddr_un address{};
  address.sun_family = AF_UNIX;
  const std::size_t length = std::min(name.size(), sizeof address.sun_path - 1);
  std::memcpy(address.sun_path + 1, name.data(), length);
  size = socklen_t(offsetof(sockaddr_un, sun_path) + 1 + length);
  return address;
}

std::string way_to(pid_t jump) {
  const Fd file(::open(cat("/proc/", jump, "/cmdline").c_str(), O_RDONLY | O_CLOEXEC));
  std::string line(kCommandLineMax, '\0');
  std::size_t have = 0;
  while (file && have < line.size()) {
    const ssize_t got = retry([&] { return ::read(file.get(), line.data() + have, line.size() - have); });
    if (got <= 0) break;
    have += std::size_t(got);
  }
  return have < line.size() ? way_of_jump(std::string_view(line).substr(0, have)) : std::string();
}

Secrets::Want want_of(const AskpassPrompt& prompt, std::string_view text, bool from_jump_host, pid_t asker) {
  Secrets::Want want;
  want.of = prompt.of;
  want.from_jump_host = from_jump_host;
  if (from_jump_host) want.jump = way_to(asker);
  want.asker = std::uint64_t(asker);
  switch (prompt.kind) {
    case AskpassPrompt::Kind::kPassphrase:
      want.kind = Secrets::Kind::kPassphrase;
      break;
    case AskpassPrompt::Kind::kPassword:
      want.kind = Secrets::Kind::kPassword;
      break;
    default:
      if (!prompt.of.empty()) text.remove_prefix(prompt.of.size() + 3);  // "(ann@web1) "
      want.items.push_back({std::string(text), false});
      break;
  }
  return want;
}

}  // namespace

// One who asks for an ssh.
class Askpass::Client {
 public:
  Client(Ssh& ssh, Fd socket, bool is_direct, pid_t asker);
  ~Client();
  Client(const Client&) = delete;
  Client& operator=(const Client&) = delete;

  bool is_over() const { return over_; }

 private:
  void on_ready();
  void on_question(std::string_view text, std::string_view hint);
  void answer(const Secret& secret);
  void end();

  Ssh& ssh_;
  Fd socket_;
  const bool is_direct_;  // asks for the host itself, not for one on the way
  const pid_t asker_;     // the ssh that wants to know
  Loop::WatchId watch_ = 0;
  Secrets::AskId asked_ = 0;
  bool has_asked_ = false, over_ = false;
};

// An ssh that may ask.
class Askpass::Ssh final : public Carrier, private Carrier::Owner {
 public:
  Ssh(Askpass& askpass, Secrets::LoginId login, Carrier::Owner& owner)
      : askpass_(askpass), login_(login), owner_(owner) {}
  ~Ssh() override {
    clients_.clear();
    if (pid_ > 0) askpass_.running_.erase(pid_);
  }

  Result<Done> begin(const std::vector<std::string>& argv,
                     std::vector<std::pair<std::string, std::string>> environment, Fd far_end) {
    const auto ours = askpass_.environment();
    environment.insert(environment.end(), ours.begin(), ours.end());
    Result<std::unique_ptr<Carrier>> started = ProcessCarrier::start(
        askpass_.loop_, SpawnPlan(argv, ProcessCarrier::options(std::move(environment))), argv.front(),
        std::move(far_end), *this, &pid_);
    if (!started) return started.error();
    process_ = std::move(*started);
    askpass_.running_[pid_] = this;
    askpass_.secrets_.begin_try(login_);
    return Done{};
  }

  void end() override {
    is_ended_by_us_ = true;
    process_->end();
  }
  void read_text() override { process_->read_text(); }

  Askpass& askpass() { return askpass_; }
  Secrets::LoginId login() const { return login_; }
  void take(Fd client, bool is_direct, pid_t asker) {
    std::erase_if(clients_, [](const auto& one) { return one->is_over(); });
    if (clients_.size() < kClientsMax)
      clients_.push_back(std::make_unique<Client>(*this, std::move(client), is_direct, asker));
  }
  void note_asking(bool asks) {
    asking_ += asks ? 1 : -1;
    if (asking_ == (asks ? 1 : 0)) owner_.on_carrier_asks(asks);
  }
  void note_answer(std::string account, bool is_direct) {
    answered_ = std::move(account);
    answered_direct_ = is_direct;
  }
  // Before ssh takes no answer for an empty one, and sends that.
  void give_up(const Error& error) {
    if (!failure_) failure_ = error;
    process_->end();
  }

 private:
  void on_carrier_phase(Phase phase) override { owner_.on_carrier_phase(phase); }
  void on_carrier_asks(bool) override {}
  void on_carrier_text(std::string_view text) override {
    for (std::string_view rest = text; !rest.empty();) {
      const std::size_t end = std::min(rest.find('\n'), rest.size());
      line_ += rest.substr(0, std::min(end, kLineMax - line_.size()));
      if (end == rest.size()) break;
      rest.remove_prefix(end + 1);
      while (line_.ends_with('\r')) line_.pop_back();
      if (answered_ && is_refusal_by_ssh(line_, *answered_, !answered_direct_))
        askpass_.secrets_.refused(login_);
      line_.clear();
    }
    owner_.on_carrier_text(text);
  }
  void on_carrier_end(const Ending& ending) override {
    clients_.clear();
    askpass_.running_.erase(pid_);
    pid_ = -1;
    Ending told = ending;
    if (failure_) told.error = failure_;
    if (!failure_ && !is_ended_by_us_) askpass_.secrets_.cut_off(login_);
    owner_.on_carrier_end(told);
  }

  Askpass& askpass_;
  const Secrets::LoginId login_;
  Carrier::Owner& owner_;
  std::unique_ptr<Carrier> process_;
  pid_t pid_ = -1;
  std::vector<std::unique_ptr<Client>> clients_;
  int asking_ = 0;
  bool is_ended_by_us_ = false;
  std::optional<std::string> answered_;  // whose question was answered last
  bool answered_direct_ = true;          // that of the host itself
  std::string line_;                     // of its standard error, as far as it has come
  std::optional<Error> failure_;
};

class Askpass::Source final : public CarrierSource {
 public:
  Source(Askpass& askpass, Secrets::LoginId login, std::vector<std::string> argv,
         std::vector<std::pair<std::string, std::string>> environment)
      : askpass_(askpass), login_(login), argv_(std::move(argv)), environment_(std::move(environment)) {}

  Result<std::unique_ptr<Carrier>> carry(Fd far_end, Carrier::Owner& owner) override {
    if (const Result<Done> listens = askpass_.listen(); !listens) return listens.error();
    auto ssh = std::make_unique<Ssh>(askpass_, login_, owner);
    if (const Result<Done> begun = ssh->begin(argv_, environment_, std::move(far_end)); !begun)
      return begun.error();
    return std::unique_ptr<Carrier>(std::move(ssh));
  }

 private:
  Askpass& askpass_;
  const Secrets::LoginId login_;
  const std::vector<std::string> argv_;
  const std::vector<std::pair<std::string, std::string>> environment_;
};

// --- one who asks ---

Askpass::Client::Client(Ssh& ssh, Fd socket, bool is_direct, pid_t asker)
    : ssh_(ssh), socket_(std::move(socket)), is_direct_(is_direct), asker_(asker) {
  (void)!::send(socket_.get(), &kKnown, sizeof kKnown, MSG_DONTWAIT | MSG_NOSIGNAL);
  watch_ = ssh_.askpass().loop_.watch(socket_.get(), {.read = true}, [this](Ready) { on_ready(); });
}

Askpass::Client::~Client() {
  end();
}

void Askpass::Client::end() {
  if (std::exchange(over_, true)) return;
  Loop& loop = ssh_.askpass().loop_;
  if (asked_ != 0) {
    ssh_.askpass().secrets_.cancel(std::exchange(asked_, 0));
    ssh_.note_asking(false);
  }
  loop.unwatch(watch_);
  loop.close(socket_.release());
}

void Askpass::Client::on_ready() {
  char bytes[kQuestionMax];
  const ssize_t got = retry([&] { return ::recv(socket_.get(), bytes, sizeof bytes, MSG_DONTWAIT); });
  if (got < 0 && errno == EAGAIN) return;
  if (got <= 0 || std::exchange(has_asked_, true)) return end();
  const std::string_view text(bytes, std::size_t(got));
  const std::size_t hint = std::min(text.find('\0'), text.size());
  on_question(text.substr(std::min(hint + 1, text.size())), text.substr(0, hint));
}

void Askpass::Client::on_question(std::string_view text, std::string_view hint) {
  Askpass& askpass = ssh_.askpass();
  const AskpassPrompt prompt = classify_askpass_prompt(text, hint);
  if (prompt.kind == AskpassPrompt::Kind::kRefused) return end();
  if (prompt.kind == AskpassPrompt::Kind::kNotice) return askpass.on_notice_(std::string(text));
  const bool is_passphrase = prompt.kind == AskpassPrompt::Kind::kPassphrase;
  asked_ = askpass.secrets_.ask(ssh_.login(), want_of(prompt, text, !is_direct_, asker_),
                                [this, is_passphrase, of = prompt.of](Result<std::vector<Secret>> secrets) {
                                  asked_ = 0;
                                  ssh_.note_asking(false);
                                  // Without a passphrase ssh goes on to the next key.
                                  if (!secrets && is_passphrase) return answer(Secret());
                                  if (!secrets) return ssh_.give_up(secrets.error());
                                  if (!is_passphrase) ssh_.note_answer(of, is_direct_);
                                  answer(secrets->front());
                                });
  ssh_.note_asking(true);
}

void Askpass::Client::answer(const Secret& secret) {
  Buffer message;
  message.reserve(1 + secret.bytes().size());
  message.push_back(kAnswered);
  message.insert(message.end(), secret.bytes().begin(), secret.bytes().end());
  (void)!::send(socket_.get(), message.data(), message.size(), MSG_DONTWAIT | MSG_NOSIGNAL);
  wipe(message);
  end();
}

// --- all of them ---

Askpass::Askpass(Loop& loop, Secrets& secrets, std::string program,
                 std::function<void(std::string)> on_notice)
    : loop_(loop), secrets_(secrets), program_(std::move(program)), on_notice_(std::move(on_notice)) {}

Askpass::~Askpass() {
  if (!socket_) return;
  loop_.unwatch(watch_);
  loop_.close(socket_.release());
}

void Askpass::serve(Recipe& recipe, Secrets::LoginId login) {
  recipe.source = std::make_shared<Source>(*this, login, recipe.argv, recipe.environment);
}

std::vector<std::pair<std::string, std::string>> Askpass::environment() const {
  return {{"SSH_ASKPASS", program_}, {"SSH_ASKPASS_REQUIRE", "force"}, {kAskpassVariable, name_}};
}

Result<Done> Askpass::listen() {
  if (socket_) return Done{};
  name_ = cat("banyan-askpass-", hex64(loop_.random()));
  Fd socket(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC | SOCK_NONBLOCK, 0));
  socklen_t size = 0;
  const sockaddr_un address = address_of(name_, size);
  if (!socket || ::bind(socket.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0 ||
      ::listen(socket.get(), SOMAXCONN) != 0)
    return system_error(ErrorClass::kResource, Phase::kConnect, "a socket for ssh's questions", errno);
  socket_ = std::move(socket);
  watch_ = loop_.watch(socket_.get(), {.read = true}, [this](Ready) { on_client(); });
  return Done{};
}

void Askpass::on_client() {
  Fd client(::accept4(socket_.get(), nullptr, nullptr, SOCK_CLOEXEC | SOCK_NONBLOCK));
  if (!client) return;
  ucred who{};
  socklen_t size = sizeof who;
  if (::getsockopt(client.get(), SOL_SOCKET, SO_PEERCRED, &who, &size) != 0 || who.uid != ::geteuid()) return;
  Process process;
  pid_t pid = who.pid, asker = 0;
  for (int i = 0; i < kAncestorsMax && pid > 1 && read_process(pid, process); ++i) {
    pid = process.parent;
    if (i == 0) asker = pid;
    const auto found = running_.find(pid);
    if (found == running_.end()) continue;
    return found->second->take(std::move(client), i == 0, asker);
  }
  if (::kill(who.pid, 0) != 0) return;  // it has ended meanwhile, with its ssh perhaps
  // Once: whoever comes on purpose can come often.
  if (!std::exchange(said_stranger_, true))
    on_notice_(
        "banyan: a process that no ssh of ours has started, as far as /proc shows it (hidepid?), asked for a "
        "secret: it got none");
}

// --- the other process ---

int ask_through_socket(std::string_view socket, std::string_view question) {
  const Fd root(::socket(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0));
  socklen_t size = 0;
  const sockaddr_un address = address_of(socket, size);
  if (!root || ::connect(root.get(), reinterpret_cast<const sockaddr*>(&address), size) != 0) return 1;
  const char* hint = std::getenv("SSH_ASKPASS_PROMPT");
  std::string message(hint == nullptr ? "" : hint);
  message += '\0';
  message += question.substr(0, kQuestionMax / 2);
  if (::send(root.get(), message.data(), message.size(), MSG_NOSIGNAL) < 0) return 1;
  Buffer answer(1 + kSecretMax + 1);
  const auto receive = [&] {
    return retry([&] { return ::recv(root.get(), answer.data(), answer.size() - 1, 0); });
  };
  if (receive() != 1 || answer[0] != kKnown) return 1;
  // It is about to hold a secret. Not before: under hidepid the root could not have seen who we are.
  ::prctl(PR_SET_DUMPABLE, 0);
  const ssize_t got = receive();
  int code = 1;
  if (got >= 1 && answer[0] == kAnswered) {
    answer[std::size_t(got)] = '\n';
    if (::write(STDOUT_FILENO, answer.data() + 1, std::size_t(got)) == got) code = 0;
  }
  wipe(answer);
  return code;
}

}  // namespace banyan
