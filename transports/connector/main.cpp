// transports/connector/main.cpp -- banyan-connector: keeps ssh sessions for the root that started it.
//
// Standard input is the socket to the root; its end is ours. Nothing is configured here: all that a session
// needs comes with its order.
#include <fcntl.h>
#include <malloc.h>
#include <signal.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <unistd.h>

#include <cstdio>
#include <deque>
#include <map>
#include <memory>

#include "core/epoll_loop.h"
#include "transports/connector/signer.h"
#include "transports/connector/way.h"
#include "transports/connector_protocol.h"

namespace banyan::connector {
namespace {

constexpr std::size_t kSessionsMax = 4'096;  // of one connector, hops among them: three descriptors each
// A dozen phases and steps of each session: more, and the root does not read, is not well, and we end.
constexpr std::size_t kUnsentMax = 16 * kSessionsMax;
constexpr int kDatagramsARound = 64;
constexpr int kKeptMemory = 4 * 1024 * 1024;  // free, kept for what comes next: of the whole process

class Connector final : private Way::Owner, private Signer::Owner {
 public:
  explicit Connector(int socket) : socket_(socket), resolver_(loop_), ring_(loop_) {
    watch_ = loop_.watch(socket_, {.read = true}, [this](Ready ready) { on_ready(ready); });
  }

  void run() { loop_.run(); }

 private:
  void on_ready(Ready ready) {
    if (ready.read) receive();
    if (ready.write) flush();
  }

  void receive() {
    for (int i = 0; i < kDatagramsARound; ++i) {
      Datagram datagram = receive_datagram(socket_);
      if (datagram.status == Datagram::Status::kWouldBlock) return;
      if (datagram.status == Datagram::Status::kEnd) return loop_.stop();
      Result<ToConnector> message = decode_to_connector(datagram.message);
      if (message && std::holds_alternative<SessionAnswer>(*message)) wipe(datagram.message);
      if (!message) return loop_.stop();
      if (auto* order = std::get_if<SessionOrder>(&*message)) {
        begin(std::move(*order), std::move(datagram.fd));
      } else if (auto* answer = std::get_if<SessionAnswer>(&*message)) {
        const auto found = ways_.find(answer->id);
        if (found != ways_.end()) {
          found->second->answer(std::move(*answer));
        } else if (const auto signer = signers_.find(answer->id); signer != signers_.end()) {
          signer->second->answer(std::move(*answer));
        }
      } else if (auto* request = std::get_if<KeyRequestMessage>(&*message)) {
        if (const auto signer = signers_.find(request->id); signer != signers_.end())
          signer->second->ask(std::move(*request));
      } else {
        const SessionId id = std::get<SessionStop>(*message).id;
        if (forget(id) || signers_.erase(id) > 0) send(SessionEnd{.id = id, .error = {}});
      }
    }
  }

  void begin(SessionOrder order, Fd channel) {
    const SessionId id = order.id;
    if (order.task != SessionOrder::Task::kSession) return begin_signing(std::move(order));
    const std::size_t sessions = order.settings.hops.size() + 1;
    if (!channel || ways_.contains(id) || signers_.contains(id) || sessions > kSessionsMax - sessions_)
      return send(SessionEnd{
          .id = id,
          .error = Error{
              ErrorClass::kResource, Phase::kConnect, "a connector has no room for another session", {}}});
    auto way = std::make_unique<Way>(loop_, resolver_, ring_, std::move(order), std::move(channel),
                                     static_cast<Way::Owner&>(*this));
    Way& started = *way;
    ways_[id] = std::move(way);
    sessions_ += sessions;
    started.start();
  }

  bool forget(SessionId id) {
    const auto found = ways_.find(id);
    if (found == ways_.end()) return false;
    sessions_ -= found->second->length();
    ways_.erase(found);
    return true;
  }

  void begin_signing(SessionOrder order) {
    const SessionId id = order.id;
    if (ways_.contains(id) || signers_.contains(id) || signers_.size() >= kSessionsMax)
      return send(SessionEnd{
          .id = id,
          .error =
              Error{ErrorClass::kResource, Phase::kAuth, "a connector has no room for another signer", {}}});
    signers_[id] =
        std::make_unique<Signer>(loop_, ring_, std::move(order), static_cast<Signer::Owner&>(*this));
  }

  void on_signed(SessionId id, std::uint32_t visitor, Bytes answer) override {
    send(KeyReplyMessage{id, visitor, Buffer(answer.begin(), answer.end())});
  }
  void on_passphrase(SessionQuestion question) override { send(std::move(question)); }
  void on_refusal(SessionId id, std::string_view why, Signer::Fault fault) override {
    send(SessionText{id, std::string(why), fault == Signer::Fault::kAskers});
  }

  void on_phase(Way& way, Phase phase) override { send(SessionPhase{way.id(), phase}); }
  void on_text(Way& way, std::string_view text) override { send(SessionText{way.id(), std::string(text)}); }
  void on_question(Way& way, SessionQuestion question) override {
    question.id = way.id();
    send(std::move(question));
  }
  void on_refused(Way& way) override { send(SessionRefused{way.id()}); }
  void on_end(Way& way, SessionEnd end) override {
    end.id = way.id();
    send(std::move(end));
    loop_.post([this, id = way.id()] { forget(id); });
  }

  void send(const FromConnector& message) {
    if (unsent_.size() >= kUnsentMax) return loop_.stop();
    unsent_.push_back(encode(message));
    flush();
  }

  void flush() {
    while (!unsent_.empty()) {
      if (!send_datagram(socket_, unsent_.front(), -1)) {
        if (errno != EAGAIN) return loop_.stop();
        break;
      }
      unsent_.pop_front();
    }
    loop_.change(watch_, {.read = true, .write = !unsent_.empty()});
  }

  const int socket_;
  EpollLoop loop_;
  Resolver resolver_;
  KeyRing ring_;
  Loop::WatchId watch_ = 0;
  std::deque<Buffer> unsent_;
  std::map<SessionId, std::unique_ptr<Way>> ways_;
  std::size_t sessions_ = 0;  // of all ways
  std::map<SessionId, std::unique_ptr<Signer>> signers_;
};

int run() {
  int type = 0;
  socklen_t size = sizeof type;
  if (::getsockopt(STDIN_FILENO, SOL_SOCKET, SO_TYPE, &type, &size) != 0 || type != SOCK_SEQPACKET) {
    std::fputs("banyan-connector is started by banyan; it does nothing by itself\n", stderr);
    return 2;
  }
  ::signal(SIGPIPE, SIG_IGN);
  // Keys are in our memory: no core file, and nobody of the same user reads it through /proc.
  ::prctl(PR_SET_DUMPABLE, 0);
  rlimit files{};
  if (::getrlimit(RLIMIT_NOFILE, &files) == 0) {
    files.rlim_cur = files.rlim_max;
    ::setrlimit(RLIMIT_NOFILE, &files);
  }
  // A packet is memory of its own, come and gone within microseconds; each time given back to the kernel and
  // asked for again, it costs more than its copy.
  ::mallopt(M_TRIM_THRESHOLD, kKeptMemory);
  ::mallopt(M_TOP_PAD, kKeptMemory / 4);
  if (::libssh2_init(0) != 0) return 1;
  Connector connector(STDIN_FILENO);
  connector.run();
  return 0;
}

}  // namespace
}  // namespace banyan::connector

int main() {
  // Without the destructors of what threads of the resolver may still use.
  ::_exit(banyan::connector::run());
}
