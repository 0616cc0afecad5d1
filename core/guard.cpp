#include "core/guard.h"

#include <poll.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

#include "core/guard_process.h"
#include "core/process_tree.h"

namespace banyan {

namespace {
constexpr Nanos kStuckAfter =
    kGrace + 7 * kSecond;  // its own limits are shorter: then something holds the guard
}  // namespace

Result<std::unique_ptr<Guard>> Guard::start(Loop& loop, Owner& owner, const SpawnPlan& plan,
                                            const Stdio& stdio) {
  int ends[2];
  if (::socketpair(AF_UNIX, SOCK_SEQPACKET | SOCK_CLOEXEC, 0, ends) != 0)
    return system_error(ErrorClass::kResource, Phase::kCommand, "socketpair", errno);
  Fd ours(ends[0]), its(ends[1]);
  const pid_t pid = ::fork();
  if (pid < 0) return system_error(ErrorClass::kResource, Phase::kCommand, "fork", errno);
  if (pid == 0) run_guard(plan, stdio, its.get());
  return std::unique_ptr<Guard>(new Guard(loop, owner, std::move(ours), pid));
}

Guard::Guard(Loop& loop, Owner& owner, Fd control, pid_t pid)
    : loop_(loop),
      owner_(owner),
      control_(std::move(control)),
      process_(loop, pid, false, [this](int) { on_guard_end(); }) {
  watch_ = loop_.watch(control_.get(), {.read = true}, [this](Ready) { on_readable(); });
}

Guard::~Guard() {
  loop_.unwatch(watch_);
  loop_.cancel(stuck_timer_);
  if (!process_.has_ended()) {
    kill();
    // Readable too when it has something to say; all that counts is the end of the socket, which is its end.
    GuardReport report;
    pollfd fd = {control_.get(), POLLIN, 0};
    while (::poll(&fd, 1, int(kKillWaitMax / kMillisecond)) > 0 &&
           ::recv(control_.get(), &report, sizeof report, MSG_DONTWAIT) > 0) {
    }
  }
  loop_.close(control_.release());
}

void Guard::tell(char order) {
  // A datagram a command: the socket never fills. Failure means that the guard is gone, and we hear of that.
  [[maybe_unused]] auto sent = ::send(control_.get(), &order, 1, MSG_NOSIGNAL | MSG_DONTWAIT);
  process_.signal(SIGCONT);
}

void Guard::terminate() {
  if (terminating_) return;
  terminating_ = true;
  tell(kGuardTerminate);
  stuck_timer_ = loop_.after(kStuckAfter, [this] { process_.signal(SIGKILL); });
}

void Guard::kill() {
  tell(kGuardKill);
}

void Guard::on_readable() {
  if (!read_report()) loop_.unwatch(std::exchange(watch_, 0));
}

// False at the end of the socket. Whatever went unread is read once the guard is reaped.
bool Guard::read_report() {
  GuardReport report;
  const auto bytes = retry([&] { return ::recv(control_.get(), &report, sizeof report, MSG_DONTWAIT); });
  if (bytes != sizeof report) return false;
  switch (report.kind) {
    case GuardReport::Kind::kStarted:
      command_ = report.value;
      owner_.on_started(command_);
      break;
    case GuardReport::Kind::kNotStarted:
      ended_ = true;
      owner_.on_not_started(SpawnStep(report.value), report.extra);
      break;
    case GuardReport::Kind::kEnded:
      ended_ = true;
      owner_.on_ended(report.value, report.extra != 0);
      break;
  }
  return true;
}

void Guard::on_guard_end() {
  loop_.unwatch(std::exchange(watch_, 0));
  while (read_report()) {
  }
  if (!ended_) {
    // Somebody killed the guard. The kernel has killed the command with it (PDEATHSIG); its session is for
    // us.
    // The group's number is nobody's now, and may be another's soon: it is used only where one cannot look.
    if (command_ > 0 && !signal_session(command_, SIGKILL).has_proc) ::kill(-command_, SIGKILL);
    ended_ = true;
    owner_.on_ended(SIGKILL, true);
  }
  owner_.on_gone();
}

}  // namespace banyan
