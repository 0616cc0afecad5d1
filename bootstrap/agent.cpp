// bootstrap/agent.cpp -- the shipped program: a context with the built-in services, on the far end of a link.
//
// Started by the loader or by its parent with the link as standard input and output and its nonce as
// argument. It says hello, becomes who its parent says, serves, and ends with its link: whatever ends that
// link, the commands it runs are ended, and nothing is left behind.

#include <fcntl.h>
#include <sys/prctl.h>
#include <sys/signalfd.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <unistd.h>

#include <csignal>
#include <memory>

#include "core/epoll_loop.h"
#include "core/exec.h"
#include "core/identity.h"
#include "core/info.h"
#include "core/log.h"
#include "core/nonblocking.h"
#include "core/text.h"

namespace banyan {
namespace {

constexpr Nanos kIdentityDeadline = 20 * kSecond;  // a parent that says nothing for so long is none
constexpr Nanos kEndDeadline = 2 * kSecond;        // from the loss of the link, or a signal, to our end
constexpr Nanos kFlushPeriod = 5 * kMillisecond;

class Agent final : private Link::Owner {
 public:
  explicit Agent(std::uint64_t nonce) : nonce_(nonce) {}

  int run() {
    if (!take_link()) return 1;
    watch_signals();
    link_->send_control(handshake_header(kHello), Hello::of_this_process(nonce_).encode());
    deadline_ = loop_.after(kIdentityDeadline, [this] { loop_.stop(); });
    loop_.run();
    exec_.reset();  // kills what would not end
    return 0;
  }

 private:
  // The link leaves descriptors 0 and 1, so that nothing a library or a command prints can end up in it.
  bool take_link() {
    struct stat in {
    }, out{};
    if (::fstat(0, &in) != 0 || ::fstat(1, &out) != 0) return false;
    const bool one_socket = S_ISSOCK(in.st_mode) && in.st_dev == out.st_dev && in.st_ino == out.st_ino;
    Result<Fd> reading = private_nonblocking(0, false);
    if (!reading) return false;
    LinkFds fds{reading->get(), reading->get()};
    Fd writing;
    if (!one_socket) {
      Result<Fd> made = private_nonblocking(1, true);
      if (!made) return false;
      writing = std::move(*made);
      fds.write = writing.get();
    }
    const int null = ::open("/dev/null", O_RDWR | O_CLOEXEC);
    if (null < 0 || ::dup2(null, 0) < 0 || ::dup2(null, 1) < 0) return false;
    ::close(null);
    reading->release();
    writing.release();
    link_ = std::make_unique<Link>(loop_, fds, static_cast<Link::Owner&>(*this), LinkLimits{},
                                   router_.window_budget(), true);
    return true;
  }

  void watch_signals() {
    sigset_t ours;
    ::sigemptyset(&ours);
    for (const int signal : {SIGTERM, SIGINT, SIGHUP, SIGQUIT}) ::sigaddset(&ours, signal);
    ::sigprocmask(SIG_BLOCK, &ours, nullptr);
    ::signal(SIGPIPE, SIG_IGN);
    signals_ = Fd(::signalfd(-1, &ours, SFD_CLOEXEC | SFD_NONBLOCK));
    if (!signals_) return;
    loop_.watch(signals_.get(), {.read = true}, [this](Ready) {
      signalfd_siginfo signal;
      if (loop_.read(signals_.get(), reinterpret_cast<std::uint8_t*>(&signal), sizeof signal).status ==
          IoResult::Status::kOk) {
        logger_.log(LogLevel::kWarning, cat("ending: signal ", signal.ssi_signo));
        end(kEndDeadline);
      }
    });
  }

  void on_frame(Link&, const Header& header, Bytes payload) override {
    if (!header.has(kControl) || header.handle != kIdentity || exec_) return;
    const Result<Identity> identity = Identity::decode(payload);
    if (!identity) return loop_.stop();
    loop_.cancel(deadline_);
    router_.configure(identity->router_config());
    router_.on_shutdown = [this](Nanos remaining) { end(std::min(remaining, kEndDeadline)); };
    link_->set_limits(identity->limits);
    exec_ = std::make_unique<ExecService>(loop_, router_);
    info_ = std::make_unique<InfoService>(loop_, router_, *exec_);
    logger_.set_level(LogLevel(std::min<std::uint8_t>(identity->log_level, kLogLevelCount - 1)));
    router_.set_parent(std::move(link_), [this](const Error&) { end(kEndDeadline); });
    if (logger_.wants(LogLevel::kDebug))
      logger_.log(LogLevel::kDebug, cat("up as context ", identity->id, ", process ", ::getpid()));
  }
  void on_sent(Link&, std::uint32_t, const Header&) override {}
  void on_down(Link&, const Error&, FrameQueue) override { loop_.stop(); }

  // Ends the commands, lets their outcomes out, and leaves. Once.
  void end(Nanos within) {
    if (ending_) return;
    ending_ = true;
    loop_.after(within, [this] { loop_.stop(); });
    if (!exec_) return loop_.stop();
    exec_->shut_down([this] { leave_when_flushed(); });
  }

  // After this round, in which the last outcomes are written; later only if the kernel would not take them.
  void leave_when_flushed() {
    loop_.post([this] {
      Link* parent = router_.parent_link();
      if (parent == nullptr || !parent->is_open() || !parent->has_unsent()) return loop_.stop();
      loop_.after(kFlushPeriod, [this] { leave_when_flushed(); });
    });
  }

  const std::uint64_t nonce_;
  EpollLoop loop_;
  Router router_{loop_, RouterConfig{.id = 0, .sideways = Sideways::kVertical, .ancestors = {}, .inbox = {}}};
  std::unique_ptr<Link> link_;  // until it is the router's
  Fd signals_;
  Loop::TimerId deadline_ = 0;
  bool ending_ = false;
  std::unique_ptr<ExecService> exec_;
  std::unique_ptr<InfoService> info_;
  Logger logger_{router_, LogLevel::kError};
};

}  // namespace
}  // namespace banyan

int main(int argc, char** argv) {
  // A session of our own: a Ctrl-C at somebody's terminal is not for us, the root passes it on as a message.
  ::setsid();
  ::prctl(PR_SET_NAME, "banyan-agent");
  const std::uint64_t nonce = argc > 1 ? banyan::parse_hex(argv[1]) : 0;
  // Never destroyed: what it holds ends with the process.
  auto* agent = new banyan::Agent(nonce);
  ::_exit(agent->run());
}
