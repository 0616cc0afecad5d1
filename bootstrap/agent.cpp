// bootstrap/agent.cpp -- the shipped program: a context with the built-in services, on the far end of a link.
//
// Started by the loader or by its parent with the link as standard input and output and its nonce as
// argument. It says hello, becomes who its parent says, serves, and ends with its link: whatever ends that
// link, the commands it runs and the contexts beneath it are ended, and nothing is left behind.

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
#include "parent/start_service.h"

namespace banyan {
namespace {

constexpr Nanos kIdentityDeadline = 20 * kSecond;  // a parent that says nothing for so long is none
constexpr Nanos kEndDeadline = 2 * kSecond;        // from the loss of the link, or a signal, to our end
constexpr Nanos kEndOfLevel = 100 * kMillisecond;  // more for each level beneath us
constexpr Nanos kFlushPeriod = 5 * kMillisecond;

// A child on this machine runs what we run ourselves: an image in memory, or a file that is gone by now.
class OwnImage final : public ImageStore {
 public:
  const Image* find(std::string_view) const override { return nullptr; }
  std::vector<std::string_view> architectures() const override { return {}; }
  Result<int> local_image() override {
    if (!file_) file_ = Fd(::open("/proc/self/exe", O_RDONLY | O_CLOEXEC));
    if (!file_) return system_error(ErrorClass::kBootstrap, Phase::kUpload, "/proc/self/exe", errno);
    return file_.get();
  }

 private:
  Fd file_;
};

// What serves others, once we know who we are.
struct Services {
  Services(Loop& loop, Router& router, ImageStore& images, const Identity& identity)
      : exec(loop, router),
        info(loop, router, exec),
        ids(router, {identity.first_id, identity.id_count}),
        routes(router, ids),
        runner(loop, router, images, ids, routes, nullptr),
        starts(router, runner) {
    runner.set_log_level(identity.log_level);
    runner.set_limits(identity.limits);
  }

  ExecService exec;
  InfoService info;
  IdSource ids;
  RouteMonitor routes;
  Runner runner;
  StartService starts;
};

class Agent final : private Link::Owner {
 public:
  explicit Agent(std::uint64_t nonce) : nonce_(nonce) {}

  int run() {
    if (!take_link()) return 1;
    watch_signals();
    link_->send_control(handshake_header(kHello), Hello::of_this_process(nonce_).encode());
    deadline_ = loop_.after(kIdentityDeadline, [this] { loop_.stop(); });
    loop_.run();
    services_.reset();  // kills what would not end
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
        end(end_deadline());
      }
    });
  }

  void on_frame(Link&, const Header& header, Bytes payload) override {
    if (!header.has(kControl) || header.handle != kIdentity || services_) return;
    const Result<Identity> identity = Identity::decode(payload);
    if (!identity) return loop_.stop();
    loop_.cancel(deadline_);
    router_.configure(identity->router_config());
    router_.on_shutdown = [this](Nanos remaining) { end(std::min(remaining, end_deadline())); };
    link_->set_limits(identity->limits);
    services_ = std::make_unique<Services>(loop_, router_, images_, *identity);
    logger_.set_level(LogLevel(std::min<std::uint8_t>(identity->log_level, kLogLevelCount - 1)));
    router_.set_parent(std::move(link_), [this](const Error&) { end(end_deadline()); });
    if (logger_.wants(LogLevel::kDebug))
      logger_.log(LogLevel::kDebug, cat("up as context ", identity->id, ", process ", ::getpid()));
  }
  void on_sent(Link&, std::uint32_t, const Header&) override {}
  void on_down(Link&, const Error&, FrameQueue) override { loop_.stop(); }

  Nanos end_deadline() const { return kEndDeadline + Nanos(router_.height()) * kEndOfLevel; }

  // Ends the commands and the contexts beneath us, lets their outcomes out, and leaves. Once.
  void end(Nanos within) {
    if (ending_) return;
    ending_ = true;
    loop_.after(within, [this] { loop_.stop(); });
    if (!services_) return loop_.stop();
    services_->starts.close();
    services_->exec.shut_down([this] { leave_when_both_are_done(); });
    services_->runner.shut_down_all(std::max(within - kEndOfLevel, Nanos(0)),
                                    [this] { leave_when_both_are_done(); });
  }

  void leave_when_both_are_done() {
    if (++done_ == 2) leave_when_flushed();
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
  int done_ = 0;
  OwnImage images_;
  std::unique_ptr<Services> services_;
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
